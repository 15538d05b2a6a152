"""One file's bytes: who waits for which of them, what is on its way, and how far the prefetch has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Lock

from hoist.mount.metrics import Metrics
from hoist.mount.stores import Store
from hoist.read.engine import Engine
from hoist.read.plan import plan_file
from hoist.read.source import Source

Answer = Callable[[Sequence[memoryview] | None, BaseException | None], None]
"""Told of the bytes, or of why there are none; once, from any thread."""

# After an error the prefetch waits so long; whoever reads is not kept from trying.
_PAUSE_SECONDS = 3.0


@dataclass(eq=False, slots=True)
class _Waiter:
    begin: int
    end: int
    missing: set[int]
    answer: Answer


class WholeFile:
    """A small file whose verified bytes are here, all of them: there is nothing to fetch, and nobody to tell."""

    __slots__ = ("data",)

    def __init__(self, data: memoryview) -> None:
        self.data = data

    def ready(self, begin: int, end: int) -> Sequence[memoryview]:
        """The bytes, cut at the file's end."""
        return (self.data[begin:end],)


class Content:
    """A file of a version. `on_complete` is told once, when its store has all of it.

    `window_bytes`: how far the prefetch may run ahead of the reader where the store does not keep everything.
    """

    def __init__(self, source: Source, store: Store, metrics: Metrics, window_bytes: int) -> None:
        self.source = source
        self.blocks = source.blocks
        self.store = store
        self.size = source.size
        self.failed: Callable[[BaseException], None] = lambda error: None
        self.on_complete: Callable[[], None] = lambda: None
        self.on_idle: Callable[[], None] = lambda: None
        self.nudge: Callable[[], None] = lambda: None
        self._metrics = metrics
        self._window_bytes = window_bytes
        self._lock = Lock()
        self._claimed: set[int] = set()
        self._waiters: list[_Waiter] = []
        self._chunks = [(r.first, r.last) for r in plan_file(self.blocks, source.traits.request_bytes).requests]
        self._cursor = 0
        self._read_to = 0
        self._last_miss = -1
        self._pause_until = 0.0
        # The prefetch has come to the end of its window, and goes on when the reader does.
        self._starved = False
        self._told = store.complete
        self._stop = Event()

    @property
    def complete(self) -> bool:
        """Whether all of it is kept."""
        return self.store.complete

    @property
    def busy(self) -> bool:
        """Whether something of it is on its way."""
        return bool(self._claimed)

    def ready(self, begin: int, end: int) -> Sequence[memoryview] | None:
        """The bytes, cut at the file's end, if they are here."""
        end = min(end, self.size)
        if begin >= end:
            return ()
        store = self.store
        if not store.complete:
            for index in self.blocks.covering(begin, end):
                if not store.has(index):
                    return None
            self._read_to = end
            if self._starved:
                self._starved = False
                self.nudge()
        return store.views(begin, end)

    def wait(self, begin: int, end: int, answer: Answer) -> list[tuple[int, int]]:
        """Have `answer` told of these bytes when they are here. The blocks (half-open) that nobody fetches yet are
        the caller's to fetch now."""
        end = min(end, self.size)
        with self._lock:
            wanted = [index for index in self.blocks.covering(begin, end) if not self.store.has(index)]
            if wanted:
                self._waiters.append(_Waiter(begin, end, set(wanted), answer))
                fresh = [index for index in wanted if index not in self._claimed]
                self._claimed.update(fresh)
                self._follow(wanted[0], end, fresh=bool(fresh))
                return _runs(fresh)
        views = self.store.views(begin, end)
        if views is None:
            # It went between the two looks.
            return self.wait(begin, end, answer)
        answer(views, None)
        return []

    def give_up(self, answer: Answer) -> None:
        """Nobody waits for this any more."""
        with self._lock:
            self._waiters = [waiter for waiter in self._waiters if waiter.answer is not answer]

    def next_chunk(self) -> tuple[int, int] | None:
        """Blocks (half-open) that are to be prefetched next, now the caller's to fetch; None if there are none just now."""
        with self._lock:
            if time.monotonic() < self._pause_until:
                return None
            chunks = self._chunks
            while self._cursor < len(chunks):
                first, last = chunks[self._cursor]
                if not self.store.keeps and self.blocks.starts[first] > self._read_to + self._window_bytes:
                    self._starved = True
                    return None
                self._cursor += 1
                missing = [
                    index for index in range(first, last) if index not in self._claimed and not self.store.has(index)
                ]
                if missing:
                    found = _runs(missing)[0]
                    if found[1] < last:
                        self._cursor -= 1
                    self._claimed.update(range(*found))
                    return found
            return None

    def fetch(self, engine: Engine, first: int, last: int) -> None:
        """Bring claimed blocks, and tell who waits for them."""
        error: BaseException | None = None
        try:
            self.store.fill(self.source, engine, first, last, self._metrics.fetched, self._stop)
        except BaseException as failure:  # noqa: BLE001 whoever waits is told of it
            error = failure
        done = self._settle(first, last, error)
        for waiter in done:
            self._tell(waiter, error)
        if error is not None:
            self.failed(error)
        elif self.store.complete and not self._told:
            self._told = True
            self.on_complete()
        if not self._claimed:
            self.on_idle()

    def close(self) -> None:
        """What is on its way is given up."""
        self._stop.set()
        self.store.close()

    def _settle(self, first: int, last: int, error: BaseException | None) -> list[_Waiter]:
        with self._lock:
            blocks = set(range(first, last))
            self._claimed -= blocks
            if error is not None:
                self._pause_until = time.monotonic() + _PAUSE_SECONDS
            done: list[_Waiter] = []
            left: list[_Waiter] = []
            for waiter in self._waiters:
                hit = not waiter.missing.isdisjoint(blocks)
                waiter.missing -= blocks
                (done if hit and (error is not None or not waiter.missing) else left).append(waiter)
            self._waiters = left
            return done

    def _tell(self, waiter: _Waiter, error: BaseException | None) -> None:
        views = None if error is not None else self.store.views(waiter.begin, waiter.end)
        if error is None and views is None:
            error = MemoryError("the blocks of one read do not fit into the memory limit")
        waiter.answer(views, error)

    def _follow(self, index: int, end: int, *, fresh: bool) -> None:
        """A reader misses this block: if it reads on from there, the prefetch goes there too."""
        self._read_to = max(self._read_to, end) if not fresh else end
        if not fresh:
            return
        if index == self._last_miss + 1 and index > 0:
            at = next((n for n, (first, last) in enumerate(self._chunks) if last > index), len(self._chunks))
            if at != self._cursor:
                self._cursor = at
                self._metrics.count("prefetch_resets")
        self._last_miss = index


def _runs(indices: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending indices as half-open runs."""
    runs: list[tuple[int, int]] = []
    for index in indices:
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs
