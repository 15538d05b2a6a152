"""Signatures: kept beside a version, and gone with it. A storage believes none of them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from hoist.errors import Conflict, Damaged, StorageUnsupported, VersionNotFound
from hoist.signing.bundle import MEDIA_TYPE
from hoist.storage.base import Storage, Tag
from hoist.testing.conformance.base import Conformance, assert_holds, publish, small, ver

ONE, TWO = "1" * 64, "2" * 64


def bundle(hint: str, signature: bytes = b"signature") -> bytes:
    """A well-formed bundle that signs nothing, by a key that nobody has; without a hint, by a certificate."""
    coded = base64.b64encode(signature).decode()
    material = {"publicKey": {"hint": hint}} if hint else {"certificate": {"rawBytes": coded}}
    envelope = {"payload": coded, "payloadType": "text/plain", "signatures": [{"sig": coded, "keyid": ""}]}
    return json.dumps({"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope}).encode()


class SigningConformance(Conformance):
    """`signatures` and `add_signature`."""

    def test_signatures_are_kept(self, storage: Storage, tmp_path: Path) -> None:
        content = small("one")
        version = publish(storage, "sd15/any:v1", content, tmp_path)
        other = publish(storage, "sd15/any:v10", content, tmp_path)
        assert list(storage.signatures(version)) == []
        assert list(storage.signatures(version, [ONE])) == []
        if not self.signs:
            with pytest.raises(StorageUnsupported):
                storage.add_signature(version, content.digest, bundle(ONE))
            return
        kept = [bundle(ONE), bundle(TWO), bundle("")]
        for data in kept:
            storage.add_signature(version, content.digest, data)
        assert sorted(storage.signatures(version)) == sorted(kept)
        assert bundle(ONE) in storage.signatures(version, [ONE])
        assert list(storage.signatures(version, ["3" * 64])) == []
        assert list(storage.signatures(other)) == []
        # Nothing else is seen of them.
        assert list(storage.versions()) == [version, other]
        assert list(storage.tags()) == []
        assert_holds(storage, "sd15/any:v1", content)
        storage.set_tag(Tag("sd15/any", "latest", "v1", content.digest))
        assert len(storage.signatures(version)) == 3

    def test_a_signature_again(self, storage: Storage, tmp_path: Path) -> None:
        if not self.signs:
            pytest.skip("this storage keeps no signatures (signs = False)")
        version = publish(storage, "sd15/any:v1", small("one"), tmp_path)
        for data in (bundle(ONE), bundle(ONE), bundle(ONE, b"newer")):
            storage.add_signature(version, small("one").digest, data)
        assert bundle(ONE, b"newer") in storage.signatures(version)

    def test_a_signature_of_something_else_is_refused(self, storage: Storage, tmp_path: Path) -> None:
        if not self.signs:
            pytest.skip("this storage keeps no signatures (signs = False)")
        version = publish(storage, "sd15/any:v1", small("one"), tmp_path)
        with pytest.raises(Conflict):
            storage.add_signature(version, small("two").digest, bundle(ONE))
        with pytest.raises(VersionNotFound):
            storage.add_signature(ver("sd15/any:v2"), small("one").digest, bundle(ONE))
        for data in (b"", b"{}", b"signature", bundle(ONE)[:-20], bundle("../../etc/passwd"), bundle("A" * 64)):
            with pytest.raises(Damaged):
                storage.add_signature(version, small("one").digest, data)
        assert list(storage.signatures(version)) == []

    def test_signatures_go_with_their_version(self, storage: Storage, tmp_path: Path) -> None:
        if not self.signs:
            pytest.skip("this storage keeps no signatures (signs = False)")
        version = publish(storage, "sd15/any:v1", small("one"), tmp_path)
        kept = publish(storage, "sd15/any:v2", small("two"), tmp_path)
        storage.add_signature(version, small("one").digest, bundle(ONE))
        storage.add_signature(kept, small("two").digest, bundle(ONE))
        storage.remove(version)
        publish(storage, "sd15/any:v1", small("one"), tmp_path)
        assert list(storage.signatures(version)) == []
        assert list(storage.signatures(kept)) == [bundle(ONE)]
        if self.claims:
            assert not storage.leftovers(float("inf"))
