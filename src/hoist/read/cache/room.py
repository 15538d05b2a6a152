"""Room in the cache: how many bytes it may hold, what it holds, and what goes when more is wanted.

Blocks get their room before they are fetched, all of it allocated on the disk: so two processes that fill at once
cannot go over the limit together, and a disk that is full says so at once. Everything here runs under the folder's lock.
"""

from __future__ import annotations

import errno
import os
import shutil
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from hoist.config import parse_size
from hoist.errors import InvalidConfig
from hoist.read.cache.locks import hold
from hoist.read.cache.record import PIN_AT

_USAGE = struct.Struct("<8sQ")
_MAGIC = b"HOISTUS\x01"
_SECTOR = 512


class Room:
    """The bytes of a cache folder, given out and taken back. `given` is the configured limit."""

    def __init__(self, folder: Path, given: int | None) -> None:
        self.folder = folder
        self._files = folder / "files"
        self._given = given
        self.full = False
        """Whether the disk, not the limit, had no more room the last time."""

    @property
    def source(self) -> str:
        """Where the limit comes from: `configuration`, `folder` (set by `hoist cache limit`) or `disk`."""
        if self._given is not None:
            return "configuration"
        return "folder" if self._kept() is not None else "disk"

    def limit(self) -> int:
        """Bytes that the cache may hold: as configured, as kept in the folder, or half of what the disk has for it."""
        for found in (self._given, self._kept()):
            if found is not None:
                return found
        return (
            self._held() + shutil.disk_usage(self.folder if self.folder.exists() else _above(self.folder)).free
        ) // 2

    def keep_limit(self, limit: int | None) -> None:
        """Remember a limit in the folder; None forgets it. Raises OSError."""
        path = self.folder / "limit"
        if limit is None:
            path.unlink(missing_ok=True)
            return
        temporary = path.with_suffix(".new")
        temporary.write_text(f"{limit}\n")
        temporary.replace(path)

    def take(self, fd: int, name: str, wanted: Sequence[tuple[int, int, int]]) -> list[int]:
        """Allocate blocks (index, begin, end) of the file `fd`; those that got room, the first ones first.

        What was not used for longest goes for it; never what is pinned or in use, nor `name` itself. Raises OSError.
        """
        need = sum(end - begin for _, begin, end in wanted)
        limit, held = self.limit(), self._held()
        if held + need > limit:
            held = self._evict(self.scan(), limit - need, name)
        self.full = False
        fitting = list(_fitting(wanted, limit - held))
        self._write_usage(held + sum(end - begin for _, begin, end in fitting))
        got: list[int] = []
        for first, last in _runs(fitting):
            if not self._allocate(fd, name, fitting[first][1], fitting[last - 1][2]):
                self.full = True
                self._write_usage(self.scan())
                break
            got += [index for index, _, _ in fitting[first:last]]
        return got

    def scan(self) -> int:
        """Count what the files take on the disk."""
        held = 0
        with suppress(FileNotFoundError):
            for entry in os.scandir(self._files):
                with suppress(FileNotFoundError):
                    held += entry.stat(follow_symlinks=False).st_blocks * _SECTOR
        return held

    def trim(self) -> int:
        """Evict what is over the limit, and remove halves that have no other half; the bytes left. Raises OSError."""
        names = {path.name for path in self._files.iterdir()}
        for name in names:
            stem, _, kind = name.rpartition(".")
            other = f"{stem}.record" if kind == "data" else f"{stem}.data"
            if kind == "new" or other not in names:
                (self._files / name).unlink(missing_ok=True)
        held = self._evict(self.scan(), self.limit(), "")
        self._write_usage(held)
        return held

    def remove(self, name: str, *, force: bool = False) -> bool:
        """Remove an entry; False if it is in use. Raises OSError."""
        data, record = self._files / f"{name}.data", self._files / f"{name}.record"
        try:
            fd = os.open(data, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            record.unlink(missing_ok=True)
            return True
        try:
            if not hold(fd, alone=True) and not force:
                return False
            record.unlink(missing_ok=True)
            data.unlink(missing_ok=True)
            return True
        finally:
            os.close(fd)

    def _allocate(self, fd: int, name: str, begin: int, end: int) -> bool:
        """Allocate a range, evicting while the disk has no room; False if nothing is left to evict."""
        while True:
            try:
                os.posix_fallocate(fd, begin, end - begin)
                return True
            except OSError as error:
                if error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                    return True  # a file system without it finds out when it is written
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
            if not any(self._evict_one(each) for each in self._oldest(name)):
                return False

    def _evict(self, held: int, most: int, keep: str) -> int:
        """Remove the entries that were not used for longest until at most `most` bytes are held; the bytes left."""
        for name in self._oldest(keep):
            if held <= most:
                break
            held -= self._evict_one(name)
        return held

    def _evict_one(self, name: str) -> int:
        """Remove an entry unless it is in use; the bytes that it took."""
        paths = [self._files / (name + ending) for ending in (".data", ".record")]
        size = sum(path.stat().st_blocks * _SECTOR for path in paths if path.exists())
        return size if self.remove(name) else 0

    def _oldest(self, keep: str) -> Iterator[str]:
        """The entries that may go, the one that was not used for longest first."""
        found: list[tuple[float, str]] = []
        for entry in os.scandir(self._files):
            stem, _, kind = entry.name.rpartition(".")
            if kind == "record" and stem != keep:
                with suppress(FileNotFoundError):
                    found.append((entry.stat().st_mtime, stem))
        for _, name in sorted(found):
            if not is_pinned(self._files / f"{name}.record"):
                yield name

    def _kept(self) -> int | None:
        try:
            return parse_size((self.folder / "limit").read_text())
        except (OSError, ValueError, InvalidConfig):
            return None

    def _held(self) -> int:
        """What is held by the last count, and what was given out since; at least what is really held, by and large."""
        try:
            magic, held = _USAGE.unpack((self.folder / "usage").read_bytes())
        except (OSError, struct.error):
            return self.scan()
        return int(held) if magic == _MAGIC else self.scan()

    def _write_usage(self, held: int) -> None:
        """Written before anything is allocated: what a kill leaves counts too much, and is counted anew when full."""
        fd = os.open(self.folder / "usage", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.pwrite(fd, _USAGE.pack(_MAGIC, max(0, held)), 0)
        finally:
            os.close(fd)


def is_pinned(record: Path) -> bool:
    """Whether a record says that its file stays."""
    try:
        with record.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), 1, PIN_AT) == b"\1"
    except OSError:
        return False


def _above(folder: Path) -> Path:
    """The nearest folder above that exists."""
    return next(path for path in folder.absolute().parents if path.exists())


def _fitting(wanted: Iterable[tuple[int, int, int]], room: int) -> Iterator[tuple[int, int, int]]:
    for index, begin, end in wanted:
        room -= end - begin
        if room < 0:
            return
        yield index, begin, end


def _runs(blocks: Sequence[tuple[int, int, int]]) -> Iterator[tuple[int, int]]:
    """The blocks as half-open runs of neighbours."""
    first = 0
    for number in range(1, len(blocks) + 1):
        if number == len(blocks) or blocks[number][1] != blocks[number - 1][2]:
            yield first, number
            first = number
