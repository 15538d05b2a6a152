"""What a mount does, in numbers, and as Prometheus reads them."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock

from hoist.expose import exposition

_HELP = {
    "operations_total": ("counter", "requests of the kernel, by kind"),
    "operation_seconds_total": ("counter", "time from a request to its answer, by kind"),
    "errors_total": ("counter", "requests answered with an error other than 'no such file', by kind"),
    "read_bytes_total": ("counter", "bytes given to readers by the daemon; reads that pass it are not seen"),
    "storage_requests_total": ("counter", "requests to storages, by operation"),
    "storage_seconds_total": ("counter", "time of requests to storages, by operation"),
    "first_byte_seconds": ("gauge", "median time to the first byte of a ranged read, where the storage tells it"),
    "storage_bytes_total": ("counter", "verified bytes fetched from storages"),
    "cache_hits_total": ("counter", "reads whose blocks were here"),
    "cache_misses_total": ("counter", "reads that had to wait for a storage"),
    "passthrough_opens_total": ("counter", "opens that were handed to the kernel with the whole file"),
    "prefetch_resets_total": ("counter", "times that a reader went elsewhere, and the prefetch with it"),
    "evictions_total": ("counter", "blocks that had to leave memory for others"),
    "memory_bytes": ("gauge", "memory of the daemon, without what is in the page cache anyway"),
    "block_memory_bytes": ("gauge", "blocks held in memory"),
    "waiting": ("gauge", "requests that wait for a storage"),
    "start_time_seconds": ("gauge", "when the mount began, in seconds since the epoch"),
}


class Metrics:
    """Counters of one mount. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: defaultdict[str, float] = defaultdict(float)
        self._labelled: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._gauges: dict[str, Callable[[], float | None]] = {"memory_bytes": _resident}
        self._began = time.time()

    def operation(self, kind: str, seconds: float, *, failed: bool = False) -> None:
        """A request of the kernel was answered."""
        with self._lock:
            self._labelled["operations_total", kind] += 1
            self._labelled["operation_seconds_total", kind] += seconds
            if failed:
                self._labelled["errors_total", kind] += 1

    def asked_storage(self, operation: str, seconds: float) -> None:
        """A storage was asked."""
        with self._lock:
            self._labelled["storage_requests_total", operation] += 1
            self._labelled["storage_seconds_total", operation] += seconds

    def read(self, size: int, *, hit: bool) -> None:
        """A reader was given so many bytes."""
        with self._lock:
            self._counts["read_bytes_total"] += size
            self._counts["cache_hits_total" if hit else "cache_misses_total"] += 1

    def fetched(self, size: int) -> None:
        """So many bytes came from a storage."""
        with self._lock:
            self._counts["storage_bytes_total"] += size

    def count(self, what: str) -> None:
        """One more of `what`, a name here without its `_total`."""
        with self._lock:
            self._counts[f"{what}_total"] += 1

    def gauge(self, name: str, read: Callable[[], float | None]) -> None:
        """From now on show what `read` gives; nothing where that is None."""
        self._gauges[name] = read

    def values(self) -> Mapping[str, float]:
        """All of them by name, with the label in braces where there is one."""
        with self._lock:
            found: dict[str, float] = {name: self._counts[name] for name in _HELP if name in self._counts}
            labelled = dict(self._labelled)
        for (name, label), value in sorted(labelled.items()):
            found[f'{name}{{{_LABELS.get(name, "operation")}="{label}"}}'] = value
        found["start_time_seconds"] = self._began
        for name, read in self._gauges.items():
            shown = read()
            if shown is not None:
                found[name] = shown
        return found

    def text(self) -> str:
        """The exposition format of Prometheus."""
        zeros = {name: 0.0 for name, (kind, _) in _HELP.items() if kind == "counter" and name not in _LABELLED}
        return exposition("hoist_mount", _HELP, zeros | dict(self.values()), digits=10)


_LABELLED = (
    "operations_total",
    "operation_seconds_total",
    "errors_total",
    "storage_requests_total",
    "storage_seconds_total",
)
_LABELS = dict.fromkeys(_LABELLED, "operation")


def _resident() -> float | None:
    try:
        resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    except (OSError, ValueError):
        return None
    return float((resident - shared) * os.sysconf("SC_PAGE_SIZE"))
