"""What is known of a plan that is watched: for GET /status and for Prometheus. It asks no storage."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from threading import Lock

from hoist.expose import exposition, labelled
from hoist.sync.document import sync_document
from hoist.sync.result import SyncResult

_ABOUT = {
    "storage_up": ("gauge", "whether a storage could be looked at by the last run (1) or not (0)"),
    "sync_in_step": ("gauge", "whether a target is what the plan wants"),
    "sync_lag_versions": ("gauge", "versions that a target lacks"),
    "sync_lag_bytes": ("gauge", "bytes of the versions that a target lacks"),
    "sync_lag_tags": ("gauge", "tags that are not where the source has them"),
    "sync_lag_seconds": ("gauge", "how long ago the oldest version that a target lacks was published at the source"),
    "sync_runs_total": ("counter", "runs of the plan, by result: in_step, behind, failed"),
    "sync_sent_bytes_total": ("counter", "bytes sent to a target"),
    "sync_read_bytes_total": ("counter", "bytes read of the source, for all targets together"),
    "sync_brought_versions_total": ("counter", "versions brought to a target"),
    "errors_total": ("counter", "what failed, by storage and kind of error"),
    "sync_last_run_seconds": ("gauge", "how long the last run took"),
    "sync_last_run_timestamp_seconds": ("gauge", "when the last run ended, in seconds since the epoch"),
    "sync_last_in_step_timestamp_seconds": ("gauge", "when all targets were last in step, in seconds since the epoch"),
    "start_time_seconds": ("gauge", "when the watch began, in seconds since the epoch"),
}
_BY_RUN = ("storage_up", "sync_in_step", "sync_lag_")


class SyncMonitor:
    """Told of each run; asked from other threads. See `hoist.status.service.Provider`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._last: SyncResult | None = None
        self._counts: Counter[str] = Counter()
        self._gauges: dict[str, float] = {"start_time_seconds": time.time()}

    def told(self, result: SyncResult) -> None:
        """A run ended."""
        with self._lock:
            self._last = result
            self._gauges = {key: value for key, value in self._gauges.items() if not key.startswith(_BY_RUN)}
            self._count(result)

    def status(self) -> Mapping[str, object]:
        """The last run, as `hoist sync --json` shows it; `last_run` is null before the first has ended."""
        with self._lock:
            last = self._last
        return {"last_run": sync_document(last) if last else None}

    def metrics(self) -> str:
        """The exposition format of Prometheus."""
        with self._lock:
            values = {**self._gauges, **self._counts}
        return exposition("hoist", _ABOUT, values, digits=17)

    def unhealthy(self) -> str:
        """Nothing that a start again would mend: a storage that is down is told by the metrics."""
        return ""

    def _count(self, result: SyncResult) -> None:
        now, plan = time.time(), result.plan
        failed = bool(result.errors)
        kind = "failed" if failed else "in_step" if result.in_step else "behind"
        self._counts[labelled("sync_runs_total", plan=plan, result=kind)] += 1
        self._counts[labelled("sync_read_bytes_total", plan=plan, storage=result.source)] += result.read_bytes
        self._gauges[labelled("sync_last_run_seconds", plan=plan)] = result.seconds
        self._gauges[labelled("sync_last_run_timestamp_seconds", plan=plan)] = now
        if result.in_step:
            self._gauges[labelled("sync_last_in_step_timestamp_seconds", plan=plan)] = now
        self._gauges[labelled("storage_up", storage=result.source)] = float(result.error is None)
        if result.error is not None:
            self._counts[labelled("errors_total", storage=result.source, kind=type(result.error).__name__)] += 1
        for target in result.targets:
            who = {"plan": plan, "storage": target.storage}
            self._gauges[labelled("storage_up", storage=target.storage)] = float(target.difference is not None)
            self._gauges[labelled("sync_in_step", **who)] = float(target.in_step)
            self._counts[labelled("sync_sent_bytes_total", **who)] += target.sent_bytes
            self._counts[labelled("sync_brought_versions_total", **who)] += len(target.brought)
            for problem in target.problems:
                error = type(problem.error).__name__
                self._counts[labelled("errors_total", storage=target.storage, kind=error)] += 1
            if target.difference is not None:
                lag = {
                    "versions": target.lag.versions,
                    "bytes": target.lag.size,
                    "tags": target.lag.tags,
                    "seconds": target.lag.seconds,
                }
                for name, value in lag.items():
                    self._gauges[labelled(f"sync_lag_{name}", **who)] = value
