"""From a scenario, facts and what a fleet does over time to what the simulator is given, for each storage. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import Any

from hoist.advise.cost import gpu_second
from hoist.advise.facts import Facts
from hoist.advise.predict import arrivals_of
from hoist.advise.scenario import Scenario
from hoist.advise.simulate import Arrivals, Model, Outcome, ScaleOut, SimulationInput, Usage
from hoist.advise.storages import KINDS, Candidate, candidate
from hoist.errors import UsageError


@dataclass(frozen=True)
class FleetOptions:
    """What a fleet does over time, beside what a scenario says of it. Rates are bytes a second, times seconds.

    `scale_out` None: as facts know the platform. `rates` are bandwidths of storages in place of those of facts, and
    `origin_rate` that behind the accelerator; `accelerator_size` is what it keeps (None: what is provisioned). With
    `retries` an instance that is over the deadline is ended and started again so often; None: it is only counted.
    """

    arrivals: Arrivals
    models: tuple[Model, ...] = ()
    scale_out: ScaleOut | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    origin_rate: float | None = None
    accelerator_size: float | None = None
    host_cache: bool | None = None
    host_cache_size: float = inf
    host_link: float = inf
    hosts: int | None = None
    start_jitter: float = 0.0
    retries: int | None = None
    retry_wait: float = 1.0
    seed: int = 0


def fleets(kinds: Sequence[str], scenario: Scenario, facts: Facts, options: FleetOptions) -> list[SimulationInput]:
    """What is simulated, for each storage that is named, all with the same arrivals. Raises UsageError, NotFound."""
    for kind in (*kinds, *options.rates):
        if kind not in KINDS:
            raise UsageError(f"there is no storage {kind!r} to simulate; there are {', '.join(KINDS)}")
    return [_fleet(candidate(kind, facts, scenario), scenario, facts, options) for kind in kinds]


def scale_out_of(facts: Facts, scenario: Scenario) -> ScaleOut:
    """How fast the scenario's platform starts instances."""
    known = arrivals_of(facts, scenario)
    return ScaleOut(int(known.burst), known.per_second) if known.per_second < inf else ScaleOut()


def _fleet(found: Candidate, scenario: Scenario, facts: Facts, options: FleetOptions) -> SimulationInput:
    provision = found.setup["provision"]
    known = found.performance
    origin = known.origin_rate
    if origin is not None:
        origin = options.origin_rate or options.rates.get("oss", origin)
    storage = replace(
        known,
        setup_seconds=max(0.0, known.setup_seconds - provision),
        total_rate=options.rates.get(found.kind, known.total_rate),
        origin_rate=origin,
    )
    size = options.accelerator_size or (float(found.cache) if found.cache else inf)
    return SimulationInput(
        storage,
        options.arrivals,
        options.models or tuple(Model(scenario.size, name=f"model{n}") for n in range(scenario.models)),
        scale_out=options.scale_out or scale_out_of(facts, scenario),
        links=((scenario.link, 1.0),),
        host_link=options.host_link,
        instances_per_host=scenario.instances_per_host,
        hosts=options.hosts,
        host_cache=scenario.loader == "hoist" if options.host_cache is None else options.host_cache,
        host_cache_size=options.host_cache_size,
        accelerator_size=size,
        provision=provision,
        start_jitter=options.start_jitter,
        deadline=inf if options.retries is None else scenario.deadline,
        retries=options.retries or 0,
        retry_wait=options.retry_wait,
        cost=partial(_gpu_cost, gpu_second(facts, scenario)),
        seed=options.seed,
    )


def _gpu_cost(second: float, usage: Usage) -> float:
    return second * usage.gpu_seconds


def outcome_json(given: SimulationInput, outcome: Outcome, deadline: float, steps: int = 0) -> dict[str, Any]:
    """One storage as `--json` has it."""
    late = outcome.late(deadline)
    about = {"total_rate": _finite(given.storage.total_rate), "origin_rate": given.storage.origin_rate}
    return {**outcome.to_json(steps), "late": late, "late_share": late / outcome.usage.instances, **about}


def _finite(value: float) -> float | None:
    return None if value == inf else value
