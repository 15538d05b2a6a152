"""What the records of herds say: a point for each number of instances of each storage. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median

from hoist.bench.herd_model import crossover, percentile
from hoist.bench.table import GIB, Record

_SETTING = ("how", "model_size", "scale", "time_scale", "size", "start_jitter")
_CLEARLY = 0.9


@dataclass(frozen=True, slots=True)
class Point:
    """So many instances at once, as they were measured: medians over the runs. What never loaded took for ever."""

    instances: int
    runs: int
    p50: float
    p95: float
    slowest: float
    ideal: float
    late: Mapping[str, float]
    failed: int
    origin_bytes: float
    origin_ideal_bytes: int
    instance_cpu_per_gib: float
    server_cpu_per_gib: float | None
    busy: float

    @property
    def over_ideal(self) -> float:
        """The time until the last one had loaded, beside the ideal one."""
        return self.slowest / self.ideal

    @property
    def unfairness(self) -> float:
        """The slowest beside the median."""
        return self.slowest / self.p50 if self.p50 < inf else inf


@dataclass(frozen=True, slots=True)
class Curve:
    """One storage's points by number of instances. Rates are bytes a second: `rates` the full ones, `shaped` as measured."""

    storage: str
    server: str
    rates: Mapping[str, float | None]
    shaped: Mapping[str, float | None]
    origin_bytes_by: str
    points: Mapping[int, Point]

    @property
    def slowest(self) -> dict[int, float]:
        """The time of the slowest instance, by number of instances."""
        return {count: point.slowest for count, point in self.points.items()}


@dataclass(frozen=True, slots=True)
class Herd:
    """All that was measured in one setting. Times are as measured: divided by `time_scale` they are the full model's."""

    how: str
    model_size: int
    scale: float
    time_scale: float
    size: int
    start_jitter: float
    deadlines: Mapping[str, float]
    curves: Mapping[str, Curve]

    def crossovers(self) -> list[tuple[str, str, int]]:
        """(first, second, the number of instances from which on the second is never slower) for each pair that crosses.

        A pair whose last points lie within noise of each other is none.
        """
        found = []
        for first in self.curves.values():
            for second in self.curves.values():
                common = first.points.keys() & second.points.keys()
                if first is second or not common:
                    continue
                number, last = crossover(first.slowest, second.slowest), max(common)
                clear = second.slowest[last] <= _CLEARLY * first.slowest[last]
                if number is not None and number > min(common) and clear:
                    found.append((first.storage, second.storage, number))
        return found


def herds(records: Iterable[Record]) -> list[Herd]:
    """The settings that there are records of, each with its curves."""
    own = [r for r in records if r["bench"] == "herd" and "skipped" not in r]
    found = []
    for setting in dict.fromkeys(tuple(r[name] for name in _SETTING) for r in own):
        here = [r for r in own if tuple(r[name] for name in _SETTING) == setting]
        curves = {}
        for storage in dict.fromkeys(r["storage"] for r in here):
            # Rates that differ are another storage.
            last = [r for r in here if r["storage"] == storage][-1]
            same = [r for r in here if r["storage"] == storage and r["rates"] == last["rates"]]
            curves[storage] = _curve(storage, same)
        how, model_size, scale, time_scale, size, jitter = setting
        found.append(Herd(how, model_size, scale, time_scale, size, jitter, here[-1]["deadlines"], curves))
    return found


def _curve(storage: str, runs: Sequence[Record]) -> Curve:
    first = runs[0]
    points = {
        count: _point([r for r in runs if r["instances"] == count]) for count in sorted({r["instances"] for r in runs})
    }
    return Curve(storage, first["server"], first["rates"], first["shaped_rates"], first["origin_bytes_by"], points)


def _point(runs: Sequence[Record]) -> Point:
    times = [[*r["seconds"], *(inf for _ in r["failures"])] for r in runs]
    first = runs[0]
    gib = [max(1, len(r["seconds"])) * r["size"] / GIB for r in runs]
    servers = [r["server_cpu_seconds"] for r in runs]
    return Point(
        instances=first["instances"],
        runs=len(runs),
        p50=median(percentile(each, 0.5) for each in times),
        p95=median(percentile(each, 0.95) for each in times),
        slowest=median(max(each) for each in times),
        ideal=first["ideal_seconds"],
        late={
            name: median(sum(seconds > limit for seconds in each) for each in times)
            for name, limit in first["deadlines"].items()
        },
        failed=sum(len(r["failures"]) for r in runs),
        origin_bytes=median(r["origin_bytes"] for r in runs),
        origin_ideal_bytes=first["origin_ideal_bytes"],
        instance_cpu_per_gib=median(r["instance_cpu_seconds"] / each for r, each in zip(runs, gib, strict=True)),
        server_cpu_per_gib=None
        if None in servers
        else median(cpu / each for cpu, each in zip(servers, gib, strict=True)),
        busy=median(r["machine_busy"] for r in runs),
    )
