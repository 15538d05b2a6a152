"""How much of a file system or accelerator it takes to meet the deadline, at the least cost. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from hoist.advise.cost import Cost, cost
from hoist.advise.facts import Facts
from hoist.advise.predict import LATE_ALLOWED, Arrivals, Prediction, predict
from hoist.advise.scenario import Scenario
from hoist.advise.storages import Candidate, candidate, least_amount, most_amount

SIZED = ("nas", "accl")
_ROUND = 10**9
# The cheapest size is found to this factor, and taken if it saves so much money a month, and a twentieth.
_FINE, _SAVED = 1.05, 1.0
_MOST_COUNT = 1 << 17


@dataclass(frozen=True, slots=True)
class Judged:
    """A storage of one size, with what is predicted of it and what it costs."""

    candidate: Candidate
    prediction: Prediction
    cost: Cost

    @property
    def kind(self) -> str:
        """The storage."""
        return self.candidate.kind

    @property
    def amount(self) -> int:
        """How large the part is that can be sized: a file system, or an accelerator; else what is stored."""
        return self.candidate.cache or self.candidate.held

    @property
    def in_time(self) -> bool:
        """Whether as good as no instance misses the deadline."""
        return self.prediction.late <= LATE_ALLOWED


@dataclass(frozen=True, slots=True)
class Sizing:
    """A storage as small as the models; as large as the deadline asks for (None: no size that it can have does); and as
    large as is cheapest among those, as bandwidth saves GPU seconds."""

    least: Judged
    enough: Judged | None
    cheapest: Judged | None
    most: int

    @property
    def grown(self) -> bool:
        """Whether it is taken larger than its models."""
        return self.best.amount > self.least.amount

    @property
    def best(self) -> Judged:
        """What is to be compared with other storages: the cheapest that meets the deadline, else the smallest."""
        return self.cheapest or self.least


def judge(kind: str, facts: Facts, scenario: Scenario, arrivals: Arrivals, amount: int | None = None) -> Judged:
    """One storage of one size."""
    found = candidate(kind, facts, scenario, amount)
    predicted = predict(found, scenario, arrivals)
    alone = predict(found, scenario, arrivals, 1)
    return Judged(found, predicted, cost(found, predicted, alone, facts, scenario))


def size_storage(kind: str, facts: Facts, scenario: Scenario, arrivals: Arrivals) -> Sizing:
    """The least size that meets the deadline, to a GB, and the cheapest one from there on."""
    least = judge(kind, facts, scenario, arrivals)
    most = most_amount(kind, facts, scenario) if kind in SIZED else least.amount
    if kind not in SIZED or most <= least.amount:
        enough = least if least.in_time else None
        return Sizing(least, enough, enough, most)
    if least.in_time:
        return Sizing(least, least, _cheapest(least, facts, scenario, arrivals, most), most)
    if not _in_time(kind, facts, scenario, arrivals, most):
        return Sizing(least, None, None, most)
    low, high = least_amount(kind, facts, scenario), most
    while high - low > max(_ROUND, high // 500):
        middle = (low + high) // 2
        if _in_time(kind, facts, scenario, arrivals, middle):
            high = middle
        else:
            low = middle
    enough = judge(kind, facts, scenario, arrivals, -(-high // _ROUND) * _ROUND)
    return Sizing(least, enough, _cheapest(enough, facts, scenario, arrivals, most), most)


def _cheapest(enough: Judged, facts: Facts, scenario: Scenario, arrivals: Arrivals, most: int) -> Judged:
    """The cheapest size from that one on: its price grows with size, and what GPUs cost while they wait shrinks.

    One that saves next to nothing is not worth being larger.
    """
    if enough.prediction.bound != "the storage's bandwidth":
        return enough
    best, factor = enough, 2.0
    while factor > _FINE:
        larger = min(most, int(best.amount * factor) // _ROUND * _ROUND)
        other = judge(enough.kind, facts, scenario, arrivals, larger) if larger > best.amount else best
        if other.cost.total < best.cost.total:
            best = other
        else:
            factor **= 0.5
    saved = enough.cost.total - best.cost.total
    return best if saved > max(_SAVED, 0.05 * enough.cost.total) else enough


def _in_time(kind: str, facts: Facts, scenario: Scenario, arrivals: Arrivals, amount: int) -> bool:
    return predict(candidate(kind, facts, scenario, amount), scenario, arrivals).late <= LATE_ALLOWED


def most_in_time(found: Candidate, scenario: Scenario, arrivals: Arrivals) -> int:
    """How many instances at once still meet the deadline: 0 if not even one does, at most 2^17."""

    def fits(count: int) -> bool:
        return predict(found, scenario, arrivals, count).late <= LATE_ALLOWED

    if not fits(1):
        return 0
    high = 1
    while high < _MOST_COUNT and fits(high * 2):
        high *= 2
    low, high = high, min(high * 2, _MOST_COUNT)
    while high - low > max(1, low // 200):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
