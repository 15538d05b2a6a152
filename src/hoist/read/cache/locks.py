"""Locks that end with their holder, however it ends: claims on blocks between processes, and files in use.

A claim is an open-file-description lock on one byte of the record for each block: the kernel frees it when the last
descriptor of that opening is closed, by a `kill -9` too. Its threads are told apart by a table of their own.
"""

from __future__ import annotations

import fcntl
import os
import struct
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition

from hoist.read.cache.record import HEADER_BYTES

# struct flock: l_type, l_whence, l_start, l_len, l_pid (0 for these locks), padded to its alignment.
_FLOCK = struct.Struct("hhqqi0q")


class Claims:
    """Who of all processes and threads of this host brings which blocks of one file.

    Has a descriptor of the record of its own: locks belong to an opening, and a forked child would share it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
        self.changed = Condition()
        self._mine: set[int] = set()
        _OPEN.add(self)

    def take(self, first: int, last: int) -> bool:
        """Claim blocks `first` to `last` (half-open); False if anybody else has one of them."""
        with self.changed:
            if self._fd < 0 or not self._mine.isdisjoint(range(first, last)):
                return False
            if not self._lock(fcntl.F_WRLCK, first, last):
                return False
            self._mine.update(range(first, last))
            return True

    def give(self, first: int, last: int) -> None:
        """Let claimed blocks go, and wake who waits for them."""
        with self.changed:
            if self._fd >= 0:
                self._lock(fcntl.F_UNLCK, first, last)
            self._mine.difference_update(range(first, last))
            self.changed.notify_all()

    def is_free(self, index: int) -> bool:
        """Whether nobody has claimed the block."""
        with self.changed:
            if index in self._mine or self._fd < 0:
                return False
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, HEADER_BYTES + index, 1, 0)
            found: int = _FLOCK.unpack(fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, asked))[0]
            return found == fcntl.F_UNLCK

    def close(self) -> None:
        """Let everything go."""
        with self.changed:
            fd, self._fd = self._fd, -1
            self.changed.notify_all()
        if fd >= 0:
            os.close(fd)

    def forked(self) -> None:
        """In a forked child: stop sharing the parent's locks, which would outlive it."""
        self.changed, self._mine = Condition(), set()
        if self._fd >= 0:
            fresh = os.open(f"/proc/self/fd/{self._fd}", os.O_RDWR | os.O_CLOEXEC)
            os.dup2(fresh, self._fd, inheritable=False)
            os.close(fresh)

    def _lock(self, kind: int, first: int, last: int) -> bool:
        try:
            fcntl.fcntl(
                self._fd,
                fcntl.F_OFD_SETLK,
                _FLOCK.pack(kind, os.SEEK_SET, HEADER_BYTES + first, last - first, 0),
            )
        except (BlockingIOError, PermissionError):
            return False
        return True


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """The one lock of a cache folder: for making and removing files, and for giving out room. Raises OSError."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def hold(fd: int, *, alone: bool = False) -> bool:
    """Say that an open file is in use, or (`alone`) that nobody else uses it; False if somebody is in the way.

    It lasts until the last descriptor and the last mapping of that opening are gone.
    """
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_OPEN: weakref.WeakSet[Claims] = weakref.WeakSet()


def _forked() -> None:
    for claims in list(_OPEN):
        claims.forked()


os.register_at_fork(after_in_child=_forked)
