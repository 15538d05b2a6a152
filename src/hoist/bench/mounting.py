"""A mount of a bucket for a benchmark: started by its own command, watched, and ended, also by Ctrl-C and errors."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

from hoist.bench.peers.base import find
from hoist.config import Config
from hoist.errors import HoistError, LocalError
from hoist.mount.device import mounted_kind, unmount
from hoist.testing.servers.children import Children

_START_SECONDS, _END_SECONDS, _ABANDON_SECONDS = 30.0, 10.0, 0.5
# What a daemon uses in a while in which it is at rest, and how long it may take to come to that.
_REST_SECONDS, _REST_CPU_SECONDS, _SETTLE_SECONDS = 0.1, 0.01, 5.0
_SAMPLE_SECONDS = 0.02
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Place:
    """What to mount and where: a storage of `config`, which is a bucket; `scratch` takes what the mount keeps.

    `size`: of the largest file, for a mount that makes one up.
    """

    storage: str
    config: Config
    point: Path
    scratch: Path
    size: int


@dataclass(frozen=True)
class Mounter:
    """A way of mounting a bucket, as its own users would. Each shows a version's files by their keys."""

    name: str
    about: str
    words: Callable[[Place], Sequence[str]]
    program: str | None = None
    environ: Callable[[Place], Mapping[str, str]] = lambda place: {}

    def unavailable(self) -> str | None:
        """None when it is installed; else what is missing."""
        if not Path("/dev/fuse").exists():
            return "there is no /dev/fuse"
        if self.program is None or find(self.program):
            return None
        return f"not installed ({self.program})"


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a daemon: CPU seconds since its start, and the most memory of its own since this was last asked."""

    cpu_seconds: float
    peak_bytes: int


class Mounted:
    """One mount, for the length of a `with` block. Raises LocalError if it cannot be read soon."""

    def __init__(self, mounter: Mounter, place: Place) -> None:
        self.mounter = mounter
        self.place = place
        self._children: Children | None = None
        self._pid = 0
        self._peak = 0
        self._over = Event()
        self._sampler = Thread(target=self._sample, name="hoist-bench-sampler", daemon=True)

    def __enter__(self) -> Self:
        place = self.place
        for folder in (place.point, place.scratch):
            folder.mkdir(parents=True, exist_ok=True)
        words = list(self.mounter.words(place))
        words[0] = find(words[0]) or words[0]
        self._children = Children(self.mounter.name)
        try:
            environ = {**place.config.environ, **self.mounter.environ(place)}
            # Where the user is: hoist.toml is looked for from there.
            self._children.start("mount", words, environ, Path.cwd())
            self._pid = self._children.pids[-1]
            self._await(self._children)
        except BaseException:
            self._end()
            raise
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abandon()
        self._end()

    def abandon(self) -> None:
        """Let go at once, whoever uses it: after a Ctrl-C there is little time. Who reads gets an error."""
        self._unmount()
        if self._children is not None:
            self._children.stop(_ABANDON_SECONDS)

    def usage(self) -> Usage:
        """What the daemon has used."""
        own = memory_of(self._pid)
        peak, self._peak = max(self._peak, own), own
        return Usage(_cpu_of(self._pid), peak)

    def settle(self) -> None:
        """Wait until the daemon is at rest, or for a while: what it does after a work is no part of the next one."""
        until, last = time.monotonic() + _SETTLE_SECONDS, -1.0
        while (now := _cpu_of(self._pid)) - last > _REST_CPU_SECONDS and time.monotonic() < until:
            last = now
            time.sleep(_REST_SECONDS)

    def _await(self, children: Children) -> None:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            children.check()
            if (mounted_kind(self.place.point) or "").startswith("fuse"):
                with suppress(OSError):
                    os.listdir(self.place.point)  # noqa: PTH208 names alone are enough
                    return
            time.sleep(0.05)
        raise LocalError(f"{self.mounter.name} cannot be read after {_START_SECONDS:.0f} s{children.log_tail()}")

    def _end(self) -> None:
        self._over.set()
        if self._children is not None:
            # Each of them unmounts when it is told to end.
            self._children.stop(_END_SECONDS)
        self._unmount()

    def _unmount(self) -> None:
        for _ in range(2):
            if mounted_kind(self.place.point):
                with suppress(HoistError):
                    unmount(self.place.point, lazy=True)

    def _sample(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            self._peak = max(self._peak, memory_of(self._pid))


def memory_of(pid: int) -> int:
    """Memory of a process that is not the page cache's: anonymous and shared, in bytes; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def _cpu_of(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS
