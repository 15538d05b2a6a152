"""Where a mounted file's verified blocks are kept: in the host cache, in memory, or in the storage's own local file."""

from __future__ import annotations

import mmap
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from threading import Event, Lock
from typing import Protocol

from hoist.errors import Damaged
from hoist.memory import allocate
from hoist.model.blocks import FileBlocks
from hoist.model.cut import BLOCK_TARGET
from hoist.read.cache.file import CachedFile
from hoist.read.cache.fill import fill as fill_cached
from hoist.read.cache.record import entry_name
from hoist.read.engine import Engine, Job
from hoist.read.plan import Request, plan_ranges, split
from hoist.read.source import Source
from hoist.read.trust import TrustedFiles, identity
from hoist.storage.base import OnBytes
from hoist.storage.posix import fill

# More than run at once are not kept.
_MOST_BUFFERS = 12


class Store(Protocol):
    """The verified blocks of one file. Several threads may use it."""

    fd: int | None
    """The whole file's own descriptor, once it is `complete`, for the kernel to read by itself; None if there is none."""

    @property
    def complete(self) -> bool:
        """Whether all blocks are there, and stay."""

    @property
    def keeps(self) -> bool:
        """Whether blocks stay for as long as this is open, however many they are."""

    def has(self, index: int) -> bool:
        """Whether the block is there."""

    def views(self, begin: int, end: int) -> Sequence[memoryview] | None:
        """The bytes from `begin` to `end` in one or more pieces; None if they are not all there (any more)."""

    def fill(self, source: Source, engine: Engine, first: int, last: int, on_bytes: OnBytes, stop: Event) -> None:
        """Bring the blocks from `first` to `last` (half-open), verified. Raises what the engine does."""

    def close(self) -> None:
        """Let the file go."""


def whole_key(digest: str) -> tuple[str, int]:
    """The key in a BlockMemory of the whole of a small file."""
    return (digest, -1)


class BlockMemory:
    """Verified blocks of all files in memory, up to `most_bytes`: those used longest ago go first.

    A block's key is the name of its file's content as it is cut into blocks, and its index there; see also `whole_key`.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = Lock()
        self._blocks: OrderedDict[tuple[str, int], memoryview] = OrderedDict()
        self.held_bytes = 0
        self.evictions = 0

    @property
    def most_bytes(self) -> int:
        """The limit."""
        return self._most_bytes

    def get(self, key: tuple[str, int]) -> memoryview | None:
        """A block, which is now the last to go; None if it is not there."""
        with self._lock:
            found = self._blocks.get(key)
            if found is not None:
                self._blocks.move_to_end(key)
            return found

    def has(self, key: tuple[str, int]) -> bool:
        """Whether a block is there."""
        return key in self._blocks

    def put(self, key: tuple[str, int], block: memoryview) -> None:
        """Keep a block. Whoever still uses one that goes keeps its memory for as long."""
        with self._lock:
            if key in self._blocks:
                return
            self._blocks[key] = block
            self.held_bytes += len(block)
            while self.held_bytes > self._most_bytes and len(self._blocks) > 1:
                _, gone = self._blocks.popitem(last=False)
                self.held_bytes -= len(gone)
                self.evictions += 1


class MemoryStore:
    """A file's blocks in the memory that all files share."""

    def __init__(self, blocks: FileBlocks, memory: BlockMemory) -> None:
        self.fd: int | None = None
        self._blocks = blocks
        self._memory = memory
        self._name = entry_name(blocks)

    complete = False
    keeps = False

    def has(self, index: int) -> bool:
        return self._memory.has((self._name, index))

    def views(self, begin: int, end: int) -> Sequence[memoryview] | None:
        parts = []
        for index in self._blocks.covering(begin, end):
            block = self._memory.get((self._name, index))
            if block is None:
                return None
            first, last = self._blocks.span(index)
            parts.append(block[max(0, begin - first) : min(end, last) - first])
        return parts

    def fill(self, source: Source, engine: Engine, first: int, last: int, on_bytes: OnBytes, stop: Event) -> None:
        begin, end = self._blocks.starts[first], self._blocks.starts[last]
        plan = plan_ranges(self._blocks, [(begin, end)], source.traits.request_bytes)
        engine.run((Job(source, request, self) for request in plan.requests), on_bytes=on_bytes, stop=stop)

    def acquire(self, request: Request) -> memoryview:
        """As a sink: memory of its own for each request."""
        return memoryview(allocate(request.size))[: request.size]

    def commit(self, request: Request, view: memoryview) -> None:
        """As a sink: keep the blocks."""
        for part in split(request, self._blocks):
            self._memory.put((self._name, part.first), view[part.begin - request.begin : part.end - request.begin])

    def release(self, view: memoryview) -> None:
        """As a sink: the memory goes when nobody refers to it."""

    def close(self) -> None:
        """The blocks stay for who opens the file next."""


class Buffers:
    """Memory for requests, used again and again. As many as run at once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._free: list[mmap.mmap] = []

    def take(self, size: int) -> memoryview:
        """So many bytes."""
        with self._lock:
            whole = self._free.pop() if self._free else None
        if whole is None or len(whole) < size:
            whole = allocate(max(size, BLOCK_TARGET))
        return memoryview(whole)[:size]

    def give(self, view: memoryview) -> None:
        """They are free."""
        whole = view.obj
        assert isinstance(whole, mmap.mmap)
        with self._lock:
            if len(self._free) < _MOST_BUFFERS:
                self._free.append(whole)


class CachedStore:
    """A file in the host cache; what finds no room there is kept in memory as without a cache."""

    def __init__(self, cached: CachedFile, memory: MemoryStore, buffers: Buffers) -> None:
        self.fd: int | None = cached.fd
        self._cached = cached
        self._memory = memory
        self._buffers = buffers
        self._blocks = cached.blocks
        self._whole = False
        self._full = False
        self._map = memoryview(mmap.mmap(cached.fd, cached.size, prot=mmap.PROT_READ))

    @property
    def keeps(self) -> bool:
        return self._cached.usable and not self._full

    @property
    def complete(self) -> bool:
        if not self._whole:
            self._whole = self._cached.complete
        return self._whole

    def has(self, index: int) -> bool:
        return self._cached.has(index) or self._memory.has(index)

    def views(self, begin: int, end: int) -> Sequence[memoryview] | None:
        if self._whole or all(self._cached.has(index) for index in self._blocks.covering(begin, end)):
            return (self._map[begin:end],)
        parts: list[memoryview] = []
        for index in self._blocks.covering(begin, end):
            first, last = self._blocks.span(index)
            first, last = max(first, begin), min(last, end)
            found = (self._map[first:last],) if self._cached.has(index) else self._memory.views(first, last)
            if found is None:
                return None
            parts += found
        return parts

    def fill(self, source: Source, engine: Engine, first: int, last: int, on_bytes: OnBytes, stop: Event) -> None:
        span = (self._blocks.starts[first], self._blocks.starts[last])
        filled = fill_cached(self._cached, source, engine, [span], sink=self, stop=stop)
        on_bytes(filled.fetched_bytes)

    def acquire(self, request: Request) -> memoryview:
        """As a sink: memory for a moment."""
        return self._buffers.take(request.size)

    def commit(self, request: Request, view: memoryview) -> None:
        """As a sink: what the cache has not kept is kept in memory."""
        if all(self._cached.has(index) for index in range(request.first, request.last)):
            self._buffers.give(view)
        else:
            self._full = True
            self._memory.commit(request, view)

    def release(self, view: memoryview) -> None:
        """As a sink: an engine that was stopped may still write there, so nobody else does."""

    def close(self) -> None:
        self._cached.close()
        self.fd = None


class LocalStore:
    """A file of the storage that lies on a disk of this machine: nothing is copied, each block is verified where it lies.

    It trusts that nobody changes the file afterwards, as loading does; `trusted` remembers which files were verified.
    """

    def __init__(self, blocks: FileBlocks, fd: int, buffers: Buffers, trusted: TrustedFiles | None = None) -> None:
        self.fd: int | None = fd
        self._buffers = buffers
        self._blocks = blocks
        self._right = bytearray(len(blocks))
        self._left = len(blocks)
        self._lock = Lock()
        self._trusted = trusted
        self._name = identity(fd, blocks.file_digest)
        if trusted and trusted.knows(self._name):
            self._right = bytearray(b"\1") * len(blocks)
            self._left = 0
        self._memory = memoryview(mmap.mmap(fd, blocks.size, prot=mmap.PROT_READ)) if blocks.size else memoryview(b"")

    keeps = True

    @property
    def complete(self) -> bool:
        return self._left == 0

    def has(self, index: int) -> bool:
        return self._right[index] == 1

    def views(self, begin: int, end: int) -> Sequence[memoryview] | None:
        return (self._memory[begin:end],)

    def fill(self, source: Source, engine: Engine, first: int, last: int, on_bytes: OnBytes, stop: Event) -> None:
        begin, end = self._blocks.starts[first], self._blocks.starts[last]
        plan = plan_ranges(self._blocks, [(begin, end)], source.traits.request_bytes, in_place=True)
        source = replace(source, read_into=self._read_into)
        engine.run((Job(source, request, self) for request in plan.requests), on_bytes=on_bytes, stop=stop)
        if self.complete and self._trusted and self.fd is not None:
            self._trusted.remember(self.fd, self._name, self._blocks.file_digest)

    def _read_into(self, offset: int, buffer: memoryview) -> None:
        """Reads the very file that readers will see, whatever its name means by now."""
        if self.fd is None or fill(self.fd, offset, buffer) < len(buffer):
            raise Damaged("it is shorter than its manifest says")

    def acquire(self, request: Request) -> memoryview:
        """As a sink: a buffer to hash in; the bytes are in the page cache afterwards."""
        return self._buffers.take(request.size)

    def commit(self, request: Request, view: memoryview) -> None:
        """As a sink: these blocks are right."""
        self._buffers.give(view)
        with self._lock:
            for index in range(request.first, request.last):
                self._left -= 1 - self._right[index]
                self._right[index] = 1

    def release(self, view: memoryview) -> None:
        """As a sink: an engine that was stopped may still write there, so nobody else does."""

    def close(self) -> None:
        """Close the file; pieces of it that are being sent stay until they are."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
