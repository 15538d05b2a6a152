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
    """A storage as small as the models, and as large as the deadline asks for (None: no size that it can have does)."""

    least: Judged
    enough: Judged | None
    most: int

    @property
    def grown(self) -> bool:
        """Whether it has to be larger than its models."""
        return self.enough is not None and self.enough.amount > self.least.amount

    @property
    def best(self) -> Judged:
        """What is to be compared with other storages: the cheapest that meets the deadline, else the smallest."""
        return self.enough or self.least


def judge(kind: str, facts: Facts, scenario: Scenario, arrivals: Arrivals, amount: int | None = None) -> Judged:
    """One storage of one size."""
    found = candidate(kind, facts, scenario, amount)
    predicted = predict(found, scenario, arrivals)
    return Judged(found, predicted, cost(found, predicted, facts, scenario))


def size_storage(kind: str, facts: Facts, scenario: Scenario, arrivals: Arrivals) -> Sizing:
    """The least size that meets the deadline, to a GB above what is needed. Cost and bandwidth both grow with size."""
    least = judge(kind, facts, scenario, arrivals)
    most = most_amount(kind, facts, scenario) if kind in SIZED else least.amount
    if least.in_time or kind not in SIZED or most <= least.amount:
        return Sizing(least, least if least.in_time else None, most)
    if not _in_time(kind, facts, scenario, arrivals, most):
        return Sizing(least, None, most)
    low, high = least_amount(kind, facts, scenario), most
    while high - low > max(_ROUND, high // 500):
        middle = (low + high) // 2
        if _in_time(kind, facts, scenario, arrivals, middle):
            high = middle
        else:
            low = middle
    return Sizing(least, judge(kind, facts, scenario, arrivals, -(-high // _ROUND) * _ROUND), most)


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
