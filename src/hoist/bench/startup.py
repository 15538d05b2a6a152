"""How quickly the command line answers: `hoist --help` beside `python -c pass`, in turns."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from hoist.bench.machine import machine_facts
from hoist.bench.records import make_record
from hoist.errors import LocalError, UsageError

REPEAT = 20
_COMMANDS = {
    "python": ("-c", "pass"),
    "help": ("-m", "hoist", "--help"),
    "version": ("-m", "hoist", "--version"),
    "import": ("-c", "import hoist"),
}


def run_startup(repeat: int = REPEAT) -> list[dict[str, Any]]:
    """Time each command `repeat` times, in turns, after one run that warms the page cache; the median of each.

    `ratio` is that median over `python -c pass`'s. Raises UsageError, and LocalError where a command fails.
    """
    if repeat < 1:
        raise UsageError(f"startup is timed once at least, not {repeat} times")
    for command in _COMMANDS.values():
        _time(command)
    times: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for _ in range(repeat):
        for name, command in _COMMANDS.items():
            times[name].append(_time(command))
    machine, base = machine_facts(), median(times["python"])
    return [
        make_record(
            "startup",
            machine,
            {"step": name, "command": " ".join(("python", *_COMMANDS[name])), "runs": repeat, "seconds": median(found)}
            | {"fastest_seconds": min(found), "ratio": median(found) / base},
        )
        for name, found in times.items()
    ]


def _time(arguments: Sequence[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        raise LocalError(f"python {' '.join(arguments)} ends with {done.returncode}: is hoist installed there?")
    return took
