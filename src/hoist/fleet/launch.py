"""How an instance's process is started and ended, as its parent sees it: spawned anew, or forked by a zygote."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from hoist.errors import LocalError
from hoist.fleet.zygote import MOST_MESSAGE
from hoist.storage.translate import redact

_READ_BYTES = 1 << 16
_TAIL_BYTES, _TAIL_LINES = 2048, 3
# How long the zygote may take to say how an instance ended that has ended.
_STATUS_SECONDS = 1.0


class Process:
    """One instance's process. `order` is the pipe that it ends with; `events` is what it tells by."""

    def __init__(self, order: int, events: int, log: Path) -> None:
        os.set_blocking(events, False)
        self.events = events
        self.log = log
        self.pid: int | None = None
        self.pidfd: int | None = None
        self.code: int | None = None
        self._order = order
        self._text = b""

    def read_events(self) -> list[dict[str, Any]]:
        """What it has told since the last time."""
        if self.events < 0:
            return []
        with suppress(BlockingIOError):
            while got := os.read(self.events, _READ_BYTES):
                self._text += got
            # It has closed its end, as a function that becomes a daemon may, and tells nothing more.
            os.close(self.events)
            self.events = -1
        *lines, self._text = self._text.split(b"\n")
        return [json.loads(line) for line in lines]

    def how_it_ended(self) -> str:
        """For a message: the status, and the last words of its log."""
        code = self.code
        if code is not None and code < 0:
            with suppress(ValueError):
                code_text = f"was killed by {signal.Signals(-code).name}"
                return f"the process {code_text}{_last_words(self.log)}"
        return f"the process ended{'' if code is None else f' with status {code}'}{_last_words(self.log)}"

    def terminate(self) -> None:
        """Ask it to end."""
        if self.pidfd is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)

    def kill(self) -> None:
        """End it and what it has started; at once, and whatever it is doing."""
        if self._order >= 0:
            os.close(self._order)
            self._order = -1
        if self.pidfd is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Let its descriptors go, after it was killed."""
        for fd in (self.events, self.pidfd):
            if fd is not None and fd >= 0:
                os.close(fd)
        self.events, self.pidfd = -1, None


class Launcher(ABC):
    """Starts processes for a fleet."""

    @abstractmethod
    def launch(self, order: Mapping[str, Any], log: Path) -> Process:
        """Start an instance with that order; its pid may come later, by `settle`. Raises LocalError."""

    @abstractmethod
    def settle(self, process: Process) -> None:
        """Find out what has become of a process that has ended."""

    @property
    @abstractmethod
    def hears(self) -> socket.socket | None:
        """What to wait on besides the processes, if there is anything; when it can be read, `hear` does."""

    @abstractmethod
    def hear(self) -> None:
        """Take what came there. Raises LocalError if no process can be started any more."""

    @abstractmethod
    def close(self) -> None:
        """End what is not an instance."""


class Spawner(Launcher):
    """Each instance is a new interpreter."""

    def __init__(self) -> None:
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def launch(self, order: Mapping[str, Any], log: Path) -> Process:
        hold, given, heard, tells = _pipes()
        try:
            with log.open("ab") as said:
                child = subprocess.Popen(
                    [sys.executable, "-m", "hoist.fleet.child"],
                    stdin=hold,
                    stdout=tells,
                    stderr=said,
                    env=order["environ"],
                    cwd=order["folder"],
                    start_new_session=True,
                )
        except OSError as error:
            for fd in (given, heard):
                os.close(fd)
            raise LocalError(f"no instance can be started: {error.strerror or error}") from None
        finally:
            for fd in (hold, tells):
                os.close(fd)
        process = Process(given, heard, log)
        process.pid, process.pidfd = child.pid, os.pidfd_open(child.pid)
        self._children[child.pid] = child
        _give(given, order)
        return process

    @property
    def hears(self) -> None:
        return None

    def hear(self) -> None:
        """A new interpreter's parent is told by the kernel."""

    def settle(self, process: Process) -> None:
        child = self._children.pop(process.pid or 0, None)
        if child:
            process.code = child.wait()

    def close(self) -> None:
        """There is nothing but instances."""


class Zygote(Launcher):
    """Each instance is a fork of one process that has torch imported."""

    def __init__(self, environ: Mapping[str, str], log: Path) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log = log
        self._numbers = count()
        self._processes: dict[int, Process] = {}
        with theirs, log.open("ab") as said:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "hoist.fleet.zygote"],
                stdin=theirs.fileno(),
                stdout=said,
                stderr=said,
                env=dict(environ),
                start_new_session=True,
            )
        self._socket.setblocking(False)

    @property
    def hears(self) -> socket.socket:
        return self._socket

    def launch(self, order: Mapping[str, Any], log: Path) -> Process:
        hold, given, heard, tells = _pipes()
        process, key = Process(given, heard, log), next(self._numbers)
        self._processes[key] = process
        try:
            with log.open("ab") as said:
                self._socket.setblocking(True)
                socket.send_fds(self._socket, [b"%d" % key], [hold, tells, said.fileno()])
        except OSError as error:
            process.kill()
            process.close()
            raise LocalError(f"no instance can be started: {error.strerror or error}{self._said()}") from None
        finally:
            self._socket.setblocking(False)
            for fd in (hold, tells):
                os.close(fd)
        _give(given, order)
        return process

    def hear(self) -> None:
        while True:
            try:
                message, fds, _, _ = socket.recv_fds(self._socket, MOST_MESSAGE, 1)
            except BlockingIOError:
                return
            except OSError:
                message, fds = b"", []
            if not message:
                raise LocalError(f"the process that instances are forked from has ended{self._said()}")
            told = json.loads(message)
            process = self._processes[told["key"]]
            if "ended" in told:
                process.code = told["ended"]
            else:
                process.pid, process.pidfd = told["pid"], fds[0]

    def settle(self, process: Process) -> None:
        until = time.monotonic() + _STATUS_SECONDS
        while process.code is None and time.monotonic() < until:
            try:
                self.hear()
            except LocalError:
                return
            time.sleep(0.002)

    def close(self) -> None:
        self._socket.close()
        # It has no instance left, and nothing to put in order.
        self._child.kill()
        self._child.wait()

    def _said(self) -> str:
        return _last_words(self._log)


def _last_words(path: Path) -> str:
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return f": {redact(' / '.join(lines[-_TAIL_LINES:]))}" if lines else ""


def _pipes() -> tuple[int, int, int, int]:
    """The child's input, its other end; the other end of its output, its output."""
    return (*os.pipe(), *os.pipe())


def _give(fd: int, order: Mapping[str, Any]) -> None:
    # It may have ended already; what is heard of it then says so.
    with suppress(BrokenPipeError):
        data = memoryview(json.dumps(order).encode() + b"\n")
        while data:
            data = data[os.write(fd, data) :]
