"""The processes of one server, and the promise that they end: on request, or with this Python."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hoist.errors import LocalError

_POLL_S = 0.02
_WARDEN_WITHIN_S = 20.0
_TAIL_BYTES = 4096
_TAIL_LINES = 12


class Children:
    """Starts processes with their logs in a temporary folder, watches them, and ends exactly those.

    `folder` is the temporary folder: it goes with the processes. Every process leads its own session, so that a
    Ctrl-C in the terminal reaches only Python, which then stops them in order.
    """

    def __init__(self, name: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"hoist-{name}-"))
        self._name = name
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        warden = Path(__file__).with_name("warden.py")
        self._warden = subprocess.Popen(
            [sys.executable, "-I", "-S", str(warden), str(self.folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def pids(self) -> tuple[int, ...]:
        """The ids of the processes started and not yet stopped, the warden's included."""
        return (self._warden.pid, *(process.pid for process in self._processes.values()))

    def start(
        self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> None:
        """Start `command` in the background, in `folder` or that of the processes; its output goes to the log `name`.

        The environment is a bare one plus `env`: settings of the user's own (RCLONE_*, CEPH_ARGS, AWS_*) must not
        change what a test server is. Raises LocalError when the program cannot be started.
        """
        bare = {"PATH": os.defpath, "HOME": str(self.folder), "TMPDIR": str(self.folder), "LC_ALL": "C.UTF-8"}
        try:
            with self._log(name).open("ab") as log:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=folder or self.folder,
                    env=bare | dict(env or {}),
                    start_new_session=True,
                )
        except OSError as error:
            raise LocalError(f"{self._name}: {command[0]} does not start: {error}") from error
        self._processes[name] = process
        assert self._warden.stdin is not None
        self._warden.stdin.write(b"%d\n" % process.pid)
        self._warden.stdin.flush()

    def run(self, name: str, command: Sequence[str], within_s: float) -> None:
        """Run `command` to its end. Raises LocalError with its log when it fails or takes longer than `within_s`."""
        self.start(name, command)
        process = self._processes[name]
        if not _ended_within(process, within_s):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._processes.pop(name)
            raise LocalError(f"{self._name}: {name} took more than {within_s:.0f} s{self.log_tail(name)}")
        how = _how_it_ended(process)
        self._processes.pop(name)
        if process.wait() != 0:
            raise LocalError(f"{self._name}: {name} {how}{self.log_tail(name)}")
        # A step that succeeded has nothing to say later, and may have printed a key.
        self._log(name).unlink()

    def kill(self, name: str) -> None:
        """End one process at once (SIGKILL), if it runs, and forget it; its log stays."""
        process = self._processes.pop(name, None)
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def kill_all(self) -> None:
        """End every process at once, as `kill` does."""
        for name in list(self._processes):
            self.kill(name)

    def signal_all(self, number: int) -> None:
        """Send every process that runs a signal."""
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    def check(self) -> None:
        """Raise LocalError, with the log's tail, when a process that should be running has ended."""
        for name, process in self._processes.items():
            how = _how_it_ended(process)
            if how is not None:
                raise LocalError(f"{self._name}: {name} (pid {process.pid}) {how}{self.log_tail(name)}")

    def log_tail(self, name: str | None = None) -> str:
        """The end of the log `name`, or of every log, as lines to hang under a message; empty if there are none."""
        names = [name] if name is not None else sorted(path.stem for path in self.folder.glob("*.log"))
        tails = []
        for each in names:
            text = _tail(self._log(each))
            if text:
                tails.append(f"\n--- {each} ---\n{text}")
        return "".join(tails)

    def stop(self, patience_s: float) -> None:
        """End every process, SIGTERM first, SIGKILL after `patience_s` for all together; then remove `folder`."""
        deadline = time.monotonic() + patience_s
        # The last one started leans on those before it (a gateway writes to its disk when it goes): it goes first.
        for process in reversed(self._processes.values()):
            if _how_it_ended(process) is None:
                os.kill(process.pid, signal.SIGTERM)
                _ended_within(process, deadline - time.monotonic())
        # The processes are not reaped yet: their ids are still theirs while the warden kills what is left.
        assert self._warden.stdin is not None
        with suppress(BrokenPipeError):
            self._warden.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._warden.wait(_WARDEN_WITHIN_S)
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()
        # Once more than the warden, in case that it was killed too.
        shutil.rmtree(self.folder, ignore_errors=True)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


def _how_it_ended(process: subprocess.Popen[bytes]) -> str | None:
    """How it ended, in words, or None while it runs. Never reaps: its id stays its own until `Popen.wait`."""
    try:
        end = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return "has ended"
    if end is None:
        return None
    if end.si_code == os.CLD_EXITED:
        return f"ended with status {end.si_status}"
    return f"was ended by {signal.Signals(end.si_status).name}"


def _ended_within(process: subprocess.Popen[bytes], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while _how_it_ended(process) is None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = log.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join([line for line in text.splitlines() if line.strip()][-_TAIL_LINES:])
