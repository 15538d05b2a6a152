"""A command that says whether a version is good where it stands: run by the shell, shown, and ended in time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Event

from hoist.errors import Cancelled, LocalError
from hoist.rollout.outcome import Checked

DEFAULT_SECONDS = 300.0
_LOOK_SECONDS = 0.05
_GRACE_SECONDS = 2.0
_STANDARD_ERROR = 2


@dataclass(frozen=True, slots=True)
class Check:
    """A command for `/bin/sh`, and how long it may take."""

    command: str
    timeout_seconds: float = DEFAULT_SECONDS

    def run(self, environ: Mapping[str, str], stop: Event) -> Checked:
        """Run it to its end. What it says goes to standard error. It and its children are ended when its time is over, by
        `stop`, and by any exception. Raises Cancelled, LocalError."""
        began = time.monotonic()
        try:
            # A group of its own: Ctrl-C is for Hoist alone, which ends the whole group.
            process = subprocess.Popen(
                ["/bin/sh", "-c", self.command],
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=_STANDARD_ERROR,
                stderr=_STANDARD_ERROR,
                start_new_session=True,
            )
        except OSError as error:
            raise LocalError(f"the check cannot be run: {error.strerror}") from None
        try:
            while process.poll() is None:
                if stop.is_set():
                    raise Cancelled("cancelled")
                if time.monotonic() - began > self.timeout_seconds:
                    return Checked(None, time.monotonic() - began)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_LOOK_SECONDS)
            return Checked(process.returncode, time.monotonic() - began)
        finally:
            if process.poll() is None:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command with all that it has started: asked first, then not."""
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
