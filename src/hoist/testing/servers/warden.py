"""Runs as a process of its own: ends a server's processes once the Python that started them is gone.

Started by `children.py` as `python -I -S warden.py FOLDER`. Standard input carries one process id a line, and
its end, which the kernel brings about however the parent ends, is the signal to act: every process group still
there is killed, and FOLDER is removed.

Why not PR_SET_PDEATHSIG: it fires when the starting *thread* ends, so a server started in a pool's thread would
die with that thread; and it needs code between fork and exec, which is unsafe with threads.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
from contextlib import suppress

_KILLED_WITHIN_MS = 5000


def main(folder: str) -> None:
    """Note the processes named on standard input; at its end kill what is left of them and remove `folder`."""
    watched: dict[int, int] = {}
    for line in sys.stdin:
        with suppress(ProcessLookupError):
            watched[int(line)] = os.pidfd_open(int(line))
    for pid, pidfd in watched.items():
        with suppress(ProcessLookupError):
            # Refused when the process was reaped, so that a later one with its number is never hit.
            signal.pidfd_send_signal(pidfd, 0)
            os.killpg(pid, signal.SIGKILL)
    for pidfd in watched.values():
        # A pidfd turns readable when its process has ended: only then is the folder surely at rest.
        select.select([pidfd], [], [], _KILLED_WITHIN_MS / 1000)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
