"""Signing a version that is in a storage, and bringing signatures along with a copy."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from hoist.errors import HoistWarning, Unsigned, UsageError
from hoist.model.manifest import Manifest
from hoist.read.signed import check_signed
from hoist.signing.signer import Signer
from hoist.signing.trust import Trusted, find_signer, trusted
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


def find_signature(storage: Storage, version: Version, manifest: Manifest, names: Sequence[str]) -> bytes:
    """The one signature that a version has; with `names` (see `trusted`) one that is good by one of them. Raises Unsigned,
    UsageError where there are several and nobody is named."""
    found = storage.signatures(version)
    if names:
        those = trusted(names)
        who = find_signer(str(version), storage.address, manifest, found, those)
        return next(data for data in found if _is_by(who, data, storage, version, manifest))
    if not found:
        raise Unsigned(f"{version} in {storage.address} has no signature: hoist sign LOCATION --key KEY.pem makes one")
    if len(found) > 1:
        raise UsageError(
            f"{version} in {storage.address} has {len(found)} signatures: say by whom (--signed-by KEY.pub)"
        )
    return found[0]


def warn_unless_signed(storage: Storage, version: Version, manifest: Manifest) -> None:
    """Tell who brought a version that nobody will be able to open there. Raises what `check_signed` does but Unsigned."""
    try:
        check_signed(storage, version, manifest)
    except Unsigned as error:
        warnings.warn(HoistWarning(f"{error}: until then {storage.address} does not open it"), stacklevel=2)


def _is_by(who: Trusted, data: bytes, storage: Storage, version: Version, manifest: Manifest) -> bool:
    try:
        find_signer(str(version), storage.address, manifest, [data], [who])
    except Unsigned:
        return False
    return True


def _has(storage: Storage, version: Version, manifest: Manifest, signer: Signer) -> bool:
    assert signer.public is not None
    found = storage.signatures(version, [signer.public.hint])
    return any(_is_by(signer.public, data, storage, version, manifest) for data in found)
