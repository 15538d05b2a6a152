"""Progress on standard error: bars on a terminal, now and then a line elsewhere, nothing if that is wanted."""

from __future__ import annotations

import sys
import time
from threading import Lock
from typing import Self

from hoist.cli.text import printable, show_rate, show_seconds, show_share, show_size
from hoist.progress import Progress

_EVERY_SECONDS = 5.0


class Reporter(Progress):
    """Progress that is closed at the end, also by an error. This one is silent."""

    def close(self) -> None:
        """Leave the terminal as it was."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Lines(Reporter):
    """For logs: a line every few seconds, and one at the end of a phase."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._phase = ""
        self._total = self._done = 0
        self._began = self._told = 0.0

    def begin(self, phase: str, total_bytes: int) -> None:
        with self._lock:
            self._phase, self._total, self._done = phase, total_bytes, 0
            self._began = self._told = time.monotonic()

    def advance(self, count: int) -> None:
        now = time.monotonic()
        with self._lock:
            self._done += count
            if now - self._told < _EVERY_SECONDS:
                return
            self._told = now
            rate = self._done / (now - self._began)
            left = show_seconds(max(0, self._total - self._done) / rate, whole=True) if rate else "?"
            self._say(f"{show_share(self._done, self._total)}, {show_size(rate)}/s, {left} left")

    def end(self) -> None:
        took = time.monotonic() - self._began
        with self._lock:
            self._say(f"{show_size(self._done)} in {show_seconds(took)}, {show_rate(self._done, took)}")

    def _say(self, what: str) -> None:
        print(printable(f"{self._phase}: {what}"), file=sys.stderr, flush=True)


def make_reporter(quiet: bool) -> Reporter:
    """What suits standard error. rich is imported only for a terminal."""
    if quiet:
        return Reporter()
    if sys.stderr.isatty():
        from hoist.cli.bars import Bars, terminal

        console = terminal()
        if console is not None:
            return Bars(console)
    return Lines()
