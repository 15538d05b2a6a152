"""How long to wait for a server before asking a second time, learned from how long it usually takes."""

from __future__ import annotations

from collections import deque
from threading import Lock

# Until there are this many samples, nothing is known of what is usual.
_FEW = 8
_SAMPLES = 64
_FIRST_SECONDS = 2.0
_LEAST_SECONDS = 0.25
# A wait this many times the 95th percentile is no ordinary one.
_FACTOR = 4.0
# A body that comes at less than this part of the usual rate counts as slow.
_SLOW = 1 / 8
# Second requests at most: a few at the start, then one for every twenty requests. A busy server must not get busier.
_FREE_HEDGES = 4
_HEDGE_EVERY = 20


class Patience:
    """What one client has learned of its server. Safe for many threads.

    `free` second requests may be sent at once, and one more for every `every` requests.
    """

    def __init__(self, free: int = _FREE_HEDGES, every: int = _HEDGE_EVERY) -> None:
        self._free, self._every = free, every
        self._lock = Lock()
        self._waits: deque[float] = deque(maxlen=_SAMPLES)
        self._rates: deque[float] = deque(maxlen=_SAMPLES)
        self._requests = 0
        self.hedges = 0

    def seconds(self, longest: float) -> float:
        """How long a wait is still usual, at most `longest`."""
        with self._lock:
            if len(self._waits) < _FEW:
                return min(_FIRST_SECONDS, longest)
            usual = sorted(self._waits)[int(0.95 * (len(self._waits) - 1))]
        return min(max(_LEAST_SECONDS, _FACTOR * usual), longest)

    def usual_wait(self) -> float | None:
        """The median time to a first byte, of late; None while nothing is known."""
        with self._lock:
            return sorted(self._waits)[len(self._waits) // 2] if self._waits else None

    def is_slow(self, size: int, seconds: float) -> bool:
        """Whether `size` bytes in `seconds` is far less than what this server usually gives to one connection."""
        with self._lock:
            if len(self._rates) < _FEW:
                return False
            usual = sorted(self._rates)[len(self._rates) // 2]
        return size < _SLOW * usual * seconds

    def answered(self, seconds: float) -> None:
        """A first byte came after that long."""
        with self._lock:
            self._waits.append(seconds)
            self._requests += 1

    def received(self, size: int, seconds: float) -> None:
        """A whole body came in that time."""
        with self._lock:
            self._rates.append(size / max(seconds, 1e-6))

    def may_hedge(self) -> bool:
        """Whether one more second request is within the budget; if so, it is spent."""
        with self._lock:
            if self.hedges >= self._free + self._requests // self._every:
                return False
            self.hedges += 1
            return True
