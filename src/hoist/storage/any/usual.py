"""How long what is asked of a member usually takes, and so how long is too long."""

from __future__ import annotations

from collections import deque
from threading import Lock

# Until there are this many samples, nothing is known of what is usual.
_FEW = 4
_SAMPLES = 64
_KEPT_FOR = 8
_FACTOR, _LOST_FACTOR = 4.0, 16.0
LEAST_SECONDS = 1.0


class Usual:
    """The last samples of size and time. Safe for many threads. Times of what was given up count too, so that a place
    where all has become slow is given more time at last."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._samples: deque[tuple[int, float]] = deque(maxlen=_SAMPLES)
        # By size; kept for some samples, as every read asks.
        self._answers: dict[int, float] = {}
        self._news = 0

    def took(self, size: int, seconds: float) -> None:
        """So many bytes took that long (0 for an answer that is small)."""
        with self._lock:
            self._samples.append((size, seconds))
            self._news += 1
            if self._news >= _KEPT_FOR or len(self._samples) <= _KEPT_FOR:
                self._news = 0
                self._answers.clear()

    def too_long(self, size: int) -> float | None:
        """What is far beyond the usual for that size, at least a second; None while little is known."""
        with self._lock:
            usual = self._median(size)
        return None if usual is None else max(LEAST_SECONDS, _FACTOR * usual)

    def out_of_all_proportion(self, size: int, seconds: float) -> bool:
        """Whether that is so much more than the usual that once is enough."""
        with self._lock:
            usual = self._median(size)
        return usual is not None and seconds > _LOST_FACTOR * usual

    def _median(self, size: int) -> float | None:
        if len(self._samples) < _FEW:
            return None
        if size not in self._answers:
            # A larger one may take longer by as much; a smaller one may take as long.
            times = sorted(seconds * max(1.0, size / max(1, known)) for known, seconds in self._samples)
            self._answers[size] = times[len(times) // 2]
        return self._answers[size]
