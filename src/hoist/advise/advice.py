"""The whole advice for a scenario: predicted, priced, sized, ranked, with crossovers and what is worth knowing. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from hoist.advise import words
from hoist.advise.crossover import Crossing, crossings
from hoist.advise.facts import Fact, Facts
from hoist.advise.folklore import Folklore, compare
from hoist.advise.predict import Arrivals, Prediction, arrivals_of
from hoist.advise.rank import Ranked, rank
from hoist.advise.reason import reason
from hoist.advise.scenario import Scenario
from hoist.advise.sizing import Judged, Sizing, judge, most_in_time, size_storage
from hoist.advise.storages import KINDS

# Below this part of a start a storage is not what it waits for.
_BOTTLENECK = 1 / 3
_ALIKE = 0.10


@dataclass(frozen=True)
class Advice:
    """What is said of a scenario. `ranked` has all storages, the best first; `sizings` are by kind; `source` is the model,
    and `notes` are what reading the case brought up."""

    scenario: Scenario
    facts: Facts
    arrivals: Arrivals
    ranked: Sequence[Ranked]
    sizings: Mapping[str, Sizing]
    folklore: Folklore | None
    source: str = ""
    notes: tuple[str, ...] = ()

    @property
    def winner(self) -> Ranked:
        """The storage that is recommended; it has a problem if all have."""
        return self.ranked[0]

    @property
    def judged(self) -> dict[str, Judged]:
        """By kind, in the usual order."""
        found = {each.kind: each.judged for each in self.ranked}
        return {kind: found[kind] for kind in KINDS}

    @cached_property
    def reasons(self) -> dict[str, str]:
        """A sentence for each storage."""
        return _reasons(self.ranked, self.scenario)

    @cached_property
    def crossings(self) -> list[Crossing]:
        """Where one storage passes another."""
        return crossings(list(self.judged.values()), self.facts, self.scenario, self.arrivals)

    @cached_property
    def most_in_time(self) -> dict[str, int]:
        """How many instances at once each storage that can hold the models carries in time, no larger than they are."""
        found = {kind: sizing.least.candidate for kind, sizing in self.sizings.items()}
        return {
            kind: most_in_time(each, self.scenario, self.arrivals) for kind, each in found.items() if not each.problem
        }

    @cached_property
    def used(self) -> tuple[Fact, ...]:
        """The facts that the predictions of all storages rest on."""
        judged = self.judged.values()
        found = {fact.id: fact for each in judged for fact in (*each.candidate.used.values(), *each.cost.used)}
        return tuple(found[id] for id in sorted(found))

    @property
    def bottleneck(self) -> str:
        """A sentence where storage is not what starts wait for; else empty."""
        best: Prediction = self.winner.judged.prediction
        if best.fetch_share < _BOTTLENECK:
            name, longest = max(
                ((name, value) for name, value in best.phases.items() if name not in ("fetch", "network")),
                key=lambda item: item[1],
            )
            return (
                f"Storage is not the bottleneck: of {words.seconds(best.p50)} with {self.winner.kind} it takes "
                f"{words.seconds(best.fetch_share * best.p50)}, {name} {words.seconds(longest)}."
            )
        times = [each.prediction.p95 for each in self.judged.values() if not each.candidate.problem]
        if len(times) > 1 and max(times) <= min(times) * (1 + _ALIKE):
            return (
                f"The storages start within {max(times) / min(times) - 1:.0%} of one another: cost and upkeep decide."
            )
        return ""


def advise(scenario: Scenario, facts: Facts, source: str = "", notes: tuple[str, ...] = ()) -> Advice:
    """Judge all storages for a scenario. Raises NotFound for a fact that is missing."""
    ranked, sizings, arrivals = _ranked(scenario, facts)
    # The guide is Function Compute's: it says nothing of other platforms.
    folklore = None
    if scenario.platform == "function-compute":
        reasons = _reasons(ranked, scenario)
        folklore = compare(scenario, ranked[0].kind, reasons, lambda other: _ranked(other, facts)[0][0].kind)
    return Advice(scenario, facts, arrivals, ranked, sizings, folklore, source, notes)


def with_loader(advice: Advice, loader: str) -> dict[str, Judged]:
    """The same storages, by another loader, in the sizes that they have."""
    other = replace(advice.scenario, loader=loader)
    return {
        kind: judge(kind, advice.facts, other, advice.arrivals, each.amount) for kind, each in advice.judged.items()
    }


def _reasons(ranked: Sequence[Ranked], scenario: Scenario) -> dict[str, str]:
    return {each.kind: reason(ranked, place, scenario) for place, each in enumerate(ranked)}


def _ranked(scenario: Scenario, facts: Facts) -> tuple[list[Ranked], dict[str, Sizing], Arrivals]:
    arrivals = arrivals_of(facts, scenario)
    sizings = {kind: size_storage(kind, facts, scenario, arrivals) for kind in KINDS}
    return rank([sizing.best for sizing in sizings.values()], facts, scenario), sizings, arrivals
