"""Where the CPU of a load goes, by stage: the clocks of each thread, read around the steps of the engine.

A stage's time is its own: what a step inside it took is that step's. The clocks are the threads' CPU clocks, so waiting
costs nothing here.
"""

from __future__ import annotations

import resource
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

OPENING, RECEIVING, HASHING = "opening", "receiving", "hashing"
TOUCHING, THREADS, MAIN = "touching", "engine threads", "main thread"
ABOUT = {
    OPENING: "manifest, block table, headers, the index of tensors",
    RECEIVING: "bytes from the storage into the load's memory, first touches of it included",
    HASHING: "BLAKE3 of each block",
    THREADS: "the rest of the engine's threads: queue, plan, interpreter",
    MAIN: "the rest of the main thread: planning, memory, tensors made over the bytes",
    TOUCHING: "the benchmark's own: a byte of each page of each tensor",
}


@dataclass(slots=True)
class Spent:
    """CPU seconds in user and kernel mode, page faults that needed no disk, and calls."""

    user: float = 0.0
    system: float = 0.0
    faults: int = 0
    calls: int = 0

    def add(self, other: Spent, sign: int = 1) -> None:
        """Add, or with `sign` -1 take away, all but the calls."""
        self.user += sign * other.user
        self.system += sign * other.system
        self.faults += sign * other.faults


class Stages:
    """CPU by stage, over all threads. `in_stage` may be nested; the inner stage's time is not the outer's."""

    def __init__(self) -> None:
        self.spent: dict[str, Spent] = {}
        self._lock = threading.Lock()
        self._inner = threading.local()

    @contextmanager
    def in_stage(self, name: str) -> Iterator[None]:
        """Count what this thread spends until the end of the block as the stage's."""
        outer = getattr(self._inner, "spent", None)
        inner = self._inner.spent = Spent()
        before = _now()
        try:
            yield
        finally:
            used = _now()
            used.add(before, -1)
            if outer is not None:
                outer.add(used)
            used.add(inner, -1)
            # The two modes are estimates of the kernel; only their sum is measured.
            used.user, used.system = max(0.0, used.user), max(0.0, used.system)
            self._inner.spent = outer
            with self._lock:
                stage = self.spent.setdefault(name, Spent())
                stage.add(used)
                stage.calls += 1

    def wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, counted as that stage."""

        def call(*args: Any, **options: Any) -> Any:
            with self.in_stage(name):
                return function(*args, **options)

        return call


def watch(stages: Stages) -> None:
    """Have the stages of every load in this process counted, for the rest of its life: it is for a process of its own."""
    from hoist.model.blocks import block_digest
    from hoist.read.source import Source
    from hoist.tensors.index import find_weights, read_index

    for name, function in ((HASHING, block_digest), (OPENING, find_weights), (OPENING, read_index)):
        replace_everywhere(function, stages.wrapped(name, function))
    make = Source.__init__

    def init(self: Source, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        object.__setattr__(self, "read_into", stages.wrapped(RECEIVING, self.read_into))

    Source.__init__ = init  # type: ignore[method-assign]
    run = threading.Thread.run

    def run_counted(self: threading.Thread) -> None:
        with stages.in_stage(THREADS):
            run(self)

    threading.Thread.run = run_counted  # type: ignore[method-assign]


def replace_everywhere(function: Callable[..., Any], other: Callable[..., Any]) -> None:
    """Put `other` in the place of `function` in every module of Hoist that has imported it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("hoist.") and getattr(module, function.__name__, None) is function:
            setattr(module, function.__name__, other)


def _now() -> Spent:
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return Spent(usage.ru_utime, usage.ru_stime, usage.ru_minflt)
