"""Which local files this host has verified already, so that a second load does not hash them again.

What is remembered of a file is its device, inode, size, and times of change, with the digest of its content; when any of
them differs, the file is verified anew. This trusts the kernel to change a file's ctime with each write, and the disk to
give the same bytes again; a disk that rots between two loads is found by `hoist verify`, which trusts nothing.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

# A file changed in the same tick of the clock as it was verified keeps its times: such young files are not remembered.
_YOUNG_SECONDS = 2.0
_MOST_ENTRIES = 4096


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

    def _prune(self) -> None:
        entries = list(os.scandir(self._folder))
        if len(entries) > _MOST_ENTRIES:
            entries.sort(key=lambda entry: entry.stat().st_mtime)
            for entry in entries[: len(entries) // 2]:
                Path(entry.path).unlink(missing_ok=True)
