"""What a copy would move into one target, found out without writing anything there."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hoist.errors import Conflict, HoistError, VersionNotFound
from hoist.model.image.layers import SMALL_BYTES
from hoist.model.manifest import Manifest
from hoist.read.version import OpenedVersion
from hoist.storage import layout
from hoist.storage.base import Storage, Version
from hoist.storage.image.passing import passing
from hoist.storage.image.storage import ImageStorage

# As many versions of the model are looked at, the last ones by label.
_MOST_VERSIONS = 16


@dataclass(frozen=True, slots=True)
class Outlook:
    """Bytes that would be sent, and copied inside the target; `already`: the version is there.

    What an unfinished run has left there is not known before the claim: it may spare some of what would be sent.
    """

    send_bytes: int
    copy_bytes: int
    already: bool


def look_ahead(opened: OpenedVersion, target: Storage, uploads: Path | None) -> Outlook:
    """What a copy would do. Raises Conflict if it would be refused, and what a storage may."""
    version, manifest = opened.version, opened.manifest
    try:
        there = target.read_manifest(version)
    except VersionNotFound:
        pass
    else:
        if there != manifest.data:
            raise Conflict(
                f"{target.address} has {version} with other content: a version never changes; copy one of another label, "
                "or remove that one first"
            )
        return Outlook(0, 0, already=True)
    if target.find_tag(version.name, version.label):
        raise Conflict(f"{version} is a tag in {target.address}: move or remove it there first")
    if (passed := passing(opened.storage, target, version, manifest.digest)) is not None and passed.near:
        return Outlook(0, manifest.size, already=False)
    send = 0
    least = SMALL_BYTES if isinstance(target, ImageStorage) else layout.MARKED_FROM_BYTES
    held = _held(target, version)
    staging = target.staging(version, [file.size for file in manifest.files], uploads)
    for file in manifest.files:
        if file.size >= least and (file.digest, file.size) in held:
            continue
        if staging is None or file.size < staging.from_bytes:
            send += file.size
            continue
        blocks = opened.blocks(file.path)
        spans = ((blocks.digest(index), *blocks.span(index)) for index in range(len(blocks)))
        send += sum(end - begin for digest, begin, end in spans if staging.find(digest, None) is None)
    return Outlook(send, manifest.size - send, already=False)


def _held(target: Storage, version: Version) -> set[tuple[str, int]]:
    """The files of the model's other versions in the target."""
    found: set[tuple[str, int]] = set()
    with suppress(HoistError):
        # A registry may not list; then all is taken for new.
        for other in list(target.versions(version.name))[-_MOST_VERSIONS:]:
            with suppress(HoistError):
                manifest = Manifest.parse(target.read_manifest(other))
                found |= {(file.digest, file.size) for file in manifest.files}
    return found
