"""A local file's weights mapped instead of copied: the page cache holds the one copy, and a second load finds it there.

The mapping is private: writing to a tensor never reaches the file. The engine's requests bring the pages in, deep enough
to keep a disk busy, and each block is hashed where it lies; a file that this host has verified is not hashed again.

Pages come in large folios where the file system has them: an eighth of the kernel's time for each byte, and a second
load touches 512 times fewer. So the faults themselves must ask for them: POSIX_FADV_WILLNEED would fill the page cache
with small pages first, whatever the mapping says (seen on Linux 6.18, ext4).
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hoist.errors import LocalError
from hoist.memory import Memory, prefer_large_pages
from hoist.pagecache import cached_fraction
from hoist.read.cache.file import CachedFile
from hoist.read.source import Source, local_error
from hoist.read.trust import TrustedFiles, identity

_POPULATE_READ = 22
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class MappedFile:
    """A source's local file in memory; `memory` lives for as long as anything refers to it.

    `source` is what the engine reads in the original's place: reading it brings pages in and copies nothing, and it has
    no digests if they need no check. `ready`: there is nothing to read at all. Close it, or use `with`.
    """

    def __init__(
        self,
        fd: int,
        path: Path,
        memory: mmap.mmap,
        source: Source,
        trusted: TrustedFiles | None,
        *,
        verified: bool = False,
        turn: bool | None = None,
    ) -> None:
        self.memory = memory
        self._fd = fd
        self._digest = source.blocks.file_digest
        self._trusted = trusted if source.blocks.digests and not verified else None
        self._name = identity(fd, self._digest)
        known = verified or (self._trusted is not None and self._trusted.knows(self._name))
        self._turn: int | None = None
        if not known and self._trusted is not None and turn is not None:
            self._turn = self._trusted.take_turn(self._name, source.size, wait=turn)
            known = self._trusted.knows(self._name)
        self.ready = known and _is_cached(path)
        blocks = replace(source.blocks, digests=b"") if known else source.blocks
        self.source = replace(source, blocks=blocks, read_into=_page_reader(fd, memory), cache=None)

    def remember(self) -> None:
        """All blocks of the file are verified: say so to the next load."""
        if self._trusted:
            self._trusted.remember(self._fd, self._name, self._digest)

    @property
    def has_turn(self) -> bool:
        """Whether others may be waiting for this one to be verified."""
        return self._turn is not None

    def close(self) -> None:
        """Let the file go; the mapping stays for as long as it is referred to."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._turn is not None:
            os.close(self._turn)
            self._turn = None

    def __enter__(self) -> MappedFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def map_file(source: Source, path: Path, trusted: TrustedFiles | None, turn: bool | None = None) -> MappedFile | None:
    """Map a source's local file; None if it is not of the size that it should be, which reading will then report.

    Of several processes that would verify it at once, one does: `turn` says whether to wait for it (True), or only to keep
    others from doing the same (False); None is neither.

    Raises FileNotFound, PermissionDenied, LocalError.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if os.fstat(fd).st_size != source.size or not source.size:
            os.close(fd)
            return None
    except OSError as error:
        raise local_error(error, path) from None
    return MappedFile(fd, path, _map(fd, path, source.size), source, trusted, turn=turn)


def map_cached(source: Source, cached: CachedFile) -> MappedFile:
    """Map a file of the host cache, of which what is needed is here and verified. Raises LocalError.

    The mapping keeps the file in use, and so in the cache, for as long as it lives.
    """
    fd = os.dup(cached.fd)
    return MappedFile(fd, cached.path, _map(fd, cached.path, source.size), source, None, verified=True)


def _map(fd: int, path: Path, size: int) -> mmap.mmap:
    """A private mapping; the descriptor is closed if there is none. Raises LocalError."""
    try:
        memory = Memory(fd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    except OSError as error:
        os.close(fd)
        raise LocalError(f"cannot map {path}: {error.strerror}") from None
    prefer_large_pages(memory)
    return memory


def _is_cached(path: Path) -> bool:
    try:
        return cached_fraction(path) == 1.0
    except LocalError:
        return False


def _page_reader(fd: int, memory: mmap.mmap) -> Callable[[int, memoryview], None]:
    """Reads nothing into the buffer, which is the mapping itself, but has the kernel bring its pages in."""

    def read_into(offset: int, buffer: memoryview) -> None:
        start = offset // mmap.PAGESIZE * mmap.PAGESIZE
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        # One call instead of a fault for every few pages.
        if _LIBC.madvise(base + start, offset + len(buffer) - start, _POPULATE_READ):
            # Older kernels refuse it: the faults come when hashing.
            with suppress(OSError):
                os.posix_fadvise(fd, offset, len(buffer), os.POSIX_FADV_WILLNEED)

    return read_into
