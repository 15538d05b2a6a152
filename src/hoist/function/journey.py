"""One model's way into memory, noted as it happens: what becomes a trace."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields

from hoist.function.states import Moved
from hoist.function.trace import Span, Trace, new_trace_id


@dataclass
class Journey:
    """Spans of one start, switch or prefetch; its clock starts when it is made. For one thread at a time."""

    model: str
    began: float = field(default_factory=time.time)
    spans: list[Span] = field(default_factory=list)
    moved: Moved = field(default_factory=Moved)
    _zero: float = field(default_factory=time.monotonic)
    _phase: str = ""
    _since: float = 0.0

    def now(self) -> float:
        """Seconds from its beginning."""
        return time.monotonic() - self._zero

    def queued(self) -> None:
        """What has passed since the last span, or since the beginning, was a wait."""
        last = max((span.end for span in self.spans), default=0.0)
        self._add("queue", last, self.now())

    def begin(self, phase: str) -> None:
        """A phase begins, and the one before it ends; "" ends that only."""
        now = self.now()
        if self._phase:
            self._add(self._phase, self._since, now)
        self._phase, self._since = phase, now

    @contextmanager
    def phase(self, phase: str, note: str = "") -> Iterator[None]:
        """A `with` block that is one phase."""
        began = self.now()
        try:
            yield
        finally:
            self._add(phase, began, self.now(), note)

    def add(self, moved: Moved) -> None:
        """What one step of it moved. What the first step brought, a later one reuses: that is no reuse of the whole."""
        if self.moved.size_bytes:
            moved = Moved(*(max(getattr(self.moved, f.name), getattr(moved, f.name)) for f in fields(Moved)))
            moved = Moved(
                moved.size_bytes,
                moved.fetched_bytes,
                self.moved.host_reused_bytes,
                moved.device_copied_bytes,
                moved.device_reused_bytes,
            )
        self.moved = moved

    def trace(self, kind: str, device: str, version: str, storage_kind: str, outcome: str, error: str) -> Trace:
        """All of it, ended now."""
        self.begin("")
        bytes_of = {"fetch": self.moved.fetched_bytes, "transfer": self.moved.device_copied_bytes}
        spans = [span for span in self.spans if span.end - span.begin > 0 or span.phase in bytes_of]
        for phase, moved in bytes_of.items():
            # The whole of a phase's bytes stands at its longest span.
            longest = max((span for span in spans if span.phase == phase), key=lambda span: span.seconds, default=None)
            if longest is not None and moved:
                at = spans.index(longest)
                spans[at] = Span(phase, longest.begin, longest.end, moved, longest.note)
        return Trace(
            id=new_trace_id(),
            model=self.model,
            kind=kind,
            began=self.began,
            spans=tuple(sorted(spans, key=lambda span: (span.begin, span.end))),
            outcome=outcome,
            error=error,
            version=version,
            storage_kind=storage_kind,
            device=device,
            **{f.name: getattr(self.moved, f.name) for f in fields(Moved)},
        )

    def _add(self, phase: str, begin: float, end: float, note: str = "") -> None:
        with suppress(ValueError):
            self.spans.append(Span(phase, begin, max(begin, end), 0, note))
