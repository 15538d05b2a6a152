"""A file of a version as a file object: seekable, read-only, every byte verified before it is handed out."""

from __future__ import annotations

import io
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

from hoist.read.cache.fill import Want, deliver
from hoist.read.engine import Engine
from hoist.read.plan import Plan, plan_ranges
from hoist.read.sink import BufferSink
from hoist.read.source import Source

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_KEPT_BLOCKS = 4


class RangeReader:
    """Verified bytes of any range of a source. The last few small reads' blocks are kept, for headers and indices."""

    def __init__(self, source: Source, engine: Engine) -> None:
        self.source = source
        self.engine = engine
        self._lock = Lock()
        self._kept: OrderedDict[int, memoryview] = OrderedDict()

    def read(self, begin: int, end: int) -> bytes:
        """The bytes from `begin` to `end`, cut at the file's end."""
        end = min(end, self.source.size)
        wanted = self.source.blocks.covering(begin, end)
        if len(wanted) > _KEPT_BLOCKS:
            plan = plan_ranges(self.source.blocks, [(begin, end)], self.source.traits.request_bytes)
            buffer = memoryview(bytearray(plan.size))
            self._fetch(plan, buffer)
            at = plan.locate(begin, end)
            return bytes(buffer[at : at + end - begin])
        parts = []
        for index in wanted:
            first, last = self.source.blocks.span(index)
            parts.append(self._block(index)[max(0, begin - first) : min(end, last) - first])
        return b"".join(parts)

    def _block(self, index: int) -> memoryview:
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        begin, end = self.source.blocks.span(index)
        plan = plan_ranges(self.source.blocks, [(begin, end)], end - begin)
        buffer = memoryview(bytearray(plan.size))
        self._fetch(plan, buffer)
        block = buffer[plan.locate(begin, end) :]
        with self._lock:
            self._kept[index] = block
            while len(self._kept) > _KEPT_BLOCKS:
                self._kept.popitem(last=False)
        return block

    def _fetch(self, plan: Plan, buffer: memoryview) -> None:
        deliver([Want(self.source, plan, BufferSink(buffer))], self.engine)


class VerifiedFile(io.RawIOBase):
    """A raw file object over a reader. Wrap it in `io.BufferedReader` for small reads."""

    def __init__(self, reader: RangeReader) -> None:
        self._reader = reader
        self._at = 0
        self.name = reader.source.name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._reader.source.size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._at = base + offset
        return self._at

    def readall(self) -> bytes:
        """The rest of the file in one go, so that its blocks come in parallel."""
        data = self._reader.read(self._at, self._reader.source.size) if self._at < self._reader.source.size else b""
        self._at += len(data)
        return data

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._reader.read(self._at, self._at + len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
