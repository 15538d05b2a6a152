"""What versions a storage has, and which of them share blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoist.errors import HoistError, Unsigned
from hoist.model.blocks import BlockTable, FileBlocks
from hoist.model.manifest import Manifest
from hoist.parallel import for_each
from hoist.read.signed import known_signer
from hoist.read.version import OpenedVersion
from hoist.storage.base import Storage, Version

if TYPE_CHECKING:
    from hoist.signing.trust import Trusted

_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Listed:
    """One version in a listing; `problem` says why its manifest could not be read. `signed_by` is who of those asked for, or
    required by the storage, has signed it; empty: none of them, or nobody was asked for."""

    version: Version
    digest: str
    size: int
    files: int
    tags: tuple[str, ...]
    problem: str = ""
    signed_by: str = ""


@dataclass(frozen=True, slots=True)
class Shared:
    """How many bytes of one version's blocks another one has too."""

    version: Version
    shared_bytes: int


def list_versions(storage: Storage, name: str = "", signers: Sequence[str] = ()) -> list[Listed]:
    """All versions of a storage (or of one model), with what their manifests say, and who has signed each: of `signers`
    (see `signed_by`), or of those whom the storage requires. Raises what a storage may."""
    required = [signers] if signers else storage.required_signers
    tags: dict[Version, list[str]] = {}
    for tag in storage.tags(name):
        tags.setdefault(Version(tag.name, tag.label), []).append(tag.tag)
    versions = list(storage.versions(name))
    # Keys are read once, and not for each version.
    groups = _trusted(required) if required and versions else []

    def read(version: Version) -> Listed:
        shown = tuple(tags.get(version, ()))
        try:
            manifest = Manifest.parse(storage.read_manifest(version))
        except HoistError as error:
            return Listed(version, "", 0, 0, shown, str(error))
        by = _signed_by(storage, version, manifest, groups) if groups else ""
        return Listed(version, manifest.digest, manifest.size, len(manifest.files), shown, signed_by=by)

    return for_each(read, versions, _AT_ONCE)


def sharing(opened: OpenedVersion, name: str = "") -> list[Shared]:
    """The other versions of the storage (or of one model in it) that have blocks of this one, the most shared first.

    Reads every version's manifest and block table, no weights. Raises what a storage may.
    """
    own = _block_sizes(opened.table)

    def read(version: Version) -> Shared:
        try:
            other = OpenedVersion(opened.storage, version, Manifest.parse(opened.storage.read_manifest(version))).table
        except HoistError:
            return Shared(version, 0)
        # Only what both have is remembered: sixteen large tables are looked through at a time.
        common = {digest for file in other.files.values() for digest in _digests(file) if digest in own}
        return Shared(version, sum(own[digest] for digest in common))

    others = [version for version in opened.storage.versions(name) if version != opened.version]
    found = [shared for shared in for_each(read, others, _AT_ONCE) if shared.shared_bytes]
    return sorted(found, key=lambda shared: (-shared.shared_bytes, shared.version))


def _trusted(groups: Iterable[Sequence[str]]) -> list[list[Trusted]]:
    from hoist.signing.trust import trusted

    return [trusted(names) for names in groups]


def _signed_by(storage: Storage, version: Version, manifest: Manifest, groups: Iterable[Sequence[Trusted]]) -> str:
    try:
        return ", ".join(dict.fromkeys(known_signer(storage, version, manifest, those) for those in groups))
    except Unsigned:
        return ""


def _digests(file: FileBlocks) -> Iterator[bytes]:
    return (file.digest(index) for index in range(len(file)))


def _block_sizes(table: BlockTable) -> dict[bytes, int]:
    sizes: dict[bytes, int] = {}
    for file in table.files.values():
        for index in range(len(file)):
            begin, end = file.span(index)
            sizes[file.digest(index)] = end - begin
    return sizes
