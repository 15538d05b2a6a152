"""A cap on bandwidth, shared by everything in this process that is told of the same cap."""

from __future__ import annotations

import time
from functools import lru_cache
from threading import Event, Lock

# What may be moved at once after a time of idleness, in seconds of the cap.
_BURST_SECONDS = 0.1


class Pace:
    """Lets `bytes_per_second` through on average. Safe for many threads."""

    def __init__(self, bytes_per_second: int) -> None:
        self.bytes_per_second = bytes_per_second
        self._lock = Lock()
        self._free_at = time.monotonic()

    def take(self, count: int, stop: Event | None = None) -> None:
        """Wait until `count` bytes may be moved, or `stop` is set. Those who come first go first."""
        with self._lock:
            now = time.monotonic()
            turn = max(self._free_at, now - _BURST_SECONDS)
            self._free_at = turn + count / self.bytes_per_second
        wait = turn - now
        if wait <= 0:
            return
        if stop is not None:
            stop.wait(wait)
        else:
            time.sleep(wait)


@lru_cache
def pace_of(bytes_per_second: int) -> Pace:
    """The one pace of this process for that cap: two loads under it share it."""
    return Pace(bytes_per_second)
