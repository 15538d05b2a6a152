"""What became of each load: the last traces, and where else they go."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from hoist.function.trace import DONE, Trace
from hoist.function.trace_file import append_traces

log = logging.getLogger("hoist.function")
_KEPT = 200


class Journal:
    """Keeps the last traces, appends each to `file` as a line of JSON, and hands it to each of `listeners`.

    Safe for many threads. Raises LocalError, PermissionDenied where the file cannot be written; what goes wrong later is
    logged once.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._lock = Lock()
        self._kept: deque[Trace] = deque(maxlen=_KEPT)
        self.listeners: list[Callable[[Trace], object]] = []
        self._failed: set[str] = set()
        self._file = file
        if file is not None:
            append_traces(file, ())

    def note(self, trace: Trace) -> None:
        """A load ended. Raises nothing: no load fails because nobody could be told of it."""
        if trace.outcome == DONE:
            log.info("%s of %s: %.2f s, %d bytes fetched", trace.kind, trace.model, trace.seconds, trace.fetched_bytes)
        else:
            log.warning("%s of %s %s: %s", trace.kind, trace.model, trace.outcome, trace.error or "no reason")
        with self._lock:
            self._kept.append(trace)
            if self._file is not None:
                file = self._file
                self._guarded("the trace file", lambda: append_traces(file, (trace,)))
        for tell in self.listeners:
            self._guarded("a listener of traces", lambda tell=tell: tell(trace))  # type: ignore[misc]

    def _guarded(self, what: str, function: Callable[[], object]) -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001 see `note`
            if what not in self._failed:
                self._failed.add(what)
                log.warning("%s fails, and is not spoken of again: %s: %s", what, type(error).__name__, error)

    def last(self, count: int = 1) -> list[Trace]:
        """The newest traces, newest first."""
        with self._lock:
            return list(reversed(self._kept))[:count]

    def find(self, identity: str) -> Trace | None:
        """The trace of that id, if it is still kept."""
        return next((trace for trace in self.last(_KEPT) if trace.id == identity), None)
