"""A plan that is run again and again, and what is known of its runs meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

from hoist.config import Config
from hoist.errors import HoistError
from hoist.progress import Progress
from hoist.sync.plan import SyncPlan
from hoist.sync.result import SyncResult
from hoist.sync.run import run_plan


def watch(
    find: Callable[[], tuple[SyncPlan, Config]],
    told: Callable[[SyncResult], None],
    stop: Event,
    *,
    interval_seconds: float | None = None,
    progress: Progress | None = None,
) -> None:
    """Run the plan that `find` gives, tell of it, and again `interval_seconds` (None: as the plan says) after its end, until
    `stop` is set.

    The plan is read again each time. An error ends a run and not the watch: it is told as the run's `error`; only what
    `find` raises the first time is raised.
    """
    plan, config = find()
    while not stop.is_set():
        began, wall = time.monotonic(), time.time()
        try:
            plan, config = find()
            result = run_plan(plan, config, progress=progress, stop=stop)
        except HoistError as error:
            seconds = time.monotonic() - began
            result = SyncResult(plan.name, plan.source, began=wall, seconds=seconds, error=error)
        told(result)
        stop.wait(plan.interval_seconds if interval_seconds is None else interval_seconds)
