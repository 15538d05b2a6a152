"""Keeping a version in the host cache, and checking what the cache holds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from hoist.errors import LocalError, UsageError
from hoist.model.manifest import FileEntry
from hoist.parallel import SMALL_AT_ONCE, SMALL_BYTES, for_each
from hoist.progress import Progress
from hoist.read.cache.entries import CacheEntry
from hoist.read.cache.host import HostCache
from hoist.read.version import OpenedVersion

_CHECKS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Pinned:
    """What a pin or a warming did: files, their bytes, and how many of them came from the storage now."""

    files: int
    size: int
    fetched_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, order=True)
class DamagedEntry:
    """A damaged block of a cached file, now dropped; `file` is a name that it was seen under, or its digest."""

    file: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class CacheVerified:
    """What a check of the cache found. `damaged` blocks are dropped, and are fetched again when they are wanted."""

    files: int
    blocks: int
    bytes_read: int
    seconds: float
    damaged: tuple[DamagedEntry, ...]


def pin_version(opened: OpenedVersion, cache: HostCache, progress: Progress) -> Pinned:
    """Bring a version whole into the cache, and keep it there. Running it again resumes.

    Raises UsageError for files of a local disk, LocalError if there is no room, and what a storage may.
    """
    return keep_version(opened, cache, progress, pin=True)


def keep_version(opened: OpenedVersion, cache: HostCache, progress: Progress, *, pin: bool) -> Pinned:
    """Bring a version whole into the cache, and with `pin` keep it there. Raises what `pin_version` does."""
    began = time.monotonic()
    entries = list({entry.digest: entry for entry in opened.files.values()}.values())
    size = sum(entry.size for entry in entries)
    progress.begin(f"{'pinning' if pin else 'warming'} {opened.version}", size)

    def bring(entry: FileEntry) -> int:
        return _keep(opened, cache, entry, progress, pin=pin)

    fetched = sum(for_each(bring, [e for e in entries if e.size <= SMALL_BYTES], SMALL_AT_ONCE))
    fetched += sum(bring(entry) for entry in entries if entry.size > SMALL_BYTES)
    progress.end()
    return Pinned(len(entries), size, fetched, time.monotonic() - began)


def _keep(opened: OpenedVersion, cache: HostCache, entry: FileEntry, progress: Progress, *, pin: bool) -> int:
    source = opened.source(entry.path)
    if source.cache is None:
        raise UsageError(f"{opened.version} in {opened.storage.address} lies on a disk of this host: it needs no cache")
    with cache.file(source.blocks, source.seen_as) as cached:
        filled = cached.fill(source, opened.engine, [(0, source.size)], on_bytes=progress.advance)
        if filled.left_out_bytes:
            raise LocalError(
                f"the host cache in {cache.folder} has no room for {filled.left_out_bytes} bytes of {source.name}: "
                "raise its limit (hoist cache limit), or drop or unpin something"
            )
        if pin:
            cache.pin(cached.name)
        return filled.fetched_bytes


def verify_cache(cache: HostCache, entries: Sequence[CacheEntry], progress: Progress) -> CacheVerified:
    """Hash every block that the entries hold; what is damaged is dropped. Raises LocalError."""
    began = time.monotonic()
    progress.begin("verifying the host cache", sum(entry.held_bytes for entry in entries))
    checked = for_each(lambda entry: _check(cache, entry, progress), entries, _CHECKS_AT_ONCE)
    progress.end()
    return CacheVerified(
        files=len(entries),
        blocks=sum(blocks for blocks, _, _ in checked),
        bytes_read=sum(size for _, size, _ in checked),
        seconds=time.monotonic() - began,
        damaged=tuple(sorted(item for _, _, damaged in checked for item in damaged)),
    )


def _check(cache: HostCache, entry: CacheEntry, progress: Progress) -> tuple[int, int, list[DamagedEntry]]:
    """One entry: the blocks and bytes that were hashed, and the damage."""
    blocks = size = 0
    damaged = []
    with cache.told():
        cached = cache.existing(entry.name)
        if cached is None:
            return 0, 0, []  # evicted since it was listed
        with cached:
            for index in range(len(cached.blocks)):
                suspect = cached.is_suspect(index)
                if not suspect and not cached.has(index):
                    continue
                begin, end = cached.blocks.span(index)
                blocks, size = blocks + 1, size + end - begin
                if not cached.is_right(index):
                    cached.unmark(index)
                    damaged.append(DamagedEntry(next(iter(entry.seen_as), entry.digest), begin, end))
                elif suspect:
                    cached.mark(index, index + 1)
                progress.advance(end - begin)
    return blocks, size, damaged
