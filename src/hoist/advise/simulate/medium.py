"""What brings bytes to instances: here a storage that each reads for itself."""

from __future__ import annotations

from array import array
from math import inf
from typing import Protocol

from hoist.advise.simulate.fair import Shares


class Medium(Protocol):
    """Flows by number. Each call says what time it is, and no call goes back.

    `due` is when something happens by itself (inf: never); `curve` is what all have read over time, `origin_curve` what its
    origin gave, where it has one.
    """

    due: float
    curve: Curve

    @property
    def origin_curve(self) -> Curve | None:
        """What the origin gave."""
        ...

    @property
    def origin_bytes(self) -> float:
        """What has left the place where the bytes are."""
        ...

    def enter(self, now: float, flow: int, size: float, model: int, cap: float) -> None:
        """A flow begins: `size` bytes in all, of that model, at most `cap` bytes a second."""
        ...

    def leave(self, now: float, flow: int) -> float:
        """A flow is given up; the bytes that it had not got."""
        ...

    def change(self, now: float, flow: int, cap: float) -> None:
        """From now on the flow has another cap."""
        ...

    def take(self, now: float) -> list[int]:
        """Let what is due happen; the flows that are done."""
        ...


class Curve:
    """A rate over time: it is `rates[n]` from `times[n]` on."""

    def __init__(self) -> None:
        self.times = array("d")
        self.rates = array("d")

    def note(self, now: float, rate: float) -> None:
        """From now on it is this one."""
        times, rates = self.times, self.rates
        if rates and rates[-1] == rate:
            return
        if times and times[-1] == now:
            rates[-1] = rate
        else:
            times.append(now)
            rates.append(rate)


class Direct:
    """A storage behind one bandwidth, read by each instance for itself."""

    def __init__(self, capacity: float) -> None:
        self.due = inf
        self.curve = Curve()
        # It is its own origin.
        self.origin_curve = None
        self._sent = 0.0
        self._shares = Shares(capacity)
        self._by_cap: dict[float, int] = {}
        self._of: dict[int, int] = {}

    @property
    def origin_bytes(self) -> float:
        """What readers were given, and are about to be."""
        return self._sent

    def enter(self, now: float, flow: int, size: float, model: int, cap: float) -> None:
        """Begin; it takes its place among those of its cap."""
        self._shares.advance(now)
        number = self._of[flow] = self._number(cap)
        self._shares.add(number, flow, size)
        self._sent += size
        self._plan()

    def leave(self, now: float, flow: int) -> float:
        """Give up."""
        self._shares.advance(now)
        left = self._shares.drop(self._of.pop(flow), flow)
        self._sent -= left
        self._plan()
        return left

    def change(self, now: float, flow: int, cap: float) -> None:
        """Go over to those of another cap, with what is missing."""
        number, before = self._number(cap), self._of[flow]
        if number != before:
            self._shares.advance(now)
            self._of[flow] = number
            self._shares.add(number, flow, self._shares.drop(before, flow))
            self._plan()

    def take(self, now: float) -> list[int]:
        """Those that are done."""
        self._shares.advance(now)
        done = self._shares.take(sure=True)
        for flow in done:
            del self._of[flow]
        self._plan()
        return done

    def _number(self, cap: float) -> int:
        found = self._by_cap.get(cap)
        if found is None:
            found = self._by_cap[cap] = self._shares.open(cap)
        return found

    def _plan(self) -> None:
        shares = self._shares
        before = shares.total
        shares.plan()
        self.due = shares.now + shares.soonest
        if shares.total != before:
            self.curve.note(shares.now, shares.total)
