"""What came of a simulation: how long starts took and where, what was moved, what it costs, and when."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import ceil, inf
from typing import Any

PHASES: Mapping[str, str] = {
    "queue": "held back by the scale-out limit",
    "lost": "in starts that were over the deadline, and waits after them",
    "provision": "until the instance is there",
    "setup": "network, mount, start jitter",
    "wait": "for another instance of the host that brings the model",
    "fetch": "its bytes",
    "rest": "second reads from memory, deserialize, transfer, warm-up",
}


@dataclass(frozen=True, slots=True)
class Usage:
    """What is paid for: instance seconds from when an instance is there to when it has loaded (lost starts too), and bytes.

    `storage_bytes` are what instances read of the storage (or of the read cache), `origin_bytes` what left the place
    behind it; without a read cache both are the same.
    """

    instances: int
    starts: int
    gpu_seconds: float
    storage_bytes: float
    origin_bytes: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """Seconds of many instances; inf stands for those that never loaded."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    most: float

    @classmethod
    def of(cls, values: array[float]) -> Distribution:
        """Of at least one value."""
        first = values[0]
        if first == min(values) == max(values):
            return cls(len(values), first, first, first, first, first)
        ranked = sorted(values)
        p50, p95, p99 = (ranked[ceil(part * len(ranked)) - 1] for part in (0.5, 0.95, 0.99))
        return cls(len(ranked), sum(ranked) / len(ranked), p50, p95, p99, ranked[-1])


@dataclass(frozen=True, slots=True)
class Sample:
    """The fleet around one moment: how many instances are where at its begin, and rates on average until the next one."""

    second: float
    asked: int
    started: int
    loaded: int
    storage_rate: float
    origin_rate: float


@dataclass(frozen=True, slots=True, eq=False)
class Times:
    """Moments by instance: asked for, started first and last, provided, ready to read, served, fetched, loaded.

    They never go back from one to the next; `loaded` is inf for those that never did, and then what is before it is as far
    as the last start came (the rest: when that was ended).
    """

    asked: array[float]
    started: array[float]
    began: array[float]
    provided: array[float]
    ready: array[float]
    served: array[float]
    fetched: array[float]
    loaded: array[float]

    @classmethod
    def of(cls, asked: array[float]) -> Times:
        """Of instances that have only been asked for."""

        def same() -> array[float]:
            return array("d", asked)

        never = array("d", [inf]) * len(asked)
        return cls(asked, same(), same(), same(), same(), same(), same(), never)


@dataclass(frozen=True, eq=False)
class Outcome:
    """One fleet on one storage. `curve` and `origin_curve` are (times, bytes a second from then on)."""

    kind: str
    times: Times
    usage: Usage
    curve: tuple[array[float], array[float]]
    origin_curve: tuple[array[float], array[float]] | None
    lost_starts: int
    failed: int
    cost: float | None

    @cached_property
    def total(self) -> Distribution:
        """Seconds from being asked for to loaded."""
        return Distribution.of(_gaps(self.times.asked, self.times.loaded))

    @cached_property
    def phases(self) -> dict[str, Distribution]:
        """Seconds of each phase, of instances that loaded; none if none did."""
        t = self.times
        marks = (t.asked, t.started, t.began, t.provided, t.ready, t.served, t.fetched, t.loaded)
        if self.failed == len(t.loaded):
            return {}
        if self.failed:
            whole = [n for n, at in enumerate(t.loaded) if at < inf]
            marks = tuple(array("d", [mark[n] for n in whole]) for mark in marks)  # type: ignore[assignment]
        return {
            name: Distribution.of(_gaps(begin, end))
            for name, begin, end in zip(PHASES, marks[:-1], marks[1:], strict=True)
        }

    def late(self, deadline: float) -> int:
        """How many were not loaded `deadline` seconds after they were asked for."""
        return sum(end - begin > deadline for begin, end in zip(self.times.asked, self.times.loaded, strict=True))

    def series(self, steps: int = 60) -> list[Sample]:
        """The fleet from second 0 until the last one has loaded (or was given up), in `steps` equal steps."""
        end = self.usage.seconds
        step = end / steps if end > 0 else 1.0
        at = [step * n for n in range(steps + 1)]
        ranked = [sorted(each) for each in (self.times.asked, self.times.started, self.times.loaded)]
        asked, started, loaded = ([bisect_right(each, moment) for moment in at] for each in ranked)
        read = _integral(self.curve, at)
        origin = _integral(self.origin_curve or self.curve, at)
        return [
            Sample(
                second=at[n],
                asked=asked[n],
                started=started[n],
                loaded=loaded[n],
                storage_rate=(read[n + 1] - read[n]) / step,
                origin_rate=(origin[n + 1] - origin[n]) / step,
            )
            for n in range(steps)
        ]

    def to_json(self, steps: int = 0) -> dict[str, Any]:
        """As `--json` has it; what is infinite is null. With `steps` also the time series."""
        found: dict[str, Any] = {
            "storage": self.kind,
            "seconds": _finite(self.total),
            "phases": {name: _finite(each) for name, each in self.phases.items()},
            **{_JSON_NAMES.get(name, name): value for name, value in asdict(self.usage).items()},
            "lost_starts": self.lost_starts,
            "failed": self.failed,
            "cost": self.cost,
        }
        if steps:
            found["series"] = [asdict(sample) for sample in self.series(steps)]
        return found


_JSON_NAMES = {"seconds": "end_seconds"}


def price(cost: Callable[[Usage], float] | None, usage: Usage) -> float | None:
    """What it costs, where somebody says so."""
    return cost(usage) if cost else None


def _gaps(begin: array[float], end: array[float]) -> array[float]:
    return array("d", [b - a for a, b in zip(begin, end, strict=True)])


def _finite(each: Distribution) -> dict[str, float | None]:
    return {name: None if value == inf else value for name, value in asdict(each).items() if name != "count"}


def _integral(curve: tuple[array[float], array[float]], at: list[float]) -> list[float]:
    """The bytes moved until each of those moments."""
    times, rates = curve
    found, n, total = [], 0, 0.0
    for moment in at:
        # `total` is what was moved until times[n].
        while n + 1 < len(times) and times[n + 1] <= moment:
            total += rates[n] * (times[n + 1] - times[n])
            n += 1
        found.append(total + (rates[n] * max(0.0, moment - times[n]) if len(times) else 0.0))
    return found
