"""A circuit breaker: whether a member is worth asking. It knows nothing of storages, and its clock is given to it.

Closed: it is asked. Open: it has failed several times in a row, or has fallen silent, and rests; each rest is twice as long
as the last. When a rest is over, one probe may ask (half-open): if that is answered, the circuit closes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

State = Literal["closed", "open", "half-open"]

FAILURES = 3
FIRST_REST_SECONDS = 1.0
LONGEST_REST_SECONDS = 30.0
# One that fails again so soon after it came back rests for longer than before.
_TRUSTED_AFTER_SECONDS = 10.0


@dataclass(eq=False)
class Breaker:
    """Safe for many threads. `clock` gives seconds that only grow."""

    clock: Callable[[], float] = time.monotonic
    _lock: Lock = field(default_factory=Lock)
    _failures: int = 0
    _open_until: float | None = None
    _rest: float = FIRST_REST_SECONDS
    _closed_at: float = float("-inf")
    _probing: bool = False

    @property
    def closed(self) -> bool:
        """Whether it is to be asked like any other."""
        return self._open_until is None

    @property
    def state(self) -> State:
        """For people."""
        with self._lock:
            if self._open_until is None:
                return "closed"
            return "half-open" if self._probing or self.clock() >= self._open_until else "open"

    def rest_seconds(self) -> float:
        """For how long it is not even probed; 0 where it may be now, or is closed."""
        with self._lock:
            return 0.0 if self._open_until is None else max(0.0, self._open_until - self.clock())

    def succeeded(self) -> None:
        """It has answered: closes the circuit."""
        if self.closed and not self._failures:
            return
        with self._lock:
            self._close()

    def failed(self, *, at_once: bool = False, rest_seconds: float = 0.0) -> None:
        """It has failed: opens the circuit at the third time in a row, or `at_once`. `rest_seconds`: how long at least.

        What fails while it is open was under way before, or had no other choice: it says nothing new.
        """
        with self._lock:
            if self._open_until is not None:
                return
            self._failures += 1
            if not at_once and self._failures < FAILURES:
                return
            again = self.clock() - self._closed_at < _TRUSTED_AFTER_SECONDS
            self._open(self._longer() if again else FIRST_REST_SECONDS, rest_seconds)

    def take_probe(self) -> bool:
        """Whether the caller is the one to probe it now; it has to say `probed` afterwards."""
        if self.closed:
            return False
        with self._lock:
            until = self._open_until
            if until is None or self._probing or self.clock() < until:
                return False
            self._probing = True
            return True

    def probed(self, *, answered: bool) -> None:
        """How the probe ended."""
        with self._lock:
            self._probing = False
            if answered:
                self._close()
            elif self._open_until is not None:
                self._open(self._longer(), 0.0)

    def _longer(self) -> float:
        return min(2 * self._rest, LONGEST_REST_SECONDS)

    def _open(self, rest: float, least: float) -> None:
        self._rest = rest
        self._open_until = self.clock() + max(rest, min(least, LONGEST_REST_SECONDS))

    def _close(self) -> None:
        self._failures = 0
        if self._open_until is not None:
            self._open_until = None
            self._closed_at = self.clock()
