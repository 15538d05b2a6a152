"""What stands on each node of a cluster: starts the instances of its node, and tells of them when it is asked.

A plain class, which `ray.py` makes an actor of: everything that goes in and out is small and plain. Weight bytes go from
the storage to the node, never through the cluster's own store.
"""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from threading import Event, Lock, Thread
from typing import Any

from hoist.errors import HoistError
from hoist.fleet.instance import Instance, Spot, Task
from hoist.fleet.local import LocalFleet, LocalRunning
from hoist.fleet.warm import held_share, try_warm


@dataclass
class _Started:
    """The instances of one start of the fleet's that are this node's."""

    stop: Event = field(default_factory=Event)
    waiting: list[tuple[Thread, LocalRunning]] = field(default_factory=list)
    known: dict[int, Instance] = field(default_factory=dict)
    news: dict[int, Instance] = field(default_factory=dict)


class Agent:
    """The instances of one node. They end with it: it holds the other end of a pipe of each."""

    def __init__(self, node: str, gpus: int) -> None:
        self._node = node
        self._gpus = gpus
        self._placed = 0
        self._fleet = LocalFleet()
        self._lock = Lock()
        self._started: dict[int, _Started] = defaultdict(_Started)

    def hello(self) -> dict[str, Any]:
        """Who and where it is."""
        return {"pid": os.getpid(), "host": socket.gethostname()}

    def held_share(self, location: str) -> float:
        """How much of a version the node's host cache holds; 0 if that cannot be told, which an instance then reports."""
        try:
            return held_share(location)
        except HoistError:
            return 0.0

    def warm(self, location: str) -> dict[str, Any]:
        """Bring a version into the node's host cache."""
        return asdict(replace(try_warm(location), node=self._node))

    def start(
        self, key: int, task: Mapping[str, Any], numbers: Sequence[int], deadline_seconds: float, herd: int
    ) -> None:
        """Start instances of the start `key`; what is in the way is told of each of them."""
        started = self._started[key]
        wanted = Task(**{**task, "files": tuple(task["files"])})
        spots = {number: self._spot(wanted) for number in numbers}
        try:
            running = self._fleet.start_numbered(wanted, spots, deadline_seconds=deadline_seconds, herd=herd)
        except HoistError as error:
            for number in numbers:
                self._note(started, Instance(number, self._node).failed(str(error)))
            return
        thread = Thread(target=self._wait, args=(started, running), name="hoist-agent", daemon=True)
        started.waiting.append((thread, running))
        thread.start()

    def news(self, key: int) -> list[dict[str, Any]]:
        """The instances of that start of which something new is known since the last time."""
        started = self._started[key]
        with self._lock:
            news, started.news = list(started.news.values()), {}
        return [asdict(each) for each in news]

    def end(self, key: int) -> None:
        """End every instance of that start."""
        started = self._started.pop(key, _Started())
        started.stop.set()
        for thread, running in started.waiting:
            thread.join()
            running.close()

    def _spot(self, task: Task) -> Spot:
        """One of the node's GPUs for each, in turn."""
        if not task.device.startswith("cuda") or self._gpus < 1:
            return Spot()
        self._placed += 1
        return Spot(environ={"CUDA_VISIBLE_DEVICES": str((self._placed - 1) % self._gpus)})

    def _wait(self, started: _Started, running: LocalRunning) -> None:
        def note(instance: Instance) -> None:
            self._note(started, instance)

        while not started.stop.is_set():
            running.wait(note, started.stop)
            # Those that are loaded may still end.
            started.stop.wait(0.2)

    def _note(self, started: _Started, instance: Instance) -> None:
        with self._lock:
            if started.known.get(instance.number) != instance:
                started.known[instance.number] = instance
                started.news[instance.number] = replace(instance, node=self._node)
