"""Whether a version is signed by those who have to have signed it, looked at before anything of it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoist.errors import Damaged, Unsigned
from hoist.model.manifest import Manifest
from hoist.storage.base import Storage, Version

if TYPE_CHECKING:
    from hoist.signing.trust import Trusted


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that a version has. `key` is the SHA-256 of the public key (as PEM) that it names, empty if it is by a
    certificate. `trusted` is who of those whom the storage requires has signed; empty: nobody vouches for it here.
    `problem`: why it is none of this version."""

    key: str
    trusted: str = ""
    problem: str = ""


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
    try:
        return known_signer(storage, version, manifest, those)
    except Unsigned:
        if not hints_of(those):
            raise
    # The others cannot help, but tell why.
    return find_signer(str(version), storage.address, manifest, storage.signatures(version), those).name


def known_signer(storage: Storage, version: Version, manifest: Manifest, those: Sequence[Trusted]) -> str:
    """As `signed_by`, for who has read the keys, and does not ask why it is not signed: Unsigned may not say it."""
    from hoist.signing.trust import find_signer, hints_of

    found = storage.signatures(version, hints_of(those))
    return find_signer(str(version), storage.address, manifest, found, those).name


def find_signatures(storage: Storage, version: Version, manifest: Manifest) -> tuple[Signature, ...]:
    """All signatures of a version, looked at. Raises what a storage may; InvalidConfig and LocalError for required keys."""
    from hoist.signing.trust import trusted

    those = [each for names in storage.required_signers for each in trusted(names)]
    return tuple(_look(data, version, manifest, those) for data in storage.signatures(version))


def _look(data: bytes, version: Version, manifest: Manifest, those: Sequence[Trusted]) -> Signature:
    from hoist.signing.bundle import parse_bundle
    from hoist.signing.statement import parse_statement, statement_of

    try:
        bundle = parse_bundle(data)
    except Damaged as error:
        return Signature("", problem=str(error))
    try:
        said = parse_statement(bundle.payload)
    except Damaged as error:
        return Signature(bundle.hint, problem=str(error))
    if said != statement_of(str(version), manifest):
        return Signature(bundle.hint, problem=f"it is of {said.subject}")
    by = next((each.name for each in those if not each.why_not(bundle)), "")
    mine = next((each for each in those if each.hint and each.hint == bundle.hint), None)
    return Signature(bundle.hint, by, mine.why_not(bundle) if mine else "")
