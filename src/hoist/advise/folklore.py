"""What the platform's own guide recommends for a case, and, where the computation disagrees, which assumption it is.

The guide is "GPU model storage best practices" of Function Compute: four rules by usage mode, burst and regions, and a
word on small models. They are not used to rank. Assumptions that differ are put back, and the computation is repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hoist.advise.scenario import Scenario

# From so many instances at once the guide's "many at once" is meant: its example is a scale-out of provisioned instances.
_MANY = 20
_SMALL, _SMALL_UPDATES = 1 << 30, 1.0


@dataclass(frozen=True, slots=True)
class Folklore:
    """The guide's rule for a case. `why` is empty where the computation agrees, else what makes the difference."""

    rule: str
    recommends: tuple[str, ...]
    agrees: bool
    why: str = ""


def guide(scenario: Scenario) -> tuple[str, tuple[str, ...]]:
    """The rule that applies, in short, and the storages that it recommends."""
    if len(scenario.regions) > 1:
        return "several regions: an object store, accelerated or not", ("oss", "accl")
    if scenario.instances >= _MANY:
        return "many instances at once: an accelerated object store", ("accl",)
    if scenario.stored <= _SMALL and scenario.updates_a_month <= _SMALL_UPDATES:
        return "small models that seldom change: in the image", ("image",)
    if scenario.mode == "idle":
        return "idle instances: an object store", ("oss",)
    return "on-demand instances: a performance file system", ("nas",)


def compare(
    scenario: Scenario, winner: str, reasons: Mapping[str, str], winner_of: Callable[[Scenario], str]
) -> Folklore:
    """The guide beside the computation, which has `reasons`; `winner_of` ranks another scenario."""
    rule, recommends = guide(scenario)
    if winner in recommends:
        return Folklore(rule, recommends, agrees=True)
    found = next((why for why, other in _assumptions(scenario) if winner_of(other) in recommends), "")
    why = found or "; ".join(f"{kind} {reasons[kind].removesuffix('.')}" for kind in recommends)
    return Folklore(rule, recommends, agrees=False, why=why)


def _assumptions(scenario: Scenario) -> list[tuple[str, Scenario]]:
    """What the guide takes for granted and this case has not: each with the case as the guide sees it."""
    plain: dict[str, Any] = {"loader": "plain"}
    narrow: dict[str, Any] = {"regions": ("cn-chengdu",)}
    weekly: dict[str, Any] = {"updates": 1 / 604800, "models": 10}
    reads = (
        "it assumes a loader that reads each file twice, and then the page cache counts; Hoist reads once, as the hash is "
        "the manifest's"
    )
    bandwidth = "it assumes that the object store is held back, as where the account has 10 Gbit/s; here it has enough"
    few = "it assumes that few instances start at once; here more of them share the file system's bandwidth"
    several = "it assumes several models that change: as an image they are too large, or rebuilt again and again"
    cases: list[tuple[str, dict[str, Any]]] = []
    if scenario.loader == "hoist":
        cases.append((reads, plain))
    if len(scenario.regions) == 1 and scenario.platform == "function-compute":
        cases.append((bandwidth, narrow))
    if scenario.instances > 1:
        cases.append((few, {"instances": 1}))
        if scenario.loader == "hoist":
            cases.append((f"{reads}; and {few}", plain | {"instances": 1}))
    cases.append((several, weekly))
    if scenario.loader == "hoist":
        cases += [(f"{reads}; and {several}", plain | weekly)]
        cases += [(f"{bandwidth}; and {reads}", plain | narrow)]
    cases.append((f"{bandwidth}; and {several}", narrow | weekly))
    return [(why, replace(scenario, **changes)) for why, changes in cases]
