"""A signature vouches for one version under one label, by a key that is trusted, and for nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from hoist.errors import Damaged, InvalidConfig, LocalError, Unsigned
from hoist.model.manifest import Manifest
from hoist.signing.bundle import parse_bundle
from hoist.signing.signer import KEYLESS, KeylessSigner, open_signer
from hoist.signing.statement import parse_statement
from hoist.signing.trust import Identity, find_signer, hints_of, trusted
from signing_making import (
    FILES,
    VERSION,
    Pair,
    make_pair,
    manifest_of,
    payload_of,
    signed_by_hand,
    with_payload,
)


@dataclass(frozen=True)
class Made:
    """Two pairs of keys, and what the first has signed."""

    good: Pair
    other: Pair
    manifest: Manifest
    data: bytes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("keys")
    good, manifest = make_pair(folder, "good"), manifest_of(FILES)
    return Made(good, make_pair(folder, "other"), manifest, good.signer().sign(VERSION, manifest))


def who(found: Sequence[bytes], *keys: Pair, version: str = VERSION, manifest: Manifest | None = None) -> str:
    those = trusted([str(key.public) for key in keys])
    return find_signer(version, "nas", manifest or manifest_of(FILES), found, those).name


def refused(found: Sequence[bytes], *keys: Pair, version: str = VERSION, manifest: Manifest | None = None) -> str:
    with pytest.raises(Unsigned) as error:
        who(found, *keys, version=version, manifest=manifest)
    text = str(error.value)
    assert text.startswith(f"{version} in nas has no good signature by ")
    assert "hoist sign" in text
    return text


def test_a_good_signature(made: Made) -> None:
    assert who([made.data], made.good) == str(made.good.public)
    assert who([b"junk", made.data], made.other, made.good) == str(made.good.public)


def test_none_and_another_key(made: Made) -> None:
    assert "it has none by them" in refused([], made.good)
    assert "it is by another key" in refused([made.data], made.other)


def test_a_changed_manifest(made: Made) -> None:
    other = manifest_of({**FILES, "config.json": b"[]"})
    assert f"it is of {VERSION}@{made.manifest.digest}" in refused([made.data], made.good, manifest=other)
    # Of files that no statement names too.
    refused([made.data], made.good, manifest=manifest_of({**FILES, ".gitattributes": b""}))


def test_an_evil_table_of_blocks_beside_the_right_digests_of_files(made: Made) -> None:
    evil = manifest_of(FILES, {"unet/weights.bin": b"evil" * 250})
    assert [file.digest for file in evil.files] == [file.digest for file in made.manifest.files]
    assert "it is of" in refused([made.data], made.good, manifest=evil)


def test_another_label_and_another_model(made: Made) -> None:
    for version in ("sd15/any:v2", "sd15/anything:v1", "sd15/any:v10"):
        assert "it is of sd15/any:v1@" in refused([made.data], made.good, version=version)


def test_a_signature_of_another_version_played_again(made: Made) -> None:
    other = manifest_of({"config.json": b"other"})
    replayed = made.good.signer().sign("sd15/any:v2", other)
    assert "it is of sd15/any:v2@" in refused([replayed], made.good)


def test_other_content_under_the_same_signature(made: Made) -> None:
    other = manifest_of({**FILES, "config.json": b"[]"})
    payload = payload_of(made.good.signer().sign(VERSION, other))
    assert "tampered with" in refused([with_payload(made.data, payload)], made.good, manifest=other)
    assert "tampered with" in refused([with_payload(made.data, payload_of(made.data))], made.good)


def test_a_key_that_another_bundle_names(made: Made) -> None:
    forged = json.loads(made.other.signer().sign(VERSION, made.manifest))
    forged["verificationMaterial"] = json.loads(made.data)["verificationMaterial"]
    assert "tampered with" in refused([json.dumps(forged).encode()], made.good)


def test_a_good_key_that_signed_something_else(made: Made) -> None:
    statement = parse_bundle(made.data).payload
    assert who([signed_by_hand(made.good, statement)], made.good)
    assert "something else than a statement" in refused([signed_by_hand(made.good, statement, "text/plain")], made.good)
    for payload in (b"", b"{}", statement[:-20], statement.replace(b"model_signing/signature", b"model_signing/other")):
        assert "sign" in refused([signed_by_hand(made.good, payload)], made.good)
    # The right subject, and files of which one has another digest: by whoever has the key, but not of this version.
    said = payload_of(made.data)
    said["predicate"]["resources"].pop()
    refused([signed_by_hand(made.good, json.dumps(said).encode())], made.good)


@given(cut=st.integers(0, 10_000))
def test_a_truncated_bundle(made: Made, cut: int) -> None:
    refused([made.data[: cut % len(made.data)]], made.good)


@given(at=st.integers(0, 100_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_never_believed(made: Made, at: int, bit: int) -> None:
    data = bytearray(made.data)
    data[at % len(data)] ^= 1 << bit
    try:
        bundle = parse_bundle(bytes(data))
    except Damaged:
        return
    untouched = parse_bundle(made.data)
    try:
        found = who([bytes(data)], made.good)
    except Unsigned:
        return
    # Then it says the same, by the same key: the bit was in what nobody reads.
    assert found == str(made.good.public)
    assert (bundle.payload, bundle.hint) == (untouched.payload, untouched.hint)
    assert parse_statement(bundle.payload) == parse_statement(untouched.payload)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_curves(curve: ec.EllipticCurve, made: Made, tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "key", curve, password="a word")
    data = pair.signer(HOIST_SIGN_PASSWORD="a word").sign(VERSION, made.manifest)
    assert who([data], pair) == str(pair.public)
    refused([data], made.good)


def test_keys_that_cannot_be_used(made: Made, tmp_path: Path) -> None:
    locked = make_pair(tmp_path, "locked", password="right")
    curve = make_pair(tmp_path, "curve", ec.SECP256K1())
    key = rsa.generate_private_key(65537, 2048)
    (tmp_path / "rsa.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "rsa.pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "junk").write_text("-----BEGIN PRIVATE KEY-----\nsecret\n")
    for path, words, env in (
        (locked.private, "HOIST_SIGN_PASSWORD", {}),
        (locked.private, "is not its password", {"HOIST_SIGN_PASSWORD": "wrong"}),
        (made.good.private, "unset HOIST_SIGN_PASSWORD", {"HOIST_SIGN_PASSWORD": "wrong"}),
        (made.good.public, "no private key: it holds a public one", {}),
        (curve.private, "P-256", {}),
        (tmp_path / "rsa.pem", "P-256", {}),
        (tmp_path / "junk", "no private key.*openssl ecparam", {}),
        (tmp_path / "absent", "cannot read", {}),
        (tmp_path, "cannot read.*name a file in PEM", {}),
    ):
        with pytest.raises(InvalidConfig, match=words) as error:
            open_signer(str(path), env)
        assert not {"wrong", "right", "secret"} & set(str(error.value).split())
    unusable: tuple[tuple[Path | str, str], ...] = (
        (made.good.private, "give the public one"),
        (curve.public, "openssl ecparam"),
        (tmp_path / "rsa.pub", "openssl ecparam"),
        (tmp_path / "absent", "cannot read"),
        ("me@example.com", "IDENTITY@ISSUER"),
        ("", "names nobody"),
    )
    for named, words in unusable:
        with pytest.raises(InvalidConfig, match=words):
            trusted([str(named)])
    with pytest.raises(InvalidConfig):
        trusted([])


@pytest.mark.parametrize(
    ("module", "extra"), [("model_signing", "sign"), ("cryptography.hazmat.primitives.serialization", "verify")]
)
def test_a_package_that_is_not_installed(module: str, extra: str, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(LocalError, match=rf"pip install 'hoist\[{extra}\]'"):
        if extra == "sign":
            made.good.signer()
        else:
            trusted([str(made.good.public)])


def test_identities(made: Made) -> None:
    text = "https://github.com/o/r/.github/workflows/x.yml@refs/tags/v1@https://token.actions.githubusercontent.com"
    (found,) = trusted([text])
    assert isinstance(found, Identity)
    assert found.identity.endswith("@refs/tags/v1")
    assert (found.issuer, found.name) == ("https://token.actions.githubusercontent.com", text)
    # It is not asked of Sigstore whether a key is an account.
    with pytest.raises(Unsigned, match="by a key, and not by a certificate"):
        find_signer(VERSION, "nas", made.manifest, [made.data], [found])
    assert hints_of([found, *trusted([str(made.good.public)])]) == []
    signer = open_signer(KEYLESS, {"HOIST_IDENTITY_TOKEN": "token-secret"})
    assert isinstance(signer, KeylessSigner)
    assert "token-secret" not in repr(signer)


def test_a_certificate_is_no_key(made: Made) -> None:
    document = json.loads(made.data)
    document["verificationMaterial"] = {"certificate": {"rawBytes": "AAAA"}}
    assert "by a certificate, and not by a key" in refused([json.dumps(document).encode()], made.good)
