"""A check: its environment, its end, and the end of all that it started."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from threading import Event

import pytest

from hoist.errors import Cancelled, LocalError
from hoist.rollout.check import Check

ENV = {"PATH": os.environ["PATH"]}


def gone(pid: int) -> bool:
    """Whether a process has ended; a child of ours that nobody waits for has."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def started(path: Path) -> int:
    """The number that a check has written."""
    for _ in range(200):
        with suppress(FileNotFoundError):
            text = path.read_text()
            if text.endswith("\n"):
                return int(text)
        time.sleep(0.05)
    raise AssertionError("the check has not begun")


def test_what_it_says_is_shown_and_its_status_counts(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = Check("echo to $WHO; echo and >&2; cat").run({**ENV, "WHO": "you"}, Event())
    assert found.passed
    out, error = capfd.readouterr()
    assert (out, error) == ("", "to you\nand\n")
    failed = Check("exit 3").run(ENV, Event())
    assert (failed.passed, failed.status, str(failed)) == (False, 3, "exit status 3")
    assert str(Check("kill -9 $$").run(ENV, Event())) == "signal 9"


def test_its_time_is_limited_and_its_children_end(tmp_path: Path) -> None:
    command = f"trap '' TERM; sleep 100 & echo $! > {tmp_path}/child; sleep 100"
    found = Check(command, 0.5).run(ENV, Event())
    assert (found.status, found.passed, str(found)) == (None, False, "its time was over")
    assert gone(started(tmp_path / "child"))


def test_stop_ends_it_with_its_children(tmp_path: Path) -> None:
    stop = Event()

    def end() -> None:
        started(tmp_path / "child")
        stop.set()

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(Cancelled):
        Check(f"(sleep 100 & echo $! > {tmp_path}/child; wait); sleep 100").run(ENV, stop)
    thread.join()
    assert gone(started(tmp_path / "child"))


def test_one_that_cannot_be_run() -> None:
    with pytest.raises(LocalError, match="too long"):
        Check("true").run({**ENV, "BIG": "x" * (1 << 22)}, Event())
