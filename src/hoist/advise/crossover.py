"""Where one storage passes another: in instances at once, in the model's size, in starts a month. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from typing import Literal

from hoist.advise.facts import Facts
from hoist.advise.predict import Arrivals, predict
from hoist.advise.scenario import Scenario
from hoist.advise.sizing import Judged
from hoist.advise.storages import candidate
from hoist.advise.units import MONTH_SECONDS

Axis = Literal["instances", "size", "starts"]
_MOST_INSTANCES = 4096
_SIZES = (64 << 20, 1 << 40)
_MOST_STARTS_A_DAY = 1e6
# Closer than this they are the same; and nobody changes a storage for less money a month.
_CLEAR, _WORTH = 0.03, 1.0


@dataclass(frozen=True, slots=True)
class Crossing:
    """`below` is better (faster at p95, or cheaper where the axis is starts a day) up to `at`, `above` from there on."""

    axis: Axis
    below: str
    above: str
    at: float


def crossings(judged: Sequence[Judged], facts: Facts, scenario: Scenario, arrivals: Arrivals) -> list[Crossing]:
    """All between two storages that could hold the models, in the size that they were judged in."""
    able = [each for each in judged if not each.candidate.problem]
    found = _in_instances(able, scenario, arrivals)
    for first, second in combinations([each for each in able if each.in_time], 2):
        found += _in_starts(first, second, scenario)
    found += _in_size(able, facts, scenario, arrivals)
    return found


def _in_instances(able: Sequence[Judged], scenario: Scenario, arrivals: Arrivals) -> list[Crossing]:
    @cache
    def seconds(index: int, count: float) -> float:
        return predict(able[index].candidate, scenario, arrivals, int(count)).p95

    grid = [int(1.5**step) for step in range(2, 21)]
    steps = [1.0, *(float(count) for count in grid if count < _MOST_INSTANCES), float(_MOST_INSTANCES)]
    return _between([each.kind for each in able], "instances", seconds, steps)


def _in_size(able: Sequence[Judged], facts: Facts, scenario: Scenario, arrivals: Arrivals) -> list[Crossing]:
    low, high = _SIZES
    steps = [float(low * 2**step) for step in range(int(high / low).bit_length())]
    kept = {each.kind: each.amount for each in able if each.kind in ("nas", "accl")}

    @cache
    def seconds(index: int, size: float) -> float:
        kind = able[index].kind
        # One model of that size; requests and bandwidth as they then are.
        case = replace(scenario, size=int(size), models=1)
        return predict(candidate(kind, facts, case, kept.get(kind)), case, arrivals).p95

    return _between([each.kind for each in able], "size", seconds, steps)


def _between(
    kinds: Sequence[str], axis: Axis, seconds: Callable[[int, float], float], steps: Sequence[float]
) -> list[Crossing]:
    """The crossings of each two of the curves; `seconds` is told which and where."""
    found = []
    for first, second in combinations(range(len(kinds)), 2):

        def ahead(at: float, first: int = first, second: int = second) -> float:
            return seconds(first, at) / seconds(second, at) - 1

        changes = _changes(kinds[first], kinds[second], ahead, steps, whole=axis == "instances")
        found += [Crossing(axis, *names, at=at) for names, at in changes]
    return found


def _in_starts(first: Judged, second: Judged, scenario: Scenario) -> list[Crossing]:
    """Where the dearer storage pays, as each start that comes alone spends less of a GPU, in starts a day. None where all
    come by a schedule."""
    per_start = [each.cost.alone_seconds * each.cost.gpu_second for each in (first, second)]
    # What does not depend on these starts: the total without them.
    fixed = [
        each.cost.total - own * scenario.starts_a_month for each, own in zip((first, second), per_start, strict=True)
    ]
    saved, dearer = per_start[0] - per_start[1], fixed[1] - fixed[0]
    if scenario.mode == "provisioned" or abs(dearer) < _WORTH or not saved or dearer / saved <= 0:
        return []
    a_day = dearer / saved / (MONTH_SECONDS / 86400)
    cheap, fast = (first, second) if dearer > 0 else (second, first)
    together = scenario.burst_starts_a_month / MONTH_SECONDS * 86400
    if not max(1e-2, together) <= a_day <= _MOST_STARTS_A_DAY:
        return []
    return [Crossing("starts", cheap.kind, fast.kind, a_day)]


def _changes(
    first: str, second: str, ahead: Callable[[float], float], steps: Sequence[float], *, whole: bool
) -> list[tuple[tuple[str, str], float]]:
    """Where `ahead` (below 0: the first is better) clearly changes its sign along the steps, refined between two."""
    found = []
    before: tuple[float, float] | None = None
    for step in steps:
        value = ahead(step)
        if abs(value) < _CLEAR:
            continue
        if before and (before[1] < 0) != (value < 0):
            names = (first, second) if before[1] < 0 else (second, first)
            found.append((names, _refined(ahead, before[0], step, before[1] < 0, whole=whole)))
        before = (step, value)
    return found


def _refined(ahead: Callable[[float], float], low: float, high: float, first_below: bool, *, whole: bool) -> float:
    while high - low > (1 if whole else high / 200):
        middle = (low + high) // 2 if whole else (low + high) / 2
        if (ahead(middle) < 0) == first_below:
            low = middle
        else:
            high = middle
    return high
