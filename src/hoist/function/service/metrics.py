"""What a function does, in numbers, and as Prometheus reads them."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import TYPE_CHECKING

from hoist.expose import exposition, labelled

if TYPE_CHECKING:
    from hoist.function.trace import Trace

_HELP = {
    "requests_total": ("counter", "requests to /invoke that were answered, by model and status"),
    "request_seconds": ("histogram", "time from a request's arrival to its answer"),
    "wait_seconds_total": ("counter", "time in which requests waited for their model"),
    "handler_seconds_total": ("counter", "time in which the handler ran, by model"),
    "loads_total": ("counter", "starts, switches and prefetches, by model, kind and outcome"),
    "load_seconds_total": ("counter", "time of loads, by phase; phases overlap"),
    "fetched_bytes_total": ("counter", "bytes of models that came from storages or the host cache"),
    "host_reused_bytes_total": ("counter", "bytes of models that were in host memory already"),
    "device_copied_bytes_total": ("counter", "bytes of models that were copied to the device"),
    "device_reused_bytes_total": ("counter", "bytes of models that were on the device already"),
    "running": ("gauge", "requests whose handler runs"),
    "waiting": ("gauge", "requests that wait for their model, or for the handler"),
    "abandoned": ("gauge", "handlers that run on though nobody waits for them"),
    "ready": ("gauge", "whether requests are welcome: 1, or 0"),
    "host_bytes": ("gauge", "host memory that models take"),
    "device_bytes": ("gauge", "device memory that models take"),
    "model_state": ("gauge", "1 for the state that each model is in"),
    "start_time_seconds": ("gauge", "when this process began to listen, in seconds since the epoch"),
}
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0)
_MOVED = ("fetched_bytes", "host_reused_bytes", "device_copied_bytes", "device_reused_bytes")
Gauges = Callable[[], Iterable[tuple[str, float]]]


class Metrics:
    """Counters of one function. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: defaultdict[str, float] = defaultdict(float)
        self._buckets = [0] * (len(_BUCKETS) + 1)
        self._seconds = 0.0
        self._gauges: list[Gauges] = []
        self._began = time.time()
        for name in ("wait_seconds_total", *(f"{each}_total" for each in _MOVED)):
            self._counts[name] = 0.0

    def answered(self, model: str, status: int, seconds: float) -> None:
        """A request to /invoke was answered; `model` is empty where it named none that there is."""
        with self._lock:
            self._counts[labelled("requests_total", model=model, status=str(status))] += 1
            self._buckets[bisect_left(_BUCKETS, seconds)] += 1
            self._seconds += seconds

    def waited(self, seconds: float) -> None:
        """A request has got its model."""
        with self._lock:
            self._counts["wait_seconds_total"] += seconds

    def handled(self, model: str, seconds: float) -> None:
        """The handler came back."""
        with self._lock:
            self._counts[labelled("handler_seconds_total", model=model)] += seconds

    def loaded(self, trace: Trace) -> None:
        """A load ended, well or not."""
        with self._lock:
            self._counts[labelled("loads_total", model=trace.model, kind=trace.kind, outcome=trace.outcome)] += 1
            for phase in trace.phases:
                self._counts[labelled("load_seconds_total", phase=phase.name)] += phase.seconds
            for name in _MOVED:
                self._counts[f"{name}_total"] += getattr(trace, name)

    def gauges(self, read: Gauges) -> None:
        """From now on show what `read` gives too."""
        self._gauges.append(read)

    def values(self) -> Mapping[str, float]:
        """All of them by name, with labels in braces where there are some."""
        with self._lock:
            found = dict(sorted(self._counts.items()))
            buckets, seconds = list(self._buckets), self._seconds
        below = 0
        for bound, count in zip((*map(str, _BUCKETS), "+Inf"), buckets, strict=True):
            below += count
            found[labelled("request_seconds_bucket", le=bound)] = below
        found |= {"request_seconds_sum": seconds, "request_seconds_count": below}
        for read in self._gauges:
            found |= dict(read())
        return found | {"start_time_seconds": self._began}

    def text(self) -> str:
        """The exposition format of Prometheus."""
        return exposition("hoist_function", _HELP, self.values())
