"""A process that has imported torch and loaders once, and forks an instance for each order: eight start as fast as one.

`python -m hoist.fleet.zygote` gets each order as two pipes (its input and output) and an open log over the socket that is
its standard input, and answers with the instance's pid and a descriptor of it; later with how it ended. It has no device and
no threads but those of the linear algebra library, which restarts them in a fork, so that a fork is as good as a new
process; a user's module is imported only there.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
from contextlib import suppress
from importlib.util import find_spec

from hoist.fleet.child import main as be_instance

MOST_MESSAGE = 1 << 12


def main() -> None:
    """Fork instances until the socket is closed."""
    orders = socket.socket(fileno=os.dup(0))
    hears, tells = os.pipe()
    for fd in (hears, tells):
        os.set_blocking(fd, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(tells, warn_on_full_buffer=False)
    # The terminal's Ctrl-C is the parent's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if find_spec("torch"):
        import hoist.storage.open_bucket
        import hoist.storage.open_directory
        import hoist.tensors.load
        import hoist.tensors.timing

        hoist.tensors.timing.import_torch("cpu")
    # What is here stays, and a collection in a fork must not copy its pages.
    gc.collect()
    gc.freeze()
    keys: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([orders.fileno(), hears], [], [])
        if orders.fileno() in ready:
            message, fds, _, _ = socket.recv_fds(orders, MOST_MESSAGE, 3)
            if not message:
                os._exit(0)
            pid = _fork(orders, (hears, tells), fds)
            keys[pid] = int(message)
            pidfd = os.pidfd_open(pid)
            socket.send_fds(orders, [json.dumps({"key": int(message), "pid": pid}).encode()], [pidfd])
            for fd in (*fds, pidfd):
                os.close(fd)
        with suppress(BlockingIOError):
            os.read(hears, 1 << 12)
        _reap(orders, keys)


def _reap(orders: socket.socket, keys: dict[int, int]) -> None:
    """Tell how instances have ended."""
    while keys:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        code = os.waitstatus_to_exitcode(status)
        orders.send(json.dumps({"key": keys.pop(pid), "ended": code}).encode())


def _fork(orders: socket.socket, pipes: tuple[int, int], fds: list[int]) -> int:
    """A fork that becomes an instance with these descriptors as input, output and log; its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        for fd, place in zip(fds, (0, 1, 2), strict=True):
            os.dup2(fd, place)
            os.close(fd)
        orders.close()
        for fd in pipes:
            os.close(fd)
        be_instance()
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
