"""One load, measured from inside the process that does it: time, CPU with that of its children, memory, disk."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from hoist.memory import allocate

_POPULATE_WRITE = 23


class HasValue(Protocol):
    """What a loader returns: the object it made."""

    @property
    def value(self) -> Any:
        """The object, with tensors in it."""


Made = TypeVar("Made", bound=HasValue)


def measured(load: Callable[[], Made]) -> tuple[Made, dict[str, Any]]:
    """Do the load and touch what it made; what it returned, and the figures in bytes and seconds.

    `peak_bytes` is memory above what the process held before; of programs that it ran, the largest counts too.
    """
    before = status_bytes("VmRSS")
    reset_peak()
    cpu, began, disk = _cpu_seconds(), time.perf_counter(), _disk_bytes()
    made = load()
    if made.value is not None:
        from hoist.bench.contents import touch

        touch(made.value)
    seconds, used = time.perf_counter() - began, _cpu_seconds() - cpu
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return made, {
        "seconds": seconds,
        "cpu_seconds": used,
        "disk_bytes": _disk_bytes() - disk,
        # The kernel counts a program as at least as large as the process that it was started from.
        "peak_bytes": max(0, status_bytes("VmHWM") - before, children if children > before else 0),
    }


def ready_memory(size: int) -> None:
    """Have the system bring `size` bytes of memory in, then free them again: it has them at hand for what comes next.

    On a virtual machine the first touch of memory that its host has taken back can cost more than a whole load,
    whatever the loader. Does as much as fits well into the memory that is available.
    """
    memory = allocate(min(size, available_memory() // 2))
    with suppress(OSError):
        memory.madvise(_POPULATE_WRITE)
    memory.close()


def available_memory() -> int:
    """Bytes that programs can still have, the page cache given up for them."""
    return _kernel_figure("/proc/meminfo", "MemAvailable")


def status_bytes(field: str) -> int:
    """A memory figure of this process in bytes: `VmRSS` now, `VmHWM` at its peak."""
    return _kernel_figure("/proc/self/status", field)


def _kernel_figure(file: str, field: str) -> int:
    for line in Path(file).read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _cpu_seconds() -> float:
    """Of this process and the children it has waited for; `os.times` would count hundredths of a second."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def reset_peak() -> None:
    """Let the peak begin anew. Some sandboxes refuse it: then it is that of the process's whole life."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _disk_bytes() -> int:
    """Bytes that this process, and the children it has waited for, have had read from a disk."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("read_bytes")), 0)
