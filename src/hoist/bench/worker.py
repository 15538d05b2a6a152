"""One instance: a process of its own that switches from model to model as it is told, and measures each switch.

It reads one JSON command a line and answers each with one line: `python -m hoist.bench.worker`.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from hoist.bench.loaders import LOADERS, Switch, touch
from hoist.errors import HoistError


def measure(loader: str, switch: Switch) -> tuple[Any, dict[str, Any]]:
    """Do one switch with that loader; the loaded object, and the figures in bytes and seconds."""
    before = _status("VmRSS")
    _reset_peak()
    cpu, began, disk = sum(os.times()[:4]), time.perf_counter(), _disk_bytes()
    loaded = LOADERS[loader](switch)
    touch(loaded.value)
    figures = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": sum(os.times()[:4]) - cpu,
        "bytes_read": loaded.bytes_read,
        "disk_bytes": _disk_bytes() - disk,
        "peak_bytes": max(0, _status("VmHWM") - before),
    }
    return loaded.value, figures


def main() -> None:
    """Serve commands until the input ends."""
    held: Any = None
    for line in sys.stdin:
        command = json.loads(line)
        # The old model goes first, as in a server with one GPU; and its pages must not count as the new one's.
        held = None
        gc.collect()
        answer: dict[str, Any] = {}
        if command["do"] == "switch":
            try:
                held, answer = measure(command["loader"], Switch(**command["switch"]))
            except HoistError as error:
                answer = {"error": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    del held


def _status(field: str) -> int:
    """A memory figure of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _reset_peak() -> None:
    # Some sandboxes refuse it; then the peak is that of the whole life of this process.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _disk_bytes() -> int:
    """Bytes that this process has had read from a disk."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("read_bytes")), 0)


if __name__ == "__main__":
    main()
