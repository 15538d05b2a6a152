"""Contents on this machine's disk, in files that nobody else sees and that are gone with the process.

Small files wait in one until their layer is made; a compressed layer is inflated into one, as no range of it can be read.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import weakref
from collections.abc import Iterable
from threading import Lock

from hoist.errors import Damaged, LocalError
from hoist.storage.posix import fill


class Spool:
    """A file with no name. Several threads may add and read at once."""

    def __init__(self) -> None:
        try:
            with tempfile.TemporaryFile(prefix="hoist-", buffering=0) as file:
                self._fd = os.dup(file.fileno())
        except OSError as error:
            raise LocalError(
                f"no temporary file: {error.strerror or error}; set TMPDIR to a folder with room"
            ) from None
        # Whoever forgets it gives its room back, too.
        self._finalizer = weakref.finalize(self, os.close, self._fd)
        self._lock = Lock()
        self.size = 0

    def reserve(self, size: int) -> int:
        """Room for `size` bytes: where it begins."""
        with self._lock:
            at, self.size = self.size, self.size + size
        return at

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write at a place that was reserved. Raises LocalError."""
        view = memoryview(data)
        try:
            while view:
                done = os.pwrite(self._fd, view, offset)
                view, offset = view[done:], offset + done
        except OSError as error:
            raise LocalError(f"a temporary file: {error.strerror or error}; set TMPDIR to a folder with room") from None

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises Damaged if there is less, LocalError."""
        try:
            if fill(self._fd, offset, buffer) != len(buffer):
                raise Damaged(f"a layer ends before byte {offset + len(buffer)}")
        except OSError as error:
            raise LocalError(f"a temporary file: {error.strerror or error}") from None

    def close(self) -> None:
        """Let the disk have its room back."""
        self._finalizer()


def spool_layer(pieces: Iterable[bytes | memoryview], diff_id: str) -> Spool:
    """An inflated layer. Raises Damaged if it is not the one of this diff_id, LocalError."""
    spool = Spool()
    whole = hashlib.sha256()
    try:
        for piece in pieces:
            whole.update(piece)
            spool.write(spool.reserve(len(piece)), piece)
        if f"sha256:{whole.hexdigest()}" != diff_id:
            raise Damaged(f"a layer is not what the image says: {diff_id}")
    except BaseException:
        spool.close()
        raise
    return spool
