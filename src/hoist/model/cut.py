"""Where a file is cut into blocks.

Where the format says where tensors lie, blocks begin and end with them: a tensor over the target is split
evenly, small neighbours are grouped, and a new top-level part of the model (`first_stage_model.`, `unet.`) begins
a new block. So a tensor that two files share gives the same blocks in both, wherever it lies in each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

BLOCK_TARGET = 8 << 20
_ALIGNMENT = 4096
# A model whose top-level names change with each small tensor must not fall into a block a tensor.
_SMALLEST_PART = BLOCK_TARGET // 8


@dataclass(frozen=True, slots=True)
class Piece:
    """A half-open byte range that the format sets apart (a tensor), and the part of the model it is in.

    `index`: it is read before the tensors are, so it must not cost more than itself.
    """

    begin: int
    end: int
    part: str = ""
    index: bool = False


def cut(size: int, pieces: Iterable[Piece] = (), target: int = BLOCK_TARGET) -> list[int]:
    """The lengths in bytes of the blocks of a file of `size` bytes; they sum to it.

    `pieces` may come in any order; what lies outside the file or overlaps an earlier one is not a cut point. A piece
    that is an `index` shares no block with anything else.
    """
    lengths: list[int] = []
    after_index = False
    start = 0
    current = ""
    smallest = min(_SMALLEST_PART, target // 8)
    for piece in _tile(size, sorted(pieces, key=lambda piece: (piece.begin, piece.end))):
        grown = piece.end - start
        changed = piece.part != current and piece.begin - start >= smallest
        if start < piece.begin and (grown > target or changed or piece.index or after_index):
            lengths.append(piece.begin - start)
            start = piece.begin
        current, after_index = piece.part, piece.index
        if piece.end - start > target:
            lengths += _split(piece.end - start, target)
            start = piece.end
    if start < size:
        lengths.append(size - start)
    return lengths


def _tile(size: int, pieces: list[Piece]) -> Iterator[Piece]:
    """Fill the gaps between the pieces, so that the whole file is covered once, in order."""
    at = 0
    for piece in pieces:
        if piece.begin < at or piece.end > size or piece.begin >= piece.end:
            continue
        if piece.begin > at:
            yield Piece(at, piece.begin, piece.part)
        yield piece
        at = piece.end
    if at < size:
        yield Piece(at, size)


def _split(length: int, target: int) -> Iterator[int]:
    """Even steps of at most `target` bytes, aligned so that direct I/O can use them."""
    count = -(-length // target)
    step = -(-length // count)
    if target % _ALIGNMENT == 0:
        step = -(-step // _ALIGNMENT) * _ALIGNMENT
    for at in range(0, length, step):
        yield min(step, length - at)
