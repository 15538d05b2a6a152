"""How much of a file the page cache holds, measured, and emptying it of a file: a cold read is proven, not assumed."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

from hoist.errors import LocalError

# x86-64 and every architecture that joined after 5.x share this number; cachestat came with Linux 6.5.
_CACHESTAT = 451
_PAGE = mmap.PAGESIZE
_DROP = Path("/proc/sys/vm/drop_caches")


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Stat(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("cache", "dirty", "writeback", "evicted", "recent"))


def cached_fraction(path: Path) -> float:
    """The part of a file's pages that are in the page cache, 0 to 1, by cachestat, or mincore on older kernels.

    Raises LocalError where neither works.
    """
    size = path.stat().st_size
    if not size:
        return 0.0
    pages = -(-size // _PAGE)
    with path.open("rb") as file:
        found = _cachestat(file.fileno())
        if found is None:
            found = _mincore(file.fileno(), size, pages)
    return min(1.0, found / pages)


def let_go(path: Path) -> None:
    """Ask for a file's pages to be given up, once they are on its disk; what others have mapped stays. Raises OSError."""
    with path.open("rb") as file:
        os.fdatasync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def drop(paths: Iterable[Path]) -> float:
    """Empty the page cache of these files; the largest part of one that is left, 0 if all are cold.

    Asks for each file first; where pages stay and this process may, the whole cache is dropped.
    """
    files = list(paths)
    for path in files:
        let_go(path)
    left = max(map(cached_fraction, files), default=0.0)
    if left and os.access(_DROP, os.W_OK):
        os.sync()
        _DROP.write_text("3\n")
        left = max(map(cached_fraction, files), default=0.0)
    return left


def _cachestat(fd: int) -> int | None:
    libc = ctypes.CDLL(None, use_errno=True)
    stat = _Stat()
    failed = libc.syscall(_CACHESTAT, fd, ctypes.byref(_Range(0, 0)), ctypes.byref(stat), 0)
    return None if failed else int(stat.cache)


def _mincore(fd: int, size: int, pages: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise LocalError("this kernel tells nothing of its page cache: neither cachestat nor mincore works")
    found = (ctypes.c_ubyte * pages)()
    failed = libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), found)
    libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))
    if failed:
        raise LocalError("this kernel tells nothing of its page cache: neither cachestat nor mincore works")
    return sum(byte & 1 for byte in found)
