"""The advice as JSON: sizes in bytes and ending in `_bytes`, times in seconds, money in the scenario's currency. Pure."""

from __future__ import annotations

from math import isfinite
from typing import Any

from hoist.advise.advice import Advice
from hoist.advise.explain import explain
from hoist.advise.facts import Fact
from hoist.advise.rank import Ranked
from hoist.advise.scenario import Scenario
from hoist.advise.sizing import Sizing
from hoist.advise.table import comparison

_BYTES = ("size", "gpu_memory", "memory", "base_image")
_SECONDS = ("deadline", "warmup")
_PER_SECOND = ("starts", "bursts", "updates")


def advice_document(advice: Advice) -> dict[str, Any]:
    """All that is known of it."""
    return {
        "scenario": scenario_document(advice.scenario),
        "currency": advice.scenario.currency,
        "recommended": None if advice.winner.problem else advice.winner.kind,
        "storages": [_storage(advice, place, each) for place, each in enumerate(advice.ranked, 1)],
        "comparison": comparison(advice),
        "crossovers": [
            {"axis": each.axis, "below": each.below, "above": each.above, "at": each.at} for each in advice.crossings
        ],
        "bottleneck": advice.bottleneck or None,
        "guide": None
        if advice.folklore is None
        else {
            "rule": advice.folklore.rule,
            "recommends": list(advice.folklore.recommends),
            "agrees": advice.folklore.agrees,
            "why": advice.folklore.why or None,
        },
        "notes": list(advice.notes),
        "facts": [fact_document(fact) for fact in advice.used],
    }


def scenario_document(scenario: Scenario) -> dict[str, Any]:
    """A scenario, units in the names."""
    found: dict[str, Any] = {}
    for name in Scenario.__dataclass_fields__:
        value = getattr(scenario, name)
        if name in _BYTES:
            found[f"{name}_bytes"] = value
        elif name in _SECONDS:
            found[f"{name}_seconds"] = value
        elif name in _PER_SECOND:
            found[f"{name}_per_second"] = value
        elif name == "link":
            found["link_bytes_per_second"] = value
        elif name == "budget":
            found[name] = value and {"amount": value.amount, "currency": value.currency}
        elif name == "assumed":
            found[name] = sorted(value)
        else:
            found[name] = list(value) if isinstance(value, tuple) else value
    return found


def fact_document(fact: Fact) -> dict[str, Any]:
    """A fact, as its file has it."""
    return {
        "id": fact.id,
        "value": fact.value,
        "unit": fact.unit,
        "source": fact.source,
        "read": fact.read,
        "certainty": fact.certainty,
        "note": fact.note or None,
        "url": fact.url or None,
    }


def _storage(advice: Advice, place: int, ranked: Ranked) -> dict[str, Any]:
    judged, prediction = ranked.judged, ranked.judged.prediction
    performance = judged.candidate.performance
    return {
        "kind": ranked.kind,
        "place": place,
        "possible": not ranked.problem,
        "reason": advice.reasons[ranked.kind],
        "p50_seconds": prediction.p50,
        "p95_seconds": prediction.p95,
        "p99_seconds": prediction.p99,
        "late_share": prediction.late,
        "all_ready_seconds": prediction.all_ready,
        "phases": {f"{name}_seconds": value for name, value in prediction.phases.items()},
        "bound_by": prediction.bound,
        "cost": {**judged.cost.parts, "total": judged.cost.total, "unpriced": list(judged.cost.unpriced)},
        "upkeep_a_month": judged.cost.upkeep,
        "most_instances_in_time": advice.most_in_time.get(ranked.kind),
        "performance": {
            "setup_seconds": performance.setup_seconds,
            "instance_bytes_per_second": _finite(performance.instance_rate),
            "total_bytes_per_second": _finite(performance.total_rate),
            "origin_bytes_per_second": performance.origin_rate,
            "reads": performance.reads,
            "page_cache": performance.page_cache,
            "rest_seconds": performance.rest_seconds,
            "jitter": performance.jitter,
        },
        "sizing": _sizing(advice.sizings[ranked.kind]),
        "explanation": explain(advice, ranked.kind),
    }


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _sizing(sizing: Sizing) -> dict[str, Any]:
    enough = sizing.enough
    return {
        "least_bytes": sizing.least.amount,
        "least_late_share": sizing.least.prediction.late,
        "least_cost": sizing.least.cost.total,
        "needed_bytes": enough.amount if enough else None,
        "needed_cost": enough.cost.total if enough else None,
        "cheapest_bytes": sizing.cheapest.amount if sizing.cheapest else None,
        "cheapest_cost": sizing.cheapest.cost.total if sizing.cheapest else None,
        "most_bytes": sizing.most,
    }
