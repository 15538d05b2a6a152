"""Which storage comes first, and why, in one sentence. Pure.

What cannot be done, or misses the deadline or the budget, comes last. Among the others criteria decide one after the
other, in an order that the usage mode gives; where storages are as good as equal in one, the next decides. So the cheaper
of two that are equally fast wins, and nobody operates a file system to save a dollar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hoist.advise.facts import Facts
from hoist.advise.scenario import Scenario
from hoist.advise.sizing import Judged
from hoist.advise.storages import PARTS


@dataclass(frozen=True, slots=True)
class Criterion:
    """Less is better; values within `part` of the best, or `slack` above it, are equal."""

    name: str
    value: Callable[[Judged], float]
    part: float = 0.0
    slack: float = 0.0

    def equal(self, value: float, best: float) -> bool:
        """Whether it is as good as the best."""
        return value <= max(best * (1 + self.part), best + self.slack)


START = Criterion("start", lambda each: each.prediction.p95, part=0.10)
COST = Criterion("cost", lambda each: each.cost.total, part=0.05, slack=1.0)
UPKEEP = Criterion("upkeep", lambda each: each.cost.upkeep, slack=1.0)
SETUP = Criterion("parts", lambda each: PARTS[each.kind])
LATE = Criterion("late", lambda each: each.prediction.late, slack=0.005)
_ORDER = {
    "on-demand": (START, COST, UPKEEP, SETUP),
    "idle": (COST, UPKEEP, START, SETUP),
    "provisioned": (COST, UPKEEP, START, SETUP),
}


@dataclass(frozen=True, slots=True)
class Ranked:
    """A storage in its place. `problem` is why it cannot be taken as things are (empty: it can); `decided_by` is what puts
    it behind the first one (of the first: before the second); None where nothing does that counts."""

    judged: Judged
    problem: str
    decided_by: Criterion | None

    @property
    def kind(self) -> str:
        """The storage."""
        return self.judged.kind


def criteria(scenario: Scenario) -> tuple[Criterion, ...]:
    """In the order in which they decide: in several regions first what has to be kept in step by hand."""
    order = _ORDER[scenario.mode]
    return (UPKEEP, *order) if len(scenario.regions) > 1 else order


def rank(judged: Sequence[Judged], facts: Facts, scenario: Scenario) -> list[Ranked]:
    """All storages, the best first."""
    problems = {each.kind: problem_of(each, facts, scenario) for each in judged}
    able = [each for each in judged if not problems[each.kind]]
    unable = [each for each in judged if problems[each.kind]]
    # The impossible is behind the late, and those that are late behind one another by how many are.
    late = [each for each in unable if not each.candidate.problem]
    never = [each for each in unable if each.candidate.problem]
    order = criteria(scenario)
    groups = [_ordered(able, order), _ordered(late, (LATE, *order)), _ordered(never, order)]
    places = [place for group in groups for place in group]
    found = []
    for index, each in enumerate(places):
        first, other = (each, places[1]) if not index and len(places) > 1 else (places[0], each)
        found.append(Ranked(each, problems[each.kind], _decisive(first, other, order)))
    return found


def problem_of(each: Judged, facts: Facts, scenario: Scenario) -> str:
    """Why a storage cannot be taken: it cannot hold the models, it is too slow, or too dear."""
    if each.candidate.problem:
        return each.candidate.problem
    if not each.in_time:
        return f"{each.prediction.late:.0%} of {_instances(scenario)} miss the deadline of {scenario.deadline:g} s"
    if scenario.budget is not None:
        budget = facts.convert(scenario.budget.amount, scenario.budget.currency, scenario.currency)
        if each.cost.total > budget:
            return f"{each.cost.total:,.2f} {scenario.currency} a month is over the budget of {budget:,.2f}"
    return ""


def _instances(scenario: Scenario) -> str:
    return f"{scenario.instances:,} instances" if scenario.instances > 1 else "starts"


def _ordered(group: Sequence[Judged], order: Sequence[Criterion]) -> list[Judged]:
    left, found = list(group), []
    while left:
        found.append(_best(left, order))
        left.remove(found[-1])
    return found


def _best(group: Sequence[Judged], order: Sequence[Criterion]) -> Judged:
    left = list(group)
    for criterion in order:
        best = min(criterion.value(each) for each in left)
        left = [each for each in left if criterion.equal(criterion.value(each), best)]
    # Whatever is equal in everything: the one that starts fastest, then the cheapest.
    return min(left, key=lambda each: (each.prediction.p95, each.cost.total))


def _decisive(winner: Judged, loser: Judged, order: Sequence[Criterion]) -> Criterion | None:
    """The first criterion in which the loser is not as good as the winner."""
    for criterion in order:
        if not criterion.equal(criterion.value(loser), criterion.value(winner)):
            return criterion
    return None
