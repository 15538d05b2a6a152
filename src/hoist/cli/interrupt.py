"""Ctrl-C ends a command soon, whatever its threads and native calls are doing.

Python runs its own handler only between two steps of the main thread. While that thread waits in a library (for a store
that does not answer), a watching thread hears of the signal by a pipe and ends the process after a short grace. A
second Ctrl-C ends it at once. Nothing is lost by that: publish and pull resume after any kill.

SIGTERM ends a command where it is, but one that has mounts and servers of its own: there it works as Ctrl-C does.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Self

_CANCELLED, _TERMINATED = 130, 143
_GRACE_SECONDS = 3.0
_SHOW_CURSOR = "\x1b[?25h"


class Terminated(KeyboardInterrupt):
    """SIGTERM came to a command that has to put things in order before it ends."""


def end_by(
    heard: Callable[[int, object], object], signals: Iterable[signal.Signals] = (signal.SIGTERM, signal.SIGINT)
) -> None:
    """Let these signals call `heard`, as a verb's own way to end: no farewell, no grace, no other code."""
    signal.set_wakeup_fd(-1)
    for each in signals:
        signal.signal(each, heard)


class Interruptible:
    """While it is entered, Ctrl-C ends the process within seconds with exit code 130 and one line, `farewell`.

    `orderly`: so does SIGTERM, with 143.
    """

    def __init__(self, farewell: str, *, orderly: bool = False) -> None:
        self._farewell = farewell
        self._orderly = orderly
        self._lock = threading.Lock()
        self._said = False
        self._done = False

    def cancelled(self, by: KeyboardInterrupt) -> int:
        """Say so, and let no later Ctrl-C interrupt the clean end; the watch hears it all the same. The exit code."""
        signal.signal(signal.SIGINT, lambda *_: None)
        self._say_farewell()
        return _TERMINATED if isinstance(by, Terminated) else _CANCELLED

    def _terminate(self, *_: object) -> None:
        # Once: what is put in order then is not to be interrupted again.
        signal.signal(signal.SIGTERM, lambda *_: None)
        raise Terminated

    def _say_farewell(self) -> None:
        with self._lock:
            if not self._said:
                self._said = True
                print(self._farewell, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            hears, tells = os.pipe()
            os.set_blocking(tells, False)
            signal.set_wakeup_fd(tells, warn_on_full_buffer=False)
            if self._orderly:
                signal.signal(signal.SIGTERM, self._terminate)
            threading.Thread(target=self._watch, args=(hears,), name="hoist-interrupt", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        # The pipe stays open: after a Ctrl-C the watch goes on while Python waits for its threads to end.
        self._done = True

    def _watch(self, hears: int) -> None:
        while not (heard := {signal.SIGINT, signal.SIGTERM}.intersection(os.read(hears, 64))):
            continue
        select.select([hears], [], [], _GRACE_SECONDS)
        if not self._done and sys.stderr.isatty():
            sys.stderr.write(_SHOW_CURSOR)
        self._say_farewell()
        os._exit(_CANCELLED if signal.SIGINT in heard else _TERMINATED)
