"""Starts the instances of a herd: a process that has imported what a load needs, and forks.

`python -m hoist.bench.herd_nursery` reads one JSON command a line: the tasks of so many instances, and after how many
seconds those that have not loaded are ended. Each instance goes to its host and waits; when all are there, they begin at
one moment. The answer is a line with a result each. When the input ends, so do the instances.

Importing is no part of any load, and sixteen processes that import torch at once would be the benchmark of that: with
`learn`, one instance loads first, and what it has imported on the way is imported here.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from hoist.bench.herd_instance import load
from hoist.bench.herd_task import Task
from hoist.bench.netns import enter
from hoist.errors import HoistError

Result = dict[str, Any]
_PR_SET_PDEATHSIG = 1
_READY = b"+"
# For a fork, and for going to a host, of all of them together.
_READY_SECONDS = 60.0


@dataclass
class _Child:
    """One instance: what it said so far."""

    pid: int
    hears: int
    said: bytearray = field(default_factory=bytearray)
    ended: bool = False


class _InputEnded(Exception):
    """Nobody waits for the answer any more."""


def main() -> None:
    """Serve commands until the input ends."""
    # What is here now is every instance's: their collections need not look at it.
    gc.collect()
    gc.freeze()
    _say({"ready": True})
    pending = bytearray()
    while chunk := os.read(0, 1 << 16):
        pending += chunk
        while b"\n" in pending:
            line, _, rest = bytes(pending).partition(b"\n")
            pending = bytearray(rest)
            command = json.loads(line)
            tasks = [Task.from_json(each) for each in command["tasks"]]
            try:
                answer = run_herd(tasks, command["patience"], learn=command["learn"])
                if command["learn"]:
                    for result in answer["results"]:
                        _import(result.pop("modules", ()))
                _say(answer)
            except _InputEnded:
                return


def run_herd(tasks: Sequence[Task], patience: float, *, learn: bool = False) -> Result:
    """Have all instances begin at once; a result each, in their order: `seconds` and figures, or an `error`.

    `learn`: also the `modules` that each then has.
    """
    hears, starts = os.pipe()
    children: list[_Child] = []
    try:
        for task in tasks:
            children.append(_fork(task, hears, starts, learn))
        _collect(children, lambda child: child.said.startswith(_READY), time.monotonic() + _READY_SECONDS)
        began = time.monotonic()
        # All instances read from it, and the end of it is what they wait for.
        os.close(starts)
        starts = -1
        _collect(children, lambda child: child.ended, began + patience)
        return {"results": [_result(child, began, patience) for child in children]}
    finally:
        for descriptor in (hears, starts, *(child.hears for child in children)):
            if descriptor >= 0:
                os.close(descriptor)
        for child in children:
            # Not reaped yet: its number is still its own.
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)


def _fork(task: Task, start: int, starts: int, learn: bool) -> _Child:
    hears, says = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(says)
        return _Child(pid, hears)
    try:
        os.close(starts)
        os.close(hears)
        _be_instance(task, start, says, parent, learn)
    finally:
        os._exit(1)


def _be_instance(task: Task, start: int, says: int, parent: int, learn: bool) -> NoReturn:
    # However the nursery ends, its instances end with it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    answer: Result
    try:
        if task.namespace is not None:
            enter(task.namespace)
        os.write(says, _READY)
        os.read(start, 1)
        answer = load(task)
        if learn:
            answer["modules"] = sorted(sys.modules)
    except HoistError as error:
        answer = {"error": str(error)}
    except Exception as error:  # noqa: BLE001 one that goes wrong is told of, and the others go on
        answer = {"error": f"{type(error).__name__}: {error}"}
    with open(says, "wb") as pipe:
        pipe.write(json.dumps(answer).encode())
    os._exit(0)


def _import(names: Iterable[str]) -> None:
    for name in names:
        if name not in sys.modules:
            with suppress(ImportError):
                importlib.import_module(name)
    # Only a process of one thread may fork and go on.
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a module that was imported has started a thread"
    gc.collect()
    gc.freeze()


def _collect(children: Sequence[_Child], enough: Any, until: float) -> None:
    """Hear the children until it is enough of each, or too late. Raises _InputEnded."""
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ, None)
        for child in children:
            selector.register(child.hears, selectors.EVENT_READ, child)
        while not all(child.ended or enough(child) for child in children):
            left = until - time.monotonic()
            if left <= 0:
                return
            for key, _ in selector.select(left):
                heard = os.read(key.fd, 1 << 16)
                if key.data is None:
                    # Nothing is sent while it works: it can only be the end.
                    raise _InputEnded
                key.data.said += heard
                if not heard:
                    key.data.ended = True
                    selector.unregister(key.fd)


def _result(child: _Child, began: float, patience: float) -> Result:
    text = bytes(child.said).removeprefix(_READY)
    if not child.ended:
        return {"error": f"not loaded after {patience:.0f} s"}
    with suppress(ValueError):
        found: Result = json.loads(text)
        if "done" in found:
            found["seconds"] = found.pop("done") - began
        return found
    return {"error": "the process ended: out of memory?"}


def _say(answer: Result) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
