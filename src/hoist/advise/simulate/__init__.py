"""A fleet over time, computed: who waits for what, for how long, and what crosses which link. Pure, seeded, its own clock.

`simulate(SimulationInput(...))` gives an `Outcome`. Bytes are a fluid: rates change only when an instance comes, gets ahead
of another, or is done, so the cost grows with events and not with seconds.

    arrivals.py    when instances are asked for; what a scale-out limit makes of it
    fair.py        max-min fair shares of one capacity, by virtual time
    medium.py      a storage that instances read directly
    read_cache.py  one behind a read cache: single flight, each byte once from the origin, LRU
    fronts.py      models on their way to it
    kept.py        what a cache keeps
    hosts.py       what instances of one host share: its link, its caches
    fleet.py       the events
    outcome.py     what came of it
"""

from __future__ import annotations

from hoist.advise.simulate.arrivals import Arrivals, Burst, Poisson, ScaleOut, Schedule, Trace
from hoist.advise.simulate.fleet import simulate
from hoist.advise.simulate.given import Model, SimulationInput
from hoist.advise.simulate.outcome import PHASES, Distribution, Outcome, Sample, Usage

__all__ = [
    "PHASES",
    "Arrivals",
    "Burst",
    "Distribution",
    "Model",
    "Outcome",
    "Poisson",
    "Sample",
    "ScaleOut",
    "Schedule",
    "SimulationInput",
    "Trace",
    "Usage",
    "simulate",
]
