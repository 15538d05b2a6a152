"""Looking again and again, and remembering what was seen last, for who asks over HTTP."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event, Lock

from hoist.expose import labelled
from hoist.status.document import FORMAT, document
from hoist.status.metrics import text, values
from hoist.status.run import Observer
from hoist.status.state import Problem, Status

INTERVAL_SECONDS = 30.0
# A look that takes so much longer than it may does not come back.
_STALLED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Past:
    """How many problems a storage had so far, the last one, and when it was seen, in seconds since the epoch."""

    storage: str
    count: int
    last: Problem
    at: float


class Watch:
    """Looks at storages every `interval_seconds`, from begin to begin, and is a provider for a `StatusService`."""

    def __init__(self, observer: Observer, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._observer = observer
        self._interval = interval_seconds
        self._lock = Lock()
        self._status: Status | None = None
        self._looks = 0
        self._errors: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._past: dict[str, Past] = {}
        self._began = time.time()
        self._due = time.monotonic()

    def look(self, stop: Event | None = None) -> Status:
        """Look now, and remember it; setting `stop` ends it early."""
        status = self._observer.look(stop)
        with self._lock:
            self._status = status
            self._looks += 1
            for storage in status.storages:
                for problem in storage.problems:
                    self._errors[storage.address, problem.kind] += 1
                    before = self._past.get(storage.address)
                    count = before.count + 1 if before else 1
                    self._past[storage.address] = Past(storage.address, count, problem, status.at)
        return status

    def rest(self, stop: Event) -> bool:
        """Wait until the next look is due, or `stop` is set; whether to go on."""
        self._due = max(self._due + self._interval, time.monotonic())
        return not stop.wait(self._due - time.monotonic())

    def past(self) -> list[Past]:
        """What went wrong so far, by storage."""
        with self._lock:
            return [self._past[address] for address in sorted(self._past)]

    def status(self) -> Mapping[str, object]:
        """The document of the last look, with how often each storage had problems so far, and its last one."""
        with self._lock:
            status, looks = self._status, self._looks
            errors, past = dict(self._errors), dict(self._past)
        if status is None:
            return {"format": FORMAT, "storages": [], "looks": 0, "began": self._began}
        found = document(status)
        for storage, shown in zip(status.storages, found["storages"], strict=True):  # type: ignore[call-overload]
            shown["errors"] = {kind: count for (address, kind), count in errors.items() if address == storage.address}
            known = past.get(storage.address)
            shown["last_error"] = known and {"kind": known.last.kind, "message": known.last.message, "at": known.at}
        return {**found, "looks": looks, "began": self._began}

    def metrics(self) -> str:
        """The same for Prometheus."""
        with self._lock:
            status, looks = self._status, self._looks
            found = {
                labelled("errors_total", storage=address, kind=kind): float(count)
                for (address, kind), count in sorted(self._errors.items())
            }
        if status is not None:
            found = dict(values(status)) | found
        return text(found | {"looks_total": float(looks), "start_time_seconds": self._began})

    def unhealthy(self) -> str:
        """Why this process should be started again: nothing was looked at for much longer than it should be."""
        with self._lock:
            since = time.time() - (self._status.at + self._status.seconds if self._status else self._began)
        if since > 2 * self._interval + _STALLED_SECONDS:
            return f"nothing was looked at for {since:.0f} s"
        return ""
