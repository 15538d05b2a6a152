"""Signing a version that is in a storage, and bringing signatures along with a copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hoist.errors import Unsigned
from hoist.model.manifest import Manifest
from hoist.signing.signer import Signer
from hoist.signing.trust import find_signer
from hoist.storage.base import Storage, Version


@dataclass(frozen=True, slots=True)
class Signed:
    """A version that is signed. `by` is the key's file, or `sigstore`; `hint` the SHA-256 of its public key, empty without
    one. `already`: it had a good signature by this key."""

    version: Version
    digest: str
    by: str
    hint: str
    already: bool


def sign_version(storage: Storage, version: Version, manifest: Manifest, signer: Signer) -> Signed:
    """Sign a version of the storage, unless the signer has. Raises Conflict if it is another by now, VersionNotFound,
    StorageUnsupported, and what a signer and a storage may."""
    public = signer.public
    if public is not None and _has(storage, version, manifest, signer):
        return Signed(version, manifest.digest, signer.name, public.hint, already=True)
    storage.add_signature(version, manifest.digest, signer.sign(str(version), manifest))
    return Signed(version, manifest.digest, signer.name, public.hint if public else "", already=False)


def carry_signatures(found: Sequence[bytes], target: Storage, version: Version, digest: str) -> int:
    """Give the target's version the signatures that it lacks; how many those were. Raises as Storage.add_signature does."""
    if not found:
        return 0
    there = set(target.signatures(version))
    lacking = [data for data in found if data not in there]
    for data in lacking:
        target.add_signature(version, digest, data)
    return len(lacking)


def _has(storage: Storage, version: Version, manifest: Manifest, signer: Signer) -> bool:
    assert signer.public is not None
    found = storage.signatures(version, [signer.public.hint])
    try:
        find_signer(str(version), storage.address, manifest, found, [signer.public])
    except Unsigned:
        return False
    return True
