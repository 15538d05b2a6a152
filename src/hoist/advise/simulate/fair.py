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

    Whoever changes `counts` or caps calls `reshare` afterwards, and `advance` before, so that clocks run at the rates that
    held until then. `level` is what a flow without a cap has now.
    """

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.caps: list[float] = []
        self.counts: list[int] = []
        self.rates: list[float] = []
        self.clocks: list[float] = []
        self.level = inf
        self.total = 0.0
        self.now = 0.0
        self._by_cap: list[int] = []

    def open(self, cap: float) -> int:
        """A new class without flows; its number."""
        number = len(self.caps)
        self.caps.append(cap)
        self.counts.append(0)
        self.rates.append(0.0)
        self.clocks.append(0.0)
        self._by_cap.append(number)
        self._sort()
        return number

    def set_cap(self, number: int, cap: float) -> None:
        """Change the cap of a class."""
        if self.caps[number] != cap:
            self.caps[number] = cap
            self._sort()

    def _sort(self) -> None:
        self._by_cap.sort(key=self.caps.__getitem__)

    def advance(self, now: float) -> None:
        """Run the clocks up to `now`."""
        passed = now - self.now
        if passed > 0:
            clocks, rates, counts = self.clocks, self.rates, self.counts
            for number, count in enumerate(counts):
                if count:
                    clocks[number] += rates[number] * passed
            self.now = now

    def reshare(self) -> None:
        """Share anew: classes with small caps get them, and what they leave is shared alike by the others."""
        left, counts, caps, rates = self.capacity, self.counts, self.caps, self.rates
        if len(counts) == 1 and counts[0]:
            # As below; most fleets are of one class.
            share, cap = left / counts[0], caps[0]
            capped = cap <= share
            self.level = inf if capped else share
            rates[0] = cap if capped else share
            self.total = rates[0] * counts[0]
            return
        flows = sum(counts)
        self.level = inf
        total = 0.0
        for number in self._by_cap:
            count = counts[number]
            if not count:
                rates[number] = 0.0
                continue
            rate = self.level
            if rate == inf:
                share, cap = left / flows, caps[number]
                if cap <= share:
                    rate = cap
                    left -= cap * count
                    flows -= count
                else:
                    rate = self.level = share
            rates[number] = rate
            total += rate * count
        self.total = total


class Queue:
    """The flows of one class in the order in which they will be done, with the marks of its clock at which they are.

    Also what else waits for a clock to reach a mark. One that was dropped stays in the heap until it comes up.
    """

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
