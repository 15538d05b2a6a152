"""Calls at a time, from one thread."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread

Call = Callable[[], object]
_FEW = 64


def after(seconds: float) -> float:
    """The time in so many seconds."""
    return time.monotonic() + seconds


@dataclass(slots=True)
class Timer:
    """A call that has not been made; `cancel` it if it need not be."""

    when: float
    call: Call | None

    def cancel(self) -> None:
        """Do not call; one that is under way goes on."""
        self.call = None


class Timers:
    """Makes calls at their times, on the clock of `time.monotonic`. They must not raise, and must be quick.

    `at` and `soon` may be called anywhere, in a finalizer too.
    """

    def __init__(self) -> None:
        # Its put takes no lock that the same thread could hold when a finalizer runs.
        self._new: SimpleQueue[Timer | None] = SimpleQueue()
        self._heap: list[tuple[float, int, Timer]] = []
        self._thread = Thread(target=self._run, name="hoist-timers", daemon=True)
        self._thread.start()

    def at(self, when: float, call: Call) -> Timer:
        """Call at a time."""
        timer = Timer(when, call)
        self._new.put(timer)
        return timer

    def soon(self, call: Call) -> None:
        """Call from the timers' thread, as soon as it can."""
        self._new.put(Timer(0.0, call))

    def close(self) -> None:
        """Make no more calls."""
        self._new.put(None)

    def _run(self) -> None:
        heap = self._heap
        number = itertools.count()
        purge_at = _FEW
        while True:
            while heap and heap[0][0] <= time.monotonic():
                call = heapq.heappop(heap)[2].call
                if call is not None:
                    call()
            try:
                timer = self._new.get(timeout=max(0.0, heap[0][0] - time.monotonic()) if heap else None)
            except Empty:
                continue
            if timer is None:
                return
            heapq.heappush(heap, (timer.when, next(number), timer))
            # Most deadlines are never reached: those that are cancelled must not pile up.
            if len(heap) > purge_at:
                heap[:] = [entry for entry in heap if entry[2].call is not None]
                heapq.heapify(heap)
                purge_at = max(_FEW, 2 * len(heap))
