"""CPU seconds of servers with all that they started: every local server leads a session of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_SESSION, _USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM = 3, 11, 12, 13, 14


def session_cpu_seconds(leaders: Iterable[int]) -> float:
    """Of the sessions that the processes `leaders` lead, the children that they have waited for included."""
    wanted = {str(pid) for pid in leaders}
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if fields[_SESSION] in wanted:
            total += sum(int(fields[n]) for n in (_USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM))
    return total / _TICKS


def machine_busy_seconds() -> tuple[float, float]:
    """CPU seconds that this machine's cores have worked since it started, and those that they had in all."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / _TICKS, sum(fields) / _TICKS
