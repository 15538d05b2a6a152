"""What brings bytes to instances: here a storage that each reads for itself."""

from __future__ import annotations

from array import array
from math import inf
from typing import Protocol

from hoist.advise.simulate.fair import Queue, Shares


class Medium(Protocol):
    """Flows by number. Each call says what time it is, and no call goes back.

    `curve` is what all have read over time, `origin_curve` what its origin gave, where it has one.
    """

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

    def due(self) -> float:
        """When something happens by itself; inf: never."""
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


class Classes:
    """The flows behind one capacity, a queue for each cap that occurs: what both media are made of."""

    def __init__(self, capacity: float) -> None:
        self.shares = Shares(capacity)
        self.queues: list[Queue] = []
        self._by_cap: dict[float, int] = {}

    def number(self, cap: float) -> int:
        """The class of that cap, made if need be."""
        found = self._by_cap.get(cap)
        if found is None:
            found = self._by_cap[cap] = self.open(cap)
        return found

    def open(self, cap: float) -> int:
        """One more class, which `number` does not find."""
        number = self.shares.open(cap)
        self.queues.append(Queue())
        return number

    def first(self) -> tuple[float, int]:
        """The seconds until the first of all flows is done, and its class."""
        soonest, which = inf, -1
        shares = self.shares
        rates, clocks = shares.rates, shares.clocks
        for number, queue in enumerate(self.queues):
            if shares.counts[number]:
                mark = queue.first()
                if mark < inf:
                    rate = rates[number]
                    after = (mark - clocks[number]) / rate if rate else inf
                    if after < soonest or which < 0:
                        soonest, which = after, number
        return (soonest if soonest > 0 else 0.0), which


class Direct:
    """A storage behind one bandwidth, read by each instance for itself."""

    def __init__(self, capacity: float) -> None:
        self._sent = 0.0
        self._classes = Classes(capacity)
        self._shares = self._classes.shares
        self._of: dict[int, int] = {}
        self._due, self._cause = inf, -1
        self.curve = Curve()
        # It is its own origin.
        self.origin_curve = None

    @property
    def origin_bytes(self) -> float:
        """What readers were given, and are about to be."""
        return self._sent

    def enter(self, now: float, flow: int, size: float, model: int, cap: float) -> None:
        """Begin; it takes its place among those of its cap."""
        self._shares.advance(now)
        self._add(flow, size, cap)
        self._sent += size
        self._plan()

    def leave(self, now: float, flow: int) -> float:
        """Give up."""
        self._shares.advance(now)
        left = self._drop(flow)
        self._sent -= left
        self._plan()
        return left

    def change(self, now: float, flow: int, cap: float) -> None:
        """Go over to those of another cap, with what is missing."""
        if self._classes.number(cap) != self._of[flow]:
            self._shares.advance(now)
            self._add(flow, self._drop(flow), cap)
            self._plan()

    def due(self) -> float:
        """When the next flow is done."""
        return self._due

    def take(self, now: float) -> list[int]:
        """Those that are done."""
        shares, queues = self._shares, self._classes.queues
        shares.advance(now)
        if self._cause >= 0:
            # Rounding must not leave it a hair before its end.
            shares.clocks[self._cause] = max(shares.clocks[self._cause], queues[self._cause].first())
        done: list[int] = []
        for number, queue in enumerate(queues):
            if shares.counts[number]:
                taken = queue.take(shares.clocks[number])
                if taken:
                    shares.counts[number] -= len(taken)
                    done += taken
        for flow in done:
            del self._of[flow]
        self._plan()
        return done

    def _add(self, flow: int, size: float, cap: float) -> None:
        number = self._of[flow] = self._classes.number(cap)
        self._shares.counts[number] += 1
        self._classes.queues[number].add(flow, self._shares.clocks[number] + size)

    def _drop(self, flow: int) -> float:
        number = self._of.pop(flow)
        self._shares.counts[number] -= 1
        return max(0.0, self._classes.queues[number].drop(flow) - self._shares.clocks[number])

    def _plan(self) -> None:
        shares = self._shares
        shares.reshare()
        after, self._cause = self._classes.first()
        self._due = shares.now + after
        self.curve.note(shares.now, shares.total)
