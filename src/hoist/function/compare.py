"""Two traces beside each other, phase by phase. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from hoist.function.trace import PHASES, Phase, Trace

TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Compared:
    """One phase of two traces, or all of each (`total`); None where a trace does not have it."""

    name: str
    before: Phase | None
    after: Phase | None

    @property
    def ratio(self) -> float | None:
        """How many times the seconds of `before` the phase took in `after`; None where that says nothing."""
        if self.before is None or self.after is None:
            return None
        return _ratio(self.before.seconds, self.after.seconds)

    @property
    def bandwidth_ratio(self) -> float | None:
        """How many times the bandwidth of `before` it had in `after`; None where one of them moved nothing."""
        if self.before is None or self.after is None:
            return None
        return _ratio(self.before.bytes_per_second, self.after.bytes_per_second)


def compare(before: Trace, after: Trace) -> tuple[Compared, ...]:
    """Each phase that one of them has, in the order of `PHASES`, and last the `total`.

    The total's bytes are those that came from the storage or the host cache.
    """
    phases = [{phase.name: phase for phase in trace.phases} for trace in (before, after)]
    found = [Compared(name, *(each.get(name) for each in phases)) for name in PHASES]
    return (*(each for each in found if each.before or each.after), Compared(TOTAL, _total(before), _total(after)))


def _total(trace: Trace) -> Phase:
    return Phase(TOTAL, 0.0, trace.seconds, trace.seconds, trace.fetched_bytes)


def _ratio(before: float | None, after: float | None) -> float | None:
    # A time too short to divide by has an endless bandwidth, which is no times another.
    return after / before if before and after is not None and isfinite(before) else None
