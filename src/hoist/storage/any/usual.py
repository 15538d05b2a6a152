"""How long what is asked of a member usually takes, and so how long is too long."""

from __future__ import annotations

from collections import deque
from threading import Lock

# Until there are this many samples, nothing is known of what is usual.
_FEW = 4
_SAMPLES = 64
_FACTOR = 4.0
LEAST_SECONDS = 1.0


class Usual:
    """The last samples of size and time. Safe for many threads. Times of what was given up count too, so that a place
    where all has become slow is given more time at last."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._samples: deque[tuple[int, float]] = deque(maxlen=_SAMPLES)

    def took(self, size: int, seconds: float) -> None:
        """So many bytes took that long (0 for an answer that is small)."""
        with self._lock:
            self._samples.append((size, seconds))

    def too_long(self, size: int) -> float | None:
        """What is far beyond the usual for that size, at least a second; None while little is known."""
        with self._lock:
            if len(self._samples) < _FEW:
                return None
            # A larger one may take longer by as much; a smaller one may take as long.
            times = sorted(seconds * max(1.0, size / max(1, known)) for known, seconds in self._samples)
        return max(LEAST_SECONDS, _FACTOR * times[len(times) // 2])
