"""Which bytes of a tensor an index needs, so that no more blocks than those that hold them are fetched."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from types import EllipsisType
from typing import Any, SupportsIndex

import torch

# Ranges nearer to each other than blocks are long bring the same blocks: naming more of them gains nothing.
_MOST_RANGES = 4096
_MOST_ROWS = 1 << 20


def wanted_ranges(index: Any, shape: tuple[int, ...], itemsize: int) -> list[tuple[int, int]]:
    """The half-open byte ranges, within a contiguous tensor, of the elements that `tensor[index]` reads.

    Exact for integers, slices with steps, None and Ellipsis, up to a few thousand ranges; whole rows for a list, range
    or vector of row numbers; everything for other forms, such as masks.

    Raises what torch raises for an index that does not fit: IndexError, TypeError, ValueError.
    """
    items = index if isinstance(index, tuple) else (index,)
    # Of two Ellipses torch makes one thing on the CPU and another on a device without memory.
    if all(map(_is_basic, items)) and sum(item is Ellipsis for item in items) <= 1:
        elements = _spans(torch.empty(shape, dtype=torch.uint8, device="meta")[index])
    else:
        elements = _row_spans(_row_numbers(items[0]) if shape else None, shape)
    return [(begin * itemsize, end * itemsize) for begin, end in elements]


def _is_basic(item: Any) -> bool:
    """Whether torch answers this item with a view, which says which elements it sees."""
    if isinstance(item, bool | torch.Tensor) or getattr(item, "ndim", None):
        return False
    return item is None or isinstance(item, slice | EllipsisType | SupportsIndex)


def _spans(view: torch.Tensor) -> list[tuple[int, int]]:
    """The elements of the storage that a view sees: runs of neighbours, and gaps too where there are too many runs."""
    if 0 in view.shape:
        return []
    run = 1
    outer: list[tuple[int, int]] = []
    for step, count in sorted(zip(map(int, view.stride()), map(int, view.shape), strict=True)):
        if count > 1 and not outer and step <= run:
            run += step * (count - 1)
        elif count > 1:
            outer.append((step, count))
    while math.prod(count for _, count in outer) > _MOST_RANGES:
        step, count = outer.pop(0)
        run += step * (count - 1)
    starts = [int(view.storage_offset())]
    for step, count in outer:
        starts = [start + step * n for start in starts for n in range(count)]
    return [(start, start + run) for start in starts]


def _row_numbers(item: Any) -> Iterable[int] | None:
    """The rows that a first index of another kind names; None where that is not plain to see."""
    if isinstance(item, torch.Tensor):
        if item.ndim != 1 or item.dtype.is_floating_point or item.dtype.is_complex or item.dtype in _MASKS:
            return None
        item = item.tolist() if item.numel() <= _MOST_ROWS else None
    elif getattr(item, "ndim", 0) == 1 and getattr(getattr(item, "dtype", None), "kind", "") in ("i", "u"):
        item = item.tolist()
    if not isinstance(item, list | range) or len(item) > _MOST_ROWS:
        return None
    return item if all(type(number) is int for number in item) else None


_MASKS = (torch.bool, torch.uint8)


def _row_spans(rows: Iterable[int] | None, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    size = math.prod(shape)
    if rows is None:
        return [(0, size)]
    row = math.prod(shape[1:])
    # Rows that are out of range are for torch to refuse, when it is asked for them.
    found = sorted({number % shape[0] for number in rows if -shape[0] <= number < shape[0]})
    if not found:
        return []
    breaks = [0, *(n for n, (one, other) in enumerate(pairwise(found), 1) if other != one + 1), len(found)]
    return [(found[first] * row, (found[last - 1] + 1) * row) for first, last in pairwise(breaks)]
