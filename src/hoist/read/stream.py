"""A file of a version in order, every byte verified: for who sends it on, and keeps none of it.

Two windows of whole blocks: one is being fetched, in parallel requests, while the other is used. So the memory is bounded
whatever the file's size, and reading and sending overlap.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

from hoist.memory import allocate
from hoist.model.blocks import FileBlocks
from hoist.read.cache.fill import Want, deliver
from hoist.read.engine import Engine
from hoist.read.plan import PAGE, plan_ranges
from hoist.read.sink import BufferSink
from hoist.read.source import Source

WINDOW_BYTES = 32 << 20
SLICE_BYTES = 1 << 20


def stream_file(
    source: Source, engine: Engine, begin: int = 0, end: int | None = None, window_bytes: int = WINDOW_BYTES
) -> Generator[memoryview]:
    """The bytes from `begin` to `end` in slices of 1 MiB at most, each valid until the next one is asked for.

    Memory: two windows of `window_bytes`, or two blocks where those are larger. Close the iterator to stop early.
    Raises DamagedBlock, StorageUnavailable, and what a storage may.
    """
    end = source.size if end is None else end
    windows = list(_windows(source.blocks, begin, end, window_bytes))
    largest = max((last - first for first, last in windows), default=0)
    # Runs keep their place within a page.
    buffers = [memoryview(allocate(largest + PAGE)) for _ in windows[:2]]
    stop = Event()

    def fetch(number: int) -> memoryview:
        first, last = windows[number]
        plan = plan_ranges(source.blocks, [(first, last)], source.traits.request_bytes)
        at = plan.locate(first, last)
        buffer = buffers[number % 2][: plan.size]
        deliver([Want(source, plan, BufferSink(buffer))], engine, stop=stop)
        return buffer[at : at + last - first]

    with ThreadPoolExecutor(1, "hoist-stream") as ahead:
        try:
            coming: Future[memoryview] | None = ahead.submit(fetch, 0) if windows else None
            for number, (first, last) in enumerate(windows):
                assert coming is not None
                window = coming.result()
                coming = ahead.submit(fetch, number + 1) if number + 1 < len(windows) else None
                yield from _slices(window[max(0, begin - first) : min(end, last) - first])
        finally:
            stop.set()
            ahead.shutdown(cancel_futures=True)


def _windows(blocks: FileBlocks, begin: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    """Runs of whole blocks that cover a range, none larger than `most` unless one block is."""
    start = None
    for index in blocks.covering(begin, end):
        first, last = blocks.span(index)
        if start is not None and last - start > most:
            yield start, first
            start = None
        if start is None:
            start = first
    if start is not None:
        yield start, blocks.span(blocks.covering(begin, end).stop - 1)[1]


def _slices(view: memoryview) -> Iterator[memoryview]:
    for at in range(0, len(view), SLICE_BYTES):
        yield view[at : at + SLICE_BYTES]
