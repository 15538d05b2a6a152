"""What is in a cache, for people: names, sizes, pins, last uses; and which entries a word means."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hoist.errors import FileNotFound
from hoist.read.cache.locks import hold
from hoist.read.cache.record import ABSENT, HEADER_BYTES, parse_header, parse_names, parse_tables
from hoist.read.cache.room import is_pinned

if TYPE_CHECKING:
    from hoist.read.cache.host import HostCache

_MOST_NAMES_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One cached file. `seen_as`: the locations' files that it was read as; `disk_bytes`: what it takes on the disk."""

    name: str
    digest: str
    seen_as: tuple[str, ...]
    size: int
    held_bytes: int
    disk_bytes: int
    blocks: int
    held_blocks: int
    pinned: bool
    in_use: bool
    last_use: float

    @property
    def complete(self) -> bool:
        """Whether every block is here."""
        return self.held_blocks == self.blocks


@dataclass(frozen=True, slots=True)
class CacheUsage:
    """How full a cache is; `limit_source` is `configuration`, `folder` or `disk`."""

    folder: Path
    disk_bytes: int
    limit_bytes: int
    limit_source: str


def read_entries(host: HostCache) -> list[CacheEntry]:
    """The entries whose records can be read, the last used first."""
    try:
        names = [path.stem for path in (host.folder / "files").iterdir() if path.suffix == ".record"]
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        with suppress(OSError):
            entry = _read(host, name)
            if entry:
                found.append(entry)
    return sorted(found, key=lambda entry: -entry.last_use)


def find_entries(entries: Sequence[CacheEntry], target: str) -> list[CacheEntry]:
    """The entries that a word means: a digest or its beginning, a location or one without its storage, a file of it.

    Raises FileNotFound with the names there are.
    """
    digest = target.removeprefix("sha256:")
    found = [
        entry
        for entry in entries
        if (len(digest) >= 6 and entry.digest.removeprefix("sha256:").startswith(digest))
        or any(_means(target, name) for name in entry.seen_as)
    ]
    if not found:
        names = sorted({name for entry in entries for name in entry.seen_as})
        known = f"it has {', '.join(names[:5])}" if names else "it is empty"
        raise FileNotFound(f"the host cache has nothing of {target}; {known}. hoist cache list shows all")
    return found


def _means(target: str, name: str) -> bool:
    """Whether a location, a version, a model or a file is what a name such as `nas//m/one:v1/unet/w` lies in."""
    short = name.partition("//")[2] if "://" not in name else name.rpartition("//")[2]
    return any(each == target or each.startswith((f"{target}/", f"{target}:")) for each in (name, short))


def _read(host: HostCache, name: str) -> CacheEntry | None:
    path = host.record_path(name)
    with path.open("rb", buffering=0) as file:
        fd = file.fileno()
        status = os.fstat(fd)
        header = parse_header(os.pread(fd, HEADER_BYTES, 0), status.st_size)
        if header is None:
            return None
        blocks = parse_tables(header, os.pread(fd, header.names_at - header.tables_at, header.tables_at))
        states = os.pread(fd, header.blocks, HEADER_BYTES)
        seen_as = parse_names(os.pread(fd, _MOST_NAMES_BYTES, header.names_at))
    if blocks is None:
        return None
    spans = [blocks.span(index) for index, state in enumerate(states) if state != ABSENT]
    with host.data_path(name).open("rb", buffering=0) as file:
        in_use = not hold(file.fileno(), alone=True)
        disk = (os.fstat(file.fileno()).st_blocks + status.st_blocks) * 512
    return CacheEntry(
        name=name,
        digest=header.file_digest,
        seen_as=seen_as,
        size=header.size,
        held_bytes=sum(end - begin for begin, end in spans),
        disk_bytes=disk,
        blocks=header.blocks,
        held_blocks=len(spans),
        pinned=is_pinned(path),
        in_use=in_use,
        last_use=status.st_mtime,
    )
