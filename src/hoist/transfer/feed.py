"""A source's bytes for several targets: each piece of a file is read and verified once, and used by all who need it.

Pieces are read in one order, and whoever uses them uses them in that order and lets each go: so a bounded memory is enough,
whatever the parts are that each target makes of them. Who has to send something once more reads it once more by itself.
"""

from __future__ import annotations

import mmap
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Event, Lock, Semaphore, Thread

from hoist.errors import Cancelled, HoistError
from hoist.model.blocks import FileBlocks
from hoist.read.cache.fill import Want, deliver
from hoist.read.engine import Engine
from hoist.read.plan import PAGE, plan_ranges
from hoist.read.sink import BufferSink
from hoist.read.source import Source
from hoist.read.stream import SLICE_BYTES, stream_file
from hoist.transfer.buffers import Buffers

PIECE_BYTES = 16 << 20
_MEMORY_BYTES = 160 << 20
_PIECES_AT_ONCE = 4
# What has to go again is read in windows of its own, by so many at once.
_AGAIN_WINDOW_BYTES = 8 << 20
_AGAIN_AT_ONCE = 4
_LOOK_SECONDS = 0.2


@dataclass(eq=False)
class Piece:
    """A run of whole blocks of a file. `users` are those who have not let it go; the last one frees its memory."""

    source: Source
    begin: int
    end: int
    users: int = 0
    view: memoryview | None = None
    error: BaseException | None = None
    buffer: mmap.mmap | None = None
    ready: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)

    def wait(self, stop: Event) -> memoryview:
        """Its bytes, verified, when they are there. Raises Cancelled, and what reading did."""
        while not self.ready.wait(_LOOK_SECONDS):
            if stop.is_set():
                raise Cancelled("the copy was cancelled")
        if self.error is not None:
            raise self.error
        assert self.view is not None
        return self.view


class Feed:
    """Reads pieces ahead of those who use them. Use as a context manager; `read_bytes` counts what the source gave."""

    def __init__(self, engine: Engine, stop: Event, memory_bytes: int = _MEMORY_BYTES) -> None:
        self.engine = engine
        self.stop = stop
        self.read_bytes = 0
        self.again = Semaphore(_AGAIN_AT_ONCE)
        self._lock = Lock()
        self._buffers = Buffers(memory_bytes, stop)
        self._waiting: SimpleQueue[Piece | None] = SimpleQueue()
        self._readers = ThreadPoolExecutor(_PIECES_AT_ONCE, "hoist-feed")
        self._order = Thread(target=self._run, name="hoist-feed-order", daemon=True)

    def __enter__(self) -> Feed:
        self._order.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self.stop.set()
        self._waiting.put(None)
        self._order.join()
        self._readers.shutdown(cancel_futures=kind is not None)

    def add(self, pieces: Sequence[Piece]) -> None:
        """Read these next, those that have users then."""
        for piece in pieces:
            self._waiting.put(piece)

    def count(self, size: int) -> None:
        """The source gave so many bytes."""
        with self._lock:
            self.read_bytes += size

    def let_go(self, piece: Piece) -> None:
        """One user less."""
        with piece.lock:
            piece.users -= 1
            buffer = None if piece.users else piece.buffer
            if buffer is not None:
                piece.buffer = piece.view = None
        if buffer is not None:
            self._buffers.give(buffer)

    def _run(self) -> None:
        while (piece := self._waiting.get()) is not None:
            if not piece.users or self.stop.is_set():
                continue
            try:
                # Runs keep their place within a page.
                buffer = self._buffers.take(piece.end - piece.begin + PAGE)
            except Cancelled as error:
                piece.error = error
                piece.ready.set()
                continue
            self._readers.submit(self._read, piece, buffer)

    def _read(self, piece: Piece, buffer: mmap.mmap) -> None:
        source, span = piece.source, (piece.begin, piece.end)
        try:
            plan = plan_ranges(source.blocks, [span], source.traits.request_bytes)
            whole = memoryview(buffer)[: plan.size]
            deliver([Want(source, plan, BufferSink(whole))], self.engine, stop=self.stop)
            at = plan.locate(*span)
            self.count(piece.end - piece.begin)
            with piece.lock:
                unused = not piece.users
                if not unused:
                    piece.buffer, piece.view = buffer, whole[at : at + piece.end - piece.begin]
        except BaseException as error:  # noqa: BLE001 whoever waits for the piece raises it
            # An abandoned request may still write there: the memory is not used again.
            self._buffers.forget(buffer)
            piece.error = error
        else:
            if unused:
                self._buffers.give(buffer)
        piece.ready.set()


def pieces_of(source: Source, ranges: Sequence[tuple[int, int]]) -> list[Piece]:
    """The blocks that hold the ranges, as pieces in order."""
    return [Piece(source, begin, end) for begin, end in _runs(source.blocks, ranges)]


def _runs(blocks: FileBlocks, ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    wanted = sorted({index for begin, end in ranges for index in blocks.covering(begin, end)})
    first = last = -1
    for index in wanted:
        begin, end = blocks.span(index)
        if first >= 0 and (begin != last or end - first > PIECE_BYTES):
            yield first, last
            first = -1
        first, last = begin if first < 0 else first, end
    if first >= 0:
        yield first, last


class Reading:
    """One user's way through a range of a file: the pieces that it holds, in order, and whatever else by itself.

    One thread at a time uses it. Close it: else its pieces are never let go.
    """

    def __init__(self, feed: Feed, source: Source, pieces: Sequence[Piece], begin: int, end: int, stop: Event) -> None:
        self._feed, self._source, self._stop = feed, source, stop
        self._begin, self._end = begin, end
        self._held = {piece.begin: piece for piece in pieces if piece.begin < end and begin < piece.end}
        for piece in self._held.values():
            with piece.lock:
                piece.users += 1
        self._at = begin
        self._views: Generator[memoryview] | None = None
        self._rest = memoryview(b"")

    def views(self, begin: int | None = None) -> Generator[memoryview]:
        """The bytes from `begin` to the range's end, slice by slice, each valid until the next; may be asked for again."""
        at = self._begin if begin is None else begin
        through = False
        try:
            while at < self._end:
                piece = self._piece_at(at)
                if piece is None:
                    following = min((held.begin for held in self._held.values() if held.begin > at), default=self._end)
                    last = min(self._end, following)
                    yield from self._by_itself(at, last)
                else:
                    last = min(self._end, piece.end)
                    yield from _slices(piece.wait(self._stop)[at - piece.begin : last - piece.begin])
                    self._let_go(piece)
                at = last
            through = True
        finally:
            if not through:
                # Others are not to wait for somebody who has to begin again.
                self._let_all_go()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset` of the file: in order from piece to piece, from elsewhere at the price of reading."""
        if offset != self._at or self._views is None:
            self._restart()
            self._views, self._rest, self._at = self.views(offset), memoryview(b""), offset
        while buffer:
            if not self._rest:
                self._rest = self._following(self._views)
            count = min(len(buffer), len(self._rest))
            buffer[:count] = self._rest[:count]
            buffer, self._rest = buffer[count:], self._rest[count:]
            self._at += count

    def _following(self, views: Generator[memoryview]) -> memoryview:
        try:
            return next(views)
        except BaseException:
            # What has raised once gives nothing more: who tries again begins anew.
            self._views = None
            raise

    def whole(self) -> memoryview | None:
        """All of the range where one piece holds it, valid until this is closed. Raises what `Piece.wait` does."""
        piece = self._piece_at(self._begin)
        if piece is None or piece.end < self._end:
            return None
        return piece.wait(self._stop)[self._begin - piece.begin : self._end - piece.begin]

    def close(self) -> None:
        """Let go of what is held; what is asked for later is read by itself."""
        self._restart()
        self._let_all_go()

    def _restart(self) -> None:
        views, self._views, self._rest = self._views, None, memoryview(b"")
        if views is not None:
            views.close()

    def _piece_at(self, offset: int) -> Piece | None:
        return next((piece for piece in self._held.values() if piece.begin <= offset < piece.end), None)

    def _by_itself(self, begin: int, end: int) -> Iterator[memoryview]:
        with self._feed.again:
            views = stream_file(self._source, self._feed.engine, begin, end, _AGAIN_WINDOW_BYTES)
            try:
                for view in views:
                    if self._stop.is_set():
                        raise Cancelled("the copy was cancelled")
                    self._feed.count(len(view))
                    yield view
            finally:
                with suppress(HoistError):
                    views.close()

    def _let_go(self, piece: Piece) -> None:
        if self._held.pop(piece.begin, None) is not None:
            self._feed.let_go(piece)

    def _let_all_go(self) -> None:
        for piece in list(self._held.values()):
            self._let_go(piece)


def _slices(view: memoryview) -> Iterator[memoryview]:
    for at in range(0, len(view), SLICE_BYTES):
        yield view[at : at + SLICE_BYTES]
