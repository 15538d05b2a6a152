"""How the bytes of a publish came to where they are."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import Literal

from hoist.progress import Progress

How = Literal["sent", "resumed", "copied"]


class Moved:
    """Counts bytes from any thread, and tells the progress of them.

    `sent`; `resumed`: an earlier run had sent them; `copied`: inside the storage.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = Lock()
        self._bytes: Counter[How] = Counter()

    def __getitem__(self, how: How) -> int:
        return self._bytes[how]

    def advance(self, count: int) -> None:
        """Tell of bytes on their way that are not counted yet; negative: they have to go once more."""
        self._progress.advance(count)

    def count(self, how: How, count: int, *, told: int = 0) -> None:
        """Count bytes, of which the progress knows `told` already; negative: they are taken back."""
        with self._lock:
            self._bytes[how] += count
        self._progress.advance(count - told)
