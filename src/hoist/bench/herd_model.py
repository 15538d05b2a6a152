"""What a herd is measured against: a model of the bandwidths, the ideal time under it, and where one storage passes another.

Pure. Rates are bytes a second, sizes bytes, times seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil, inf
from typing import Any

from hoist.errors import UsageError

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)(B|BIT)(?:/S|PS)?")
_RATE_HINT = "write 600MB/s, 572MiB/s or 5Gbit/s"


def parse_rate(text: str) -> float:
    """Bytes a second from `600MB/s` (powers of 1000), `572MiB/s` (of 1024) or `5Gbit/s`. Raises UsageError."""
    found = _RATE.fullmatch(text.strip().upper())
    if not found or not Fraction(found[1]):
        raise UsageError(f"{text!r} is no bandwidth: {_RATE_HINT}")
    number, unit, binary, what = found.groups()
    rate = Fraction(number) * (1024 if binary else 1000) ** " KMGT".index(unit or " ")
    return float(rate / 8 if what == "BIT" else rate)


def show_rate(rate: float) -> str:
    """A bandwidth as people say it: `600 MB/s`."""
    return f"{rate / 1e6:,.0f} MB/s" if rate >= 1e7 else f"{rate / 1e6:,.1f} MB/s"


@dataclass(frozen=True, slots=True)
class Bandwidths:
    """Of a storage, all its readers together; of an instance's link; and of the origin behind a read cache, if it is one."""

    storage: float
    instance: float
    origin: float | None = None

    def scaled(self, factor: float) -> Bandwidths:
        """All of them times `factor`."""
        return Bandwidths(self.storage * factor, self.instance * factor, self.origin and self.origin * factor)

    def to_json(self) -> dict[str, Any]:
        """As records have it."""
        return asdict(self)


def ideal_seconds(size: int, instances: int, rates: Bandwidths) -> float:
    """For `size` bytes in each of `instances` at once: the narrowest place decides; a cold cache gets them once."""
    behind = size / rates.origin if rates.origin else 0.0
    return max(size / rates.instance, instances * size / rates.storage, behind)


def origin_ideal_bytes(size: int, instances: int, rates: Bandwidths) -> int:
    """What has to leave the origin: once for a cold cache before it, else once an instance."""
    return size if rates.origin else size * instances


def percentile(values: list[float], part: float) -> float:
    """The least value that at least `part` of the values do not exceed; infinite values stand for what never came."""
    assert values and 0 < part <= 1, "a part of something"
    return sorted(values)[ceil(part * len(values)) - 1]


def crossover(first: Mapping[int, float], second: Mapping[int, float]) -> int | None:
    """The least number of instances from which on `second` is never slower than `first`; None if there is none.

    Both are seconds by number of instances. Only numbers that both have count; between two of them each curve is taken
    for a straight line.
    """
    common = sorted(first.keys() & second.keys())
    if not common or not _ahead(first, second, common[-1]):
        return None
    found = common[-1]
    for low, high in reversed(list(pairwise(common))):
        if not _ahead(first, second, low):
            return min(high, max(low + 1, ceil(_meeting(first, second, low, high))))
        found = low
    return found


def _ahead(first: Mapping[int, float], second: Mapping[int, float], at: int) -> bool:
    return second[at] <= first[at]


def _meeting(first: Mapping[int, float], second: Mapping[int, float], low: int, high: int) -> float:
    """Where the lines meet: `second` is above at `low` and not at `high`."""
    above, below = second[low] - first[low], first[high] - second[high]
    if above == inf or below == inf or above + below == 0:
        return high
    return low + (high - low) * above / (above + below)
