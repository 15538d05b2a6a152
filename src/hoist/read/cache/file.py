"""One cached file: a sparse data file, its record, and the claims on its blocks."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Event, Lock
from typing import TYPE_CHECKING, Self

from hoist.errors import Damaged
from hoist.model.blocks import FileBlocks, block_digest
from hoist.read.cache.locks import Claims
from hoist.read.cache.record import ABSENT, HEADER_BYTES, SUSPECT, VERIFIED
from hoist.storage.base import OnBytes, Traits
from hoist.storage.posix import fill as read_full

if TYPE_CHECKING:
    from hoist.read.cache.fill import Filled
    from hoist.read.cache.host import HostCache
    from hoist.read.engine import Engine
    from hoist.read.source import Source

# A page cache needs no more than a few readers to be as fast as it is.
LOCAL_TRAITS = Traits(8 << 20, 4, 8)


class CachedFile:
    """A file of the cache, held open: while it is, or while a mapping of `fd` lives, the file is not evicted.

    `fd` is the data file, readable at every block that `has` says is here. Safe for many threads. Close it, or use
    `with`. With `recheck`, no block counts as here before this handle has hashed it.
    """

    def __init__(self, host: HostCache, name: str, blocks: FileBlocks, fd: int, record: int, *, recheck: bool) -> None:
        self.host = host
        self.name = name
        self.blocks = blocks
        self.fd = fd
        self.path = host.data_path(name)
        self.usable = True
        """Whether blocks may still be written; False after the disk has refused one."""
        self.reserved: set[int] = set()
        """The blocks that have their room on the disk by this handle."""
        self._record = record
        self._states = mmap.mmap(record, HEADER_BYTES + len(blocks), prot=mmap.PROT_READ)
        self._checked = bytearray(len(blocks)) if recheck else None
        self.claims = Claims(record)
        self._lock = Lock()
        self._users = 0
        self._closed = False

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.blocks.size

    @property
    def complete(self) -> bool:
        """Whether every block is here and verified."""
        count = len(self.blocks)
        here = self._states[HEADER_BYTES : HEADER_BYTES + count].count(VERIFIED) == count
        return here and (self._checked is None or all(self._checked))

    @property
    def held_bytes(self) -> int:
        """Bytes of the blocks that are here."""
        starts = self.blocks.starts
        here = enumerate(self._states[HEADER_BYTES : HEADER_BYTES + len(self.blocks)])
        return sum(starts[index + 1] - starts[index] for index, state in here if state != ABSENT)

    def has(self, index: int) -> bool:
        """Whether a block is here and verified."""
        return self._states[HEADER_BYTES + index] == VERIFIED and (self._checked is None or bool(self._checked[index]))

    def is_suspect(self, index: int) -> bool:
        """Whether a block's bytes are here, but have to be hashed again before they count."""
        return self._states[HEADER_BYTES + index] != ABSENT and not self.has(index)

    def missing(self, first: int, last: int) -> list[int]:
        """The blocks of `first` to `last` (half-open) that are not here."""
        return [index for index in range(first, last) if not self.has(index)]

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from the data file; only blocks that are here hold anything. Raises Damaged."""
        try:
            with self._open():
                got = read_full(self.fd, offset, buffer)
        except OSError as error:
            raise Damaged(f"{self.path}: {error.strerror}") from None
        if got != len(buffer):
            raise Damaged(f"{self.path} ends before byte {offset + len(buffer)}")

    def write(self, first: int, last: int, view: memoryview) -> None:
        """Keep the verified bytes of blocks `first` to `last`, which the caller has claimed. Raises OSError."""
        begin, done = self.blocks.starts[first], 0
        with self._open():
            while done < len(view):
                done += os.pwrite(self.fd, view[done:], begin + done)
        self.mark(first, last)

    def mark(self, first: int, last: int) -> None:
        """Say that blocks are here, after their verified bytes are. Raises OSError."""
        if self._checked is not None:
            self._checked[first:last] = b"\1" * (last - first)
        with self._open():
            os.pwrite(self._record, bytes([VERIFIED]) * (last - first), HEADER_BYTES + first)

    def unmark(self, index: int) -> None:
        """Say that a block is not here: its bytes are damaged."""
        if self._checked is not None:
            self._checked[index] = 0
        with self._open():
            os.pwrite(self._record, bytes([ABSENT]), HEADER_BYTES + index)

    def is_right(self, index: int) -> bool:
        """Hash a block where it lies."""
        begin, end = self.blocks.span(index)
        view = memoryview(bytearray(end - begin))
        try:
            self.read_into(begin, view)
        except Damaged:
            return False
        return block_digest(view) == self.blocks.digest(index)

    def fill(
        self,
        source: Source,
        engine: Engine,
        ranges: Iterable[tuple[int, int]],
        *,
        on_bytes: OnBytes | None = None,
        stop: Event | None = None,
    ) -> Filled:
        """Bring the blocks that hold the half-open `ranges`, verified, whoever in this host brings them.

        What the limit or the disk has no room for is left out, and counted as `left_out_bytes`: `has` tells.
        Raises DamagedBlock, Cancelled when `stop` is set, and what a storage may.
        """
        from hoist.read.cache.fill import fill

        return fill(self, source, engine, ranges, on_bytes=on_bytes, stop=stop)

    def close(self) -> None:
        """Let the file go; mappings of it stay."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self.claims.close()
            if not self._users:
                self._close()

    @contextmanager
    def _open(self) -> Iterator[None]:
        """The descriptors stay open meanwhile, so that a thread that was given up never writes to another's file."""
        with self._lock:
            if self._closed:
                raise OSError(errno.EBADF, "the cached file is closed")
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._left:
                    self._close()

    @property
    def _left(self) -> bool:
        return self._closed and not self._users

    def _close(self) -> None:
        os.close(self._record)
        os.close(self.fd)
        self.fd = self._record = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def suspects(states: bytes) -> bytes:
    """The states of a record after the machine was started anew."""
    return states.replace(bytes([VERIFIED]), bytes([SUSPECT]))
