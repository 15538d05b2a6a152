"""What a served function costs and keeps: a switch back, sharing, overhead, its health while it loads, a crowd of clients.

Every work has servers of its own, forked from a process that has imported what they need, and is asked over HTTP. Models
are fixtures of Stable Diffusion checkpoints at a scale, in a directory whose files are in the page cache and in a public
bucket on nginx, which counts what it sends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hoist.bench import function_crowd, function_health, function_loads
from hoist.bench.function_stage import LARGE, ONE, OTHER, SMALL, set_function_stage
from hoist.bench.records import Recorder
from hoist.bench.works import check_works
from hoist.errors import UsageError

BENCH = "function"
BACK, SHARING, OVERHEAD, HEALTH, CROWD = "back", "sharing", "overhead", "health", "crowd"
WORKS = {
    BACK: (ONE, OTHER),
    SHARING: (ONE, OTHER),
    OVERHEAD: (ONE, SMALL),
    HEALTH: (LARGE, SMALL),
    CROWD: (),
}
"""The works, and the models of each."""
Note = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Options:
    """`scale` of the checkpoints; health checks to take; of a crowd the clients, the requests of each, a model's bytes."""

    scale: float = 1.0
    samples: int = 1000
    clients: int = 200
    requests: int = 3
    crowd_bytes: int = 64 << 20
    repeat: int = 3
    works: Sequence[str] = tuple(WORKS)
    folder: Path | None = None


def run_function_bench(options: Options, note: Note) -> list[dict[str, Any]]:
    """The records of all works. Raises UsageError, LocalError where nginx is missing or a function does not answer."""
    check_works(options.works, WORKS)
    if not 0 < options.scale <= 1:
        raise UsageError(f"the scale is above 0 and at most 1, not {options.scale:g}")
    recorder = Recorder(note)
    names = list(dict.fromkeys(name for work in options.works for name in WORKS[work]))
    with set_function_stage(options.scale, names, options.folder) as stage:
        for run in range(options.repeat):
            for work in options.works:
                if work == BACK:
                    found = function_loads.back(stage)
                elif work == SHARING:
                    found = function_loads.sharing(stage)
                elif work == OVERHEAD:
                    found = function_loads.overhead(stage)
                elif work == HEALTH:
                    found = function_health.health(stage, options.samples)
                else:
                    found = function_crowd.crowd(stage, options.clients, options.requests, options.crowd_bytes, run)
                for values in found:
                    recorder.note(BENCH, {"run": run, "work": work, **values})
    return recorder.records
