"""Max-min fair shares of one capacity, kept up to date at a cost that does not grow with the number of flows.

Flows with one cap form a class: at any time all of them have one rate, so a class needs a single clock, the bytes that
each of its flows has been given since the clock began. A flow of `size` bytes that begins when the clock says C is done
when it says C + size, whatever happens to the rates in between: its place in a queue never changes. A flow that comes or
goes costs one step over the classes, of which there are few (the distinct caps), and its own place in a heap.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf


class Shares:
    """The classes behind one `capacity` (bytes a second; inf: none). `counts`, `rates` and `clocks` are by class.

    Flows that have a mark are added and dropped here; of others their owner changes `counts`. Whoever changes something
    calls `advance` before, so that clocks run at the rates that held until then, and `plan` afterwards. `level` is what a
    flow without a cap has now, `total` what all have; in `soonest` seconds a flow of class `which` reaches its mark.
    """

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.caps: list[float] = []
        self.counts: list[int] = []
        self.rates: list[float] = []
        self.clocks: list[float] = []
        self.level = self.soonest = inf
        self.total = self.now = 0.0
        self.which = -1
        # By class too: a flow may have the same mark in the class that it left.
        self._marks: list[dict[int, float]] = []
        self._heaps: list[list[tuple[float, int]]] = []
        self._by_cap: list[int] = []

    def open(self, cap: float) -> int:
        """A new class without flows; its number."""
        number = len(self.caps)
        self.caps.append(cap)
        self.counts.append(0)
        self.rates.append(0.0)
        self.clocks.append(0.0)
        self._marks.append({})
        self._heaps.append([])
        self._by_cap.append(number)
        self._by_cap.sort(key=self.caps.__getitem__)
        return number

    def set_cap(self, number: int, cap: float) -> None:
        """Change the cap of a class."""
        if self.caps[number] != cap:
            self.caps[number] = cap
            self._by_cap.sort(key=self.caps.__getitem__)

    def add(self, number: int, flow: int, size: float) -> None:
        """A flow of that class begins, with so many bytes before it."""
        mark = self._marks[number][flow] = self.clocks[number] + size
        heappush(self._heaps[number], (mark, flow))
        self.counts[number] += 1

    def drop(self, number: int, flow: int) -> float:
        """A flow of that class ends before its mark; the bytes that it has not got."""
        self.counts[number] -= 1
        return max(0.0, self._marks[number].pop(flow) - self.clocks[number])

    def advance(self, now: float) -> None:
        """Run the clocks up to `now`."""
        passed = now - self.now
        if passed > 0:
            clocks, rates = self.clocks, self.rates
            for number, count in enumerate(self.counts):
                if count:
                    clocks[number] += rates[number] * passed
            self.now = now

    def plan(self) -> None:
        """Share anew: classes with small caps get them, and what they leave is shared alike by the others."""
        left, caps, counts, rates = self.capacity, self.caps, self.counts, self.rates
        flows = sum(counts)
        level = soonest = inf
        total, which = 0.0, -1
        for number in self._by_cap:
            count = counts[number]
            if not count:
                rates[number] = 0.0
                continue
            rate = level
            if level == inf:
                share, rate = left / flows, caps[number]
                if rate <= share:
                    left -= rate * count
                    flows -= count
                else:
                    rate = level = share
            rates[number] = rate
            total += rate * count
            heap, marks = self._heaps[number], self._marks[number]
            while heap:
                mark, flow = heap[0]
                if marks.get(flow) == mark:
                    after = (mark - self.clocks[number]) / rate
                    if after < soonest:
                        soonest, which = after, number
                    break
                # It was dropped, and perhaps added again elsewhere.
                heappop(heap)
        self.level, self.total, self.which = level, total, which
        self.soonest = soonest if soonest > 0 else 0.0

    def take(self, sure: bool) -> list[int]:
        """The flows that have reached their marks, taken out. `sure`: one of `which` has, whatever rounding made of it."""
        counts, clocks = self.counts, self.clocks
        taken = []
        for number, heap in enumerate(self._heaps):
            if not counts[number] or not heap:
                continue
            if sure and number == self.which and heap[0][0] > clocks[number]:
                clocks[number] = heap[0][0]
            clock, marks = clocks[number], self._marks[number]
            while heap and heap[0][0] <= clock:
                mark, flow = heappop(heap)
                if marks.get(flow) == mark:
                    del marks[flow]
                    counts[number] -= 1
                    taken.append(flow)
        return taken


class Queue:
    """Who waits for a clock to reach which mark, in order. One that was dropped stays in the heap until it comes up."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self.marks: dict[int, float] = {}

    def add(self, flow: int, mark: float) -> None:
        """Have `flow` wait for `mark`."""
        self.marks[flow] = mark
        heappush(self._heap, (mark, flow))

    def drop(self, flow: int) -> float:
        """Take `flow` out; the mark that it waited for."""
        return self.marks.pop(flow)

    def first(self) -> float:
        """The next mark; inf if nobody waits."""
        heap, marks = self._heap, self.marks
        while heap:
            mark, flow = heap[0]
            if marks.get(flow) == mark:
                return mark
            heappop(heap)
        return inf

    def take(self, mark: float) -> list[int]:
        """All whose mark is `mark` or lower, taken out, in order."""
        heap, marks = self._heap, self.marks
        taken = []
        while heap and heap[0][0] <= mark:
            own, flow = heappop(heap)
            if marks.get(flow) == own:
                del marks[flow]
                taken.append(flow)
        return taken
