"""A file on its way into a directory: a hidden file beside the tree that is renamed when its version has its label.

Its name tells the file that it will be and where it comes from, so that a run after a killed one finds it; what it holds
is compared byte by byte with what it should. While it is written it is locked; when it is whole it gets a name of its
own, and whoever renames that has it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from blake3 import blake3

from hoist.errors import FileNotFound
from hoist.model.blocks import block_digest
from hoist.storage import layout
from hoist.storage.posix import fill
from hoist.storage.staging import Body, Part, PartLimits, Staged

if TYPE_CHECKING:
    from hoist.storage.directory import DirectoryObjects

_LIMITS = PartLimits(smallest=1, usual=16 << 20, copied=1 << 62)
_NO_RANGE_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM)


class StagedFile(Staged):
    """See Staged."""

    limits = _LIMITS

    def __init__(self, objects: DirectoryObjects, key: str, size: int, source: Path) -> None:
        self._objects = objects
        self._key = key
        self._size = size
        self._whole: str | None = None
        name = blake3("\0".join((platform.node(), key, str(source.absolute()))).encode(errors="surrogateescape"))
        self._folder = objects.root / layout.TMP
        with objects.translate(key):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._path, self._fd = self._take(f"stage-{name.hexdigest(16)}")
            # Only what an earlier run has left is worth a look: of a new file, parts come in any order, and what is
            # not written yet behind the last one reads as zeros.
            self._left = os.fstat(self._fd).st_size

    def has(self, part: Part) -> bool:
        return False

    def has_blocks(self, part: Part, lengths: Sequence[int]) -> bool:
        if part.end > self._left:
            return False
        whole, at = blake3(), part.begin
        memory = memoryview(bytearray(max(lengths)))
        with self._objects.translate(self._key):
            for length in lengths:
                view = memory[:length]
                if fill(self._fd, at, view) != length:
                    return False
                whole.update(block_digest(view))
                at += length
        return whole.digest() == part.digest

    def copy(self, part: Part) -> bool:
        held = part.held
        if held is None:
            return False
        if part.size == self._size == held.size:
            # A link to the whole will do, when the time comes.
            self._whole = held.key
            return True
        try:
            with (self._objects.root / held.key).open("rb") as file:
                return _copy_range(file.fileno(), held.offset, self._fd, part.begin, part.size)
        except OSError as error:
            if error.errno not in (*_NO_RANGE_COPY, errno.ENOENT):
                with self._objects.translate(self._key):
                    raise
            return False

    def put(self, part: Part, body: Body) -> bool:
        at, sent = part.begin, False
        with self._objects.translate(self._key):
            for view in body():
                if at + len(view) > self._left or not _holds(self._fd, at, view):
                    sent = True
                    done = 0
                    while done < len(view):
                        done += os.pwrite(self._fd, view[done:], at + done)
                at += len(view)
        return sent

    def complete(self) -> None:
        with self._objects.translate(self._key):
            if not self._whole:
                os.ftruncate(self._fd, self._size)
                os.fdatasync(self._fd)
            whole = self._folder / f"{self._path.name}.{uuid4().hex}"
            self._path.rename(whole)
            self._path = whole
        self.close()

    def place(self) -> bool:
        if self._whole:
            self.discard()
            return self._objects.copy(self._whole, self._key)
        try:
            with self._objects.translate(self._key):
                if self._path.stat().st_size != self._size:
                    return False
                self._objects.place_file(self._path, self._key)
        except FileNotFound:
            return False
        return True

    def discard(self) -> None:
        with self._objects.translate(self._key):
            self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _take(self, name: str) -> tuple[Path, int]:
        path = self._folder / name
        if not path.exists():
            for whole in self._folder.glob(f"{name}.*"):
                # Whoever made it whole, and did not place it, finds it gone if it is still alive.
                with suppress(OSError):
                    whole.rename(path)
        for attempt in (path, self._folder / f"stage-{uuid4().hex}"):
            fd = os.open(attempt, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # It may have been renamed between the two calls: then it is somebody's whole file.
                if os.path.samestat(attempt.stat(), os.fstat(fd)):
                    return attempt, fd
            except OSError:
                pass
            os.close(fd)
        raise OSError(errno.EAGAIN, "another publish is writing the same file")


def _holds(fd: int, offset: int, view: memoryview) -> bool:
    have = bytearray(len(view))
    return fill(fd, offset, memoryview(have)) == len(view) and have == view


def _copy_range(source: int, begin: int, target: int, at: int, size: int) -> bool:
    done = 0
    while done < size:
        got = os.copy_file_range(source, target, size - done, begin + done, at + done)
        if not got:
            return False
        done += got
    return True
