"""Which local files this host has verified already, so that a second load does not hash them again.

What is remembered of a file is its device, inode, size, and times of change, with the digest of its content; when any of
them differs, the file is verified anew. This trusts the kernel to change a file's ctime with each write, and the disk to
give the same bytes again; a disk that rots between two loads is found by `hoist verify`, which trusts nothing.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

# A file changed in the same tick of the clock as it was verified keeps its times: such young files are not remembered.
_YOUNG_SECONDS = 2.0
_MOST_ENTRIES = 4096
_LOOK_SECONDS = 0.005
# Who verifies a file slower than that is not waited for.
_LEAST_RATE = 100e6
_LEAST_WAIT = 1.0


def identity(fd: int, file_digest: str) -> str:
    """What tells this state of an open file from any other, with the content it should have."""
    status = os.fstat(fd)
    fields = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, file_digest)
    return blake3("\0".join(map(str, fields)).encode()).hexdigest()


class TrustedFiles:
    """The files verified by this user on this host: an empty file each, named by identity, in a private folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def knows(self, name: str) -> bool:
        """Whether the file of that identity was verified."""
        return (self._folder / name).exists()

    def remember(self, fd: int, name: str, file_digest: str) -> None:
        """Note that the open file was verified, if it still has that identity. Failing to is no error."""
        if identity(fd, file_digest) != name or time.time() - os.fstat(fd).st_ctime < _YOUNG_SECONDS:
            return
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._folder / name).touch(mode=0o600)
            self._prune()

    def take_turn(self, name: str, size: int, *, wait: bool) -> int | None:
        """Take the turn to verify the file of that identity, and with `wait` wait for who has it; then it may be known.

        A descriptor that is the turn, to be closed; None if somebody else has it still, or this user may not write there.
        Nobody who has a turn may wait for another, or two could for ever.
        """
        until = time.monotonic() + (_LEAST_WAIT + size / _LEAST_RATE if wait else 0.0)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            turns = self._folder.with_name(f"{self._folder.name}.turns")
            fd = os.open(turns, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return None
        # A byte for each identity, near enough: two that share one take turns for nothing.
        place = int(name[:12], 16)
        while True:
            try:
                _lock_byte(fd, place)
                return fd
            except OSError:
                if self.knows(name) or time.monotonic() >= until:
                    os.close(fd)
                    return None
            time.sleep(_LOOK_SECONDS)

    def _prune(self) -> None:
        entries = list(os.scandir(self._folder))
        if len(entries) > _MOST_ENTRIES:
            entries.sort(key=lambda entry: entry.stat().st_mtime)
            for entry in entries[: len(entries) // 2]:
                Path(entry.path).unlink(missing_ok=True)


def _lock_byte(fd: int, place: int) -> None:
    """Lock one byte for this open file, not for the process: its threads take turns too. Raises OSError if it is taken."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0))
