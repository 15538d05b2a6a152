"""Whether a version is signed by those who have to have signed it, looked at before anything of it is read."""

from __future__ import annotations

from collections.abc import Sequence

from hoist.model.manifest import Manifest
from hoist.storage.base import Storage, Version


def check_signed(storage: Storage, version: Version, manifest: Manifest) -> None:
    """Raise Unsigned unless the version is signed as its storage is set to require; also what a storage may, InvalidConfig
    and LocalError for keys that cannot be read."""
    for names in storage.required_signers:
        signed_by(storage, version, manifest, names)


def signed_by(storage: Storage, version: Version, manifest: Manifest, names: Sequence[str]) -> str:
    """Who of those named (paths of public keys, or IDENTITY@ISSUER) has signed the version; see `check_signed`."""
    # With it comes a library of cryptography: only who asks for signatures pays for that.
    from hoist.signing.trust import find_signer, hints_of, trusted

    those = trusted(names)
    found = storage.signatures(version, hints_of(those))
    return find_signer(str(version), storage.address, manifest, found, those).name
