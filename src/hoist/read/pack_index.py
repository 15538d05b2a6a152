"""The pack index of a version: read from its storage, kept on this host, and what it says to ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Event
from typing import TYPE_CHECKING

from hoist.errors import InvalidManifest
from hoist.model.packs import Pack, PackIndex, may_have_packs, most_index_bytes
from hoist.retry import retrying

if TYPE_CHECKING:
    from hoist.read.version import OpenedVersion

# Bytes that nobody wants, between two files that somebody does, cost less than another request.
_GAP_BYTES = 1 << 20


def read_index(opened: OpenedVersion) -> PackIndex:
    """The pack index of a version; an empty one where it would be no use. Raises FileNotFound if there is none, Damaged,
    and what a storage may."""
    manifest, most = opened.manifest, most_index_bytes(opened.manifest)
    if not may_have_packs(manifest):
        return PackIndex(manifest.digest, ())

    def read() -> bytes:
        return opened.storage.read_packs(opened.version, manifest.digest, most)

    return PackIndex.parse(retrying(read, opened.engine.config.retry_seconds, Event()), manifest)


def kept_index(opened: OpenedVersion) -> PackIndex | None:
    """The pack index that the host cache has of a version. It may be old: what it leads to is checked anyway."""
    data = opened.kept_in.document(_name(opened)) if opened.kept_in else None
    if data is None:
        return None
    try:
        return PackIndex.parse(data, opened.manifest)
    except InvalidManifest:
        return None


def keep_index(opened: OpenedVersion, index: PackIndex) -> None:
    """Keep an index in the host cache, if the version has one."""
    if opened.kept_in:
        opened.kept_in.keep_document(_name(opened), index.to_bytes())


def _name(opened: OpenedVersion) -> str:
    """It is the version's, not its own digest's, as nobody knows that before."""
    return f"packs:{opened.manifest.digest.removeprefix('sha256:')}"


def runs(pack: Pack, wanted: Sequence[int], request_bytes: int) -> Iterator[tuple[int, int]]:
    """The first and the last file of each request that brings the wanted ones, which are in order. Pure.

    A request ends between two files; it takes along what lies between two that are close to each other.
    """
    first = last = wanted[0]
    for at in wanted[1:]:
        end = pack.offsets[last] + pack.files[last].size
        far = pack.offsets[at] - end > _GAP_BYTES
        if far or pack.offsets[at] + pack.files[at].size - pack.offsets[first] > request_bytes:
            yield first, last
            first = at
        last = at
    yield first, last
