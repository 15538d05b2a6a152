"""Targets: the file that holds a signature, and what it signs."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzz_target import Target, attempt

from hoist.errors import Damaged, Unsigned
from hoist.signing.bundle import parse_bundle
from hoist.signing.keys import PublicKey
from hoist.signing.statement import parse_statement
from hoist.signing.trust import find_signer, trusted
from signing_making import VERSION, make_pair, manifest_of

_MANIFEST = manifest_of({"config.json": b"{}", "unet/weights.bin": b"w" * 100})


@cache
def _signed() -> tuple[PublicKey, bytes]:
    with TemporaryDirectory() as folder:
        pair = make_pair(Path(folder), "key")
        (key,) = trusted([str(pair.public)])
        assert isinstance(key, PublicKey)
        return key, pair.signer().sign(VERSION, _MANIFEST)


def check_bundle(data: bytes) -> bool:
    """What is read names a signer that can be a key's name in a storage; and only what the key has signed is believed."""
    key, right = _signed()
    found = attempt(lambda: parse_bundle(data), Damaged)
    if found is None:
        return False
    assert len(found.signer) == 64
    assert set(found.signer) <= set("0123456789abcdef")
    believed = attempt(lambda: find_signer(VERSION, "here", _MANIFEST, [data], [key]), Unsigned)
    assert believed is None or found.payload == parse_bundle(right).payload
    return True


def check_statement(data: bytes) -> bool:
    """What is read names each file once, by a digest."""
    found = attempt(lambda: parse_statement(data), Damaged)
    if found is None:
        return False
    assert isinstance(found.subject, str)
    return all(bytes.fromhex(digest) is not None for digest in found.files.values())


def _bundles() -> list[bytes]:
    return [_signed()[1]]


def _statements() -> list[bytes]:
    payload = parse_bundle(_signed()[1]).payload
    return [payload, json.dumps(json.loads(payload)).encode()]


_WORDS = (
    b'"publicKey"',
    b'"certificate"',
    b'"hint"',
    b'""',
    b"null",
    b"[]",
    b"{}",
    b"sha256",
    b"subject",
    b"resources",
)
TARGETS = (
    Target("bundle", check_bundle, _bundles, _WORDS),
    Target("statement", check_statement, _statements, _WORDS),
)
