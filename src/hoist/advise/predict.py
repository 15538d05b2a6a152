"""How long starts take: the load model in closed form, and its spread over the instances that start at once. Pure.

    t = set-up + max(reads x bytes / min(link, loader), instances x reads x bytes / bandwidth of all) + rest

is right for instances that all begin to read at the same moment. They do not: set-up times differ, and a platform starts
only so many a second. All that read share the bandwidth evenly and want as many bytes, so they end in the order in which
they began, and one clock of "bytes that each reader has got" says when: exact, and linear in the number of instances. Of
many instances a fixed number stands for all, with its part of the bandwidth.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, exp, inf, log, sqrt

from hoist.advise.facts import Facts
from hoist.advise.scenario import Scenario
from hoist.advise.storages import Candidate

# So many stand for all: enough for a 99th percentile.
_SAMPLES = 200
_GOLDEN = 0.6180339887498949
# A deadline is met if no more than this part misses it.
LATE_ALLOWED = 0.01


@dataclass(frozen=True, slots=True)
class Arrivals:
    """How a platform begins instances: so many at once, then so many a second."""

    burst: float = inf
    per_second: float = inf

    def offset(self, position: float) -> float:
        """When the instance at this position begins, after the first."""
        return max(0.0, (position - self.burst) / self.per_second) if position > self.burst else 0.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """Starts of one storage, in seconds from when the platform begins an instance.

    `phases` are those of the median instance, and sum up to `p50`; `late` is the part that misses the deadline;
    `all_ready` is when the last one of all is ready, from when the first begins (the median of that). `billed` is the mean
    of what is paid for: all but `provision`. `ideal` is the load model's time, where all begin to read at once.
    """

    p50: float
    p95: float
    p99: float
    late: float
    all_ready: float
    billed: float
    ideal: float
    phases: Mapping[str, float]
    bound: str

    @property
    def fetch_share(self) -> float:
        """The part of the median start that the storage takes: network access and bytes."""
        return (self.phases["network"] + self.phases["fetch"]) / self.p50 if self.p50 else 0.0


def arrivals_of(facts: Facts, scenario: Scenario) -> Arrivals:
    """As facts know the platform."""
    burst, rate = (
        facts.find(f"{scenario.platform}.scale-out-burst"),
        facts.find(f"{scenario.platform}.scale-out"),
    )
    return Arrivals(burst.base if burst else inf, rate.base if rate and burst else inf)


def ideal_fetch(candidate: Candidate, scenario: Scenario, instances: int) -> tuple[float, str]:
    """Seconds for the bytes where all begin at once, and what bounds them."""
    performance = candidate.performance
    work = scenario.size * performance.medium_reads
    readers = readers_of(candidate, scenario, instances)
    times = {
        "the instance's link": work / scenario.link,
        "the loader": work / performance.instance_rate,
        "the storage's bandwidth": readers * work / performance.total_rate,
        "the origin": work / performance.origin_rate if performance.origin_rate else 0.0,
    }
    bound = max(times, key=lambda name: times[name])
    return times[bound], bound


def readers_of(candidate: Candidate, scenario: Scenario, instances: int) -> int:
    """How many copies go over the medium: one a host where its instances share what was read."""
    return ceil(instances / scenario.instances_per_host) if candidate.shares_hosts else instances


def predict(candidate: Candidate, scenario: Scenario, arrivals: Arrivals, instances: int | None = None) -> Prediction:
    """Starts of so many instances at once (default: the scenario's), of this storage."""
    count = scenario.instances if instances is None else instances
    performance = candidate.performance
    readers = readers_of(candidate, scenario, count)
    work = scenario.size * performance.medium_reads
    limit = min(scenario.link, performance.instance_rate, performance.origin_rate or inf)
    scale = _SAMPLES / readers
    setups, offsets = _beginnings(performance.setup_seconds, performance.jitter, arrivals, count)
    begins = sorted((offset + setup, offset, setup) for offset, setup in zip(offsets, setups, strict=True))
    ends = shared_ends([begin for begin, _, _ in begins], work, limit, performance.total_rate * scale)
    rest = performance.rest_seconds
    found = sorted(
        (end - offset + rest, setup, end - begin) for end, (begin, offset, setup) in zip(ends, begins, strict=True)
    )
    seconds = [each[0] for each in found]
    provision = candidate.setup["provision"] / performance.setup_seconds if performance.setup_seconds else 0.0
    fetch, bound = ideal_fetch(candidate, scenario, count)
    return Prediction(
        p50=_at(seconds, 0.5),
        p95=_at(seconds, 0.95),
        p99=_at(seconds, 0.99),
        late=(_SAMPLES - bisect_right(seconds, scenario.deadline)) / _SAMPLES,
        # The last of so many: the time that all of them are under in half of all cases.
        all_ready=_at(ends, max(0.5 ** (1 / count), 0.5)) + rest,
        billed=sum(total - provision * setup for total, setup, _ in found) / _SAMPLES,
        ideal=performance.setup_seconds + fetch + rest,
        phases=_phases(candidate, *found[ceil(0.5 * _SAMPLES) - 1]),
        bound=bound,
    )


def _phases(candidate: Candidate, total: float, setup: float, fetch: float) -> dict[str, float]:
    whole = candidate.performance.setup_seconds
    before = {name: seconds / whole * setup if whole else 0.0 for name, seconds in candidate.setup.items()}
    return {**before, "fetch": fetch, **candidate.rest}


def _at(seconds: list[float], part: float) -> float:
    return seconds[ceil(part * len(seconds)) - 1]


def _beginnings(mean: float, jitter: float, arrivals: Arrivals, count: int) -> tuple[Sequence[float], list[float]]:
    """Set-up times, and when the platform begins each: of samples that stand for `count` instances."""
    offsets = [arrivals.offset((index + 0.5) * count / _SAMPLES) for index in range(_SAMPLES)]
    if not mean or not jitter:
        return [mean] * _SAMPLES, offsets
    return _setups(mean, jitter), offsets


@cache
def _setups(mean: float, jitter: float) -> tuple[float, ...]:
    """Of a log-normal distribution with this mean and relative deviation."""
    spread = sqrt(log(1 + jitter * jitter))
    middle = log(mean) - spread * spread / 2
    return tuple(exp(middle + spread * normal) for normal in _normals())


@cache
def _normals() -> tuple[float, ...]:
    """Quantiles of the normal distribution, evenly spread, in an order that has nothing to do with the arrivals'."""
    from statistics import NormalDist

    inverse = NormalDist().inv_cdf
    return tuple(inverse((index + 0.5) / _SAMPLES) for index in sorted(range(_SAMPLES), key=lambda i: i * _GOLDEN % 1))


def shared_ends(begins: list[float], work: float, limit: float, total: float) -> list[float]:
    """When each reader has its `work` bytes: they begin at `begins` (in order), share `total` evenly, `limit` at most each.

    All have got as much since they began as the clock has run on: the one that began first ends first.
    """
    ends: list[float] = []
    marks: list[float] = []
    now = clock = 0.0
    coming = 0
    while len(ends) < len(begins):
        reading = coming - len(ends)
        rate = min(limit, total / reading) if reading else 0.0
        end = now + (marks[len(ends)] - clock) / rate if reading else inf
        begin = begins[coming] if coming < len(begins) else inf
        if begin <= end:
            clock += (begin - now) * rate
            now = begin
            marks.append(clock + work)
            coming += 1
        else:
            clock, now = marks[len(ends)], end
            ends.append(end)
    return ends
