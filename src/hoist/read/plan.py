"""Which requests bring the wanted ranges of a file, and where each one's bytes go. Pure.

Blocks are fetched whole, because only a whole block can be verified. Neighbouring blocks become one run, a run is cut
into requests, and the runs are laid out one behind the other in the destination.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hoist.errors import UsageError
from hoist.model.blocks import FileBlocks

# Runs keep their place within a page, so that direct I/O and aligned tensors stay possible.
PAGE = 4096


@dataclass(frozen=True, slots=True)
class Request:
    """Blocks `first` to `last` (half-open) of a file: its bytes from `begin` to `end`, which go to `at`."""

    begin: int
    end: int
    first: int
    last: int
    at: int

    @property
    def size(self) -> int:
        """Bytes that the request moves."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Run:
    """A contiguous range of the file, and where it lies in the destination."""

    begin: int
    end: int
    at: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The requests for one file, the runs they fill, and the destination's size in bytes."""

    requests: tuple[Request, ...]
    runs: tuple[Run, ...]
    size: int

    @property
    def largest(self) -> int:
        """Bytes of the largest request."""
        return max((request.size for request in self.requests), default=0)

    @property
    def bytes_read(self) -> int:
        """Bytes that the requests move."""
        return sum(request.size for request in self.requests)

    def locate(self, begin: int, end: int) -> int:
        """Where the file's bytes from `begin` to `end` lie in the destination. Raises UsageError if not planned."""
        index = bisect_right(self.runs, begin, key=lambda run: run.begin) - 1
        if index < 0 or end > self.runs[index].end:
            raise UsageError(f"bytes {begin} to {end} are not part of the plan")
        run = self.runs[index]
        return run.at + begin - run.begin


def plan_file(blocks: FileBlocks, request_bytes: int) -> Plan:
    """The whole file, laid out as it is in the file."""
    return plan_ranges(blocks, [(0, blocks.size)], request_bytes)


def plan_ranges(
    blocks: FileBlocks, ranges: Iterable[tuple[int, int]], request_bytes: int, *, in_place: bool = False
) -> Plan:
    """The blocks that hold the half-open `ranges`, each once; about `request_bytes` a request.

    `in_place`: the destination is the file itself, mapped, so every run lies at its own offset.
    Raises UsageError for a range that is not in the file.
    """
    runs: list[Run] = []
    requests: list[Request] = []
    at = 0
    for first, last in _block_runs(blocks, ranges):
        begin, end = blocks.starts[first], blocks.starts[last]
        at = begin if in_place else at + (begin - at) % PAGE
        requests += _requests(blocks, first, last, at - begin, request_bytes)
        runs.append(Run(begin, end, at))
        at += end - begin
    return Plan(tuple(requests), tuple(runs), at)


def split(request: Request, blocks: FileBlocks) -> Iterator[Request]:
    """A request as one for each of its blocks."""
    for index in range(request.first, request.last):
        begin, end = blocks.span(index)
        yield Request(begin, end, index, index + 1, request.at + begin - request.begin)


def _block_runs(blocks: FileBlocks, ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The wanted blocks as half-open runs of indices, in order, none touching the next."""
    first = last = -1
    for begin, end in sorted(ranges):
        if not 0 <= begin <= end <= blocks.size:
            raise UsageError(f"bytes {begin} to {end} lie outside the file of {blocks.size}")
        wanted = blocks.covering(begin, end)
        if not wanted:
            continue
        if wanted.start <= last:
            last = max(last, wanted.stop)
            continue
        if first >= 0:
            yield first, last
        first, last = wanted.start, wanted.stop
    if first >= 0:
        yield first, last


def _requests(blocks: FileBlocks, first: int, last: int, shift: int, request_bytes: int) -> Iterator[Request]:
    start = first
    for index in range(first, last):
        over = blocks.starts[index + 1] - blocks.starts[start] > request_bytes
        if over and index > start:
            yield Request(blocks.starts[start], blocks.starts[index], start, index, blocks.starts[start] + shift)
            start = index
    yield Request(blocks.starts[start], blocks.starts[last], start, last, blocks.starts[start] + shift)
