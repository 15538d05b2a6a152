"""The units that models share: runs of a file's blocks that no tensor crosses out of, known by their content. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from hoist.errors import UsageError
from hoist.model.blocks import DIGEST_BYTES, FileBlocks, block_digest


@dataclass(frozen=True, slots=True)
class Unit:
    """Bytes `begin` to `end` of a file, whole blocks; equal keys mean equal bytes, whatever file they are in."""

    key: bytes
    begin: int
    end: int

    @property
    def size(self) -> int:
        """Bytes of the unit."""
        return self.end - self.begin


def cut_units(blocks: FileBlocks, pieces: Iterable[tuple[int, int]]) -> tuple[Unit, ...]:
    """The units that hold the half-open ranges `pieces`, in order; each piece lies in one.

    Mostly a unit is a block: tensors larger than that, which are cut into several, keep theirs together.
    """
    runs: list[tuple[int, int]] = []
    for begin, end in sorted(pieces):
        wanted = blocks.covering(begin, end)
        if not wanted:
            continue
        if runs and wanted.start < runs[-1][1]:
            runs[-1] = (runs[-1][0], max(runs[-1][1], wanted.stop))
        else:
            runs.append((wanted.start, wanted.stop))
    return tuple(Unit(_key(blocks, first, last), blocks.starts[first], blocks.starts[last]) for first, last in runs)


def find_unit(units: tuple[Unit, ...], begin: int, end: int) -> Unit:
    """The one that holds those bytes of the file. Raises UsageError if there is none."""
    index = bisect_right(units, begin, key=lambda unit: unit.begin) - 1
    if index < 0 or end > units[index].end:
        raise UsageError(f"bytes {begin} to {end} are in no unit of weights")
    return units[index]


def find_units(units: tuple[Unit, ...], begin: int, end: int) -> list[tuple[Unit, int, int]]:
    """Those that hold the bytes together, each with the part of it, from its beginning. Raises UsageError."""
    found = []
    while begin < end:
        unit = find_unit(units, begin, begin + 1)
        last = min(end, unit.end)
        found.append((unit, begin - unit.begin, last - unit.begin))
        begin = last
    return found


def _key(blocks: FileBlocks, first: int, last: int) -> bytes:
    digests = blocks.digests[first * DIGEST_BYTES : last * DIGEST_BYTES]
    # Equal blocks one after the other are equal bytes, so their digests stand for all of them.
    return digests if last - first == 1 else block_digest(digests)
