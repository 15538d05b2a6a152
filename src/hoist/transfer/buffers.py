"""Memory that many files share while they are sent: bounded, and used again, as new pages cost as much as hashing them."""

from __future__ import annotations

import mmap
from threading import Condition, Event

from hoist.errors import Cancelled

_LOOK_SECONDS = 0.2


class Buffers:
    """Hands out buffers of at most `limit` bytes together; one that is larger than that is handed out alone."""

    def __init__(self, limit: int, stop: Event) -> None:
        self._limit = limit
        self._stop = stop
        self._changed = Condition()
        self._in_use = 0
        self._free: list[mmap.mmap] = []

    def take(self, size: int) -> mmap.mmap:
        """A buffer of `size` bytes at least; waits for one. Raises Cancelled."""
        with self._changed:
            while self._in_use and self._in_use + size > self._limit:
                self._changed.wait(_LOOK_SECONDS)
                if self._stop.is_set():
                    raise Cancelled("the publish was cancelled")
            found = next((index for index, buffer in enumerate(self._free) if len(buffer) >= size), None)
            if found is not None and self._in_use + len(self._free[found]) <= max(self._limit, size):
                buffer = self._free.pop(found)
            else:
                while self._free and self._in_use + sum(map(len, self._free)) + size > self._limit:
                    self._free.pop()
                buffer = mmap.mmap(-1, size)
            self._in_use += len(buffer)
            return buffer

    def give(self, buffer: mmap.mmap) -> None:
        """Hand a buffer back."""
        with self._changed:
            self._in_use -= len(buffer)
            self._free.append(buffer)
            self._changed.notify_all()

    def forget(self, buffer: mmap.mmap) -> None:
        """Count a buffer no longer, and never hand it out again."""
        with self._changed:
            self._in_use -= len(buffer)
            self._changed.notify_all()
