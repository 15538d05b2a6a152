"""Ctrl-C ends a command soon, whatever its threads and native calls are doing.

Python runs its own handler only between two steps of the main thread. While that thread waits in a library (for a store
that does not answer), a watching thread hears of the signal by a pipe and ends the process after a short grace. A
second Ctrl-C ends it at once. Nothing is lost by that: publish and pull resume after any kill.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from typing import Self

_CANCELLED = 130
_GRACE_SECONDS = 3.0
_SHOW_CURSOR = "\x1b[?25h"


class Interruptible:
    """While it is entered, Ctrl-C ends the process within seconds with exit code 130 and one line, `farewell`."""

    def __init__(self, farewell: str) -> None:
        self._farewell = farewell
        self._lock = threading.Lock()
        self._said = False
        self._done = False

    def cancelled(self) -> None:
        """Say so, and let no later Ctrl-C interrupt the clean end; the watch hears it all the same."""
        signal.signal(signal.SIGINT, lambda *_: None)
        self._say_farewell()

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
            threading.Thread(target=self._watch, args=(hears,), name="hoist-interrupt", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        # The pipe stays open: after a Ctrl-C the watch goes on while Python waits for its threads to end.
        self._done = True

    def _watch(self, hears: int) -> None:
        while signal.SIGINT not in os.read(hears, 64):
            continue
        select.select([hears], [], [], _GRACE_SECONDS)
        if not self._done and sys.stderr.isatty():
            sys.stderr.write(_SHOW_CURSOR)
        self._say_farewell()
        os._exit(_CANCELLED)
