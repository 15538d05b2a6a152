"""A file of a layout folder on its way: written beside its place, locked, found by the next run if this one is killed."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from hoist.errors import Damaged
from hoist.storage.oci.local import translated
from hoist.storage.oci.repositories import SLICE_BYTES
from hoist.storage.posix import sync_folder


class Partial:
    """An open, locked file. Its methods raise OSError but where they say otherwise."""

    def __init__(self, path: Path, fd: int, address: str) -> None:
        self._path = path
        self._fd = fd
        self._address = address
        self.size = os.fstat(fd).st_size
        self.placed = False

    def begin(self, kept: int) -> hashlib._Hash:
        """Keep the first `kept` bytes and go on behind them; the SHA-256 of those. Raises HoistErrors."""
        hasher, at = hashlib.sha256(), 0
        with translated(self._address, "a file on its way"):
            os.ftruncate(self._fd, kept)
            os.lseek(self._fd, 0, os.SEEK_SET)
            while at < kept:
                got = os.read(self._fd, min(SLICE_BYTES, kept - at))
                if not got:
                    raise Damaged(f"a file on its way to {self._address} was cut short by somebody else")
                hasher.update(got)
                at += len(got)
        self.size = kept
        return hasher

    def write(self, data: memoryview) -> None:
        """Append. Raises HoistErrors."""
        with translated(self._address, "a file on its way"):
            done = 0
            while done < len(data):
                done += os.write(self._fd, data[done:])
        self.size += len(data)

    def place(self, target: Path) -> None:
        """Sync it, and rename it to its place, whatever is there."""
        os.fsync(self._fd)
        self._path.replace(target)
        self.placed = True
        sync_folder(target.parent)


@contextmanager
def partial_file(folder: Path, resume: str, address: str) -> Iterator[Partial]:
    """A file below `folder`: what an earlier run has left under the name `resume`, if it has one and nobody writes it.

    If it is not placed in the body, it stays for the next run that has its name, if it has one.
    """
    path = folder / (hashlib.sha256(resume.encode()).hexdigest() if resume else uuid4().hex)
    with translated(address, "a file on its way"):
        fd = _locked(path)
        if fd is None:
            path, resume = folder / uuid4().hex, ""
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    part = Partial(path, fd, address)
    try:
        yield part
    finally:
        if not part.placed and not (resume and part.size):
            with suppress(OSError):
                path.unlink()
        os.close(fd)


def _locked(path: Path) -> int | None:
    """The file, made if need be; None where another writes it, or has just placed it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), path.stat()):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None
