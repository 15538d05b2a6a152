"""A fleet on this host: a process an instance, all sharing the host cache; one that hangs or dies is ended alone."""

from __future__ import annotations

import selectors
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

from hoist.config import Config, load_config
from hoist.errors import LocalError
from hoist.fleet.base import Fleet, Running, Watch, check_task, nobody, spots_of
from hoist.fleet.instance import DEADLINE_SECONDS, Instance, Spot, Task
from hoist.fleet.launch import Launcher, Process, Spawner, Zygote

# How long an instance may take to end by itself once it is asked to.
_END_SECONDS = 2.0
_LOOK_SECONDS = 0.5
# Of several instances that start at once, each waits up to so long before it asks a remote storage for anything.
JITTER_SECONDS = 0.1


class LocalFleet(Fleet):
    """Instances as processes of this host.

    They are forked by one process that has imported torch, so that many start as fast as one; with `spawn`, each is an
    interpreter of its own. `config` is the configuration that they get, with the host cache switched on unless it is
    refused there (`HOIST_CACHE=off`). `logs` is a folder for what they print (default: a temporary one).
    """

    def __init__(self, *, spawn: bool = False, config: Config | None = None, logs: Path | None = None) -> None:
        self._config = config or load_config()
        self._temporary = tempfile.TemporaryDirectory(prefix="hoist-fleet-") if logs is None else None
        self._logs = logs or Path(self._temporary.name if self._temporary else "")
        self._spawn = spawn
        self._launcher: Launcher | None = None
        self._running: list[LocalRunning] = []

    def start(
        self, task: Task, spots: int | Sequence[Spot], *, deadline_seconds: float = DEADLINE_SECONDS
    ) -> LocalRunning:
        chosen = spots_of(spots)
        return self.start_numbered(task, dict(enumerate(chosen)), deadline_seconds=deadline_seconds, herd=len(chosen))

    def start_numbered(
        self, task: Task, spots: Mapping[int, Spot], *, deadline_seconds: float = DEADLINE_SECONDS, herd: int = 1
    ) -> LocalRunning:
        """As `start`, for instances that have their numbers already; `herd` is how many start at once everywhere."""
        check_task(task, deadline_seconds)
        if self._launcher is None:
            environ = self._config.environ
            self._launcher = Spawner() if self._spawn else Zygote(environ, self._logs / "zygote.log")
        running = LocalRunning(self._launcher, deadline_seconds)
        self._running.append(running)
        try:
            for number, spot in spots.items():
                running.add(number, self._order(task, number, spot, herd), self._logs / f"instance-{number}.log")
        except BaseException:
            running.close()
            raise
        return running

    def close(self) -> None:
        for running in self._running:
            running.close()
        if self._launcher:
            self._launcher.close()
            self._launcher = None
        if self._temporary:
            self._temporary.cleanup()

    def _order(self, task: Task, number: int, spot: Spot, herd: int) -> dict[str, Any]:
        environ = {**self._defaults(herd), **self._config.environ, **spot.environ}
        if self._config.cache.refused is False and "HOIST_CACHE" not in spot.environ and not self._config.cache.enabled:
            environ["HOIST_CACHE"] = "on"
        return {
            "number": number,
            "location": task.location,
            "function": task.function,
            "files": list(task.files),
            "device": task.device,
            "namespace": spot.namespace,
            "environ": environ,
            "folder": str(Path.cwd()),
            "asked": time.monotonic(),
        }

    def _defaults(self, herd: int) -> dict[str, str]:
        """What an instance among several does, unless something else is configured."""
        configured = self._config.engine.start_jitter is not None
        return {"HOIST_START_JITTER": f"{JITTER_SECONDS:g}"} if herd > 1 and not configured else {}


class LocalRunning(Running):
    """The processes of one start."""

    def __init__(self, launcher: Launcher, deadline_seconds: float) -> None:
        self._launcher = launcher
        self._deadline_seconds = deadline_seconds
        super().__init__()
        self._processes: dict[int, Process] = {}
        self._asked: dict[int, float] = {}

    def add(self, number: int, order: Mapping[str, Any], log: Path) -> None:
        """Start one more."""
        self._asked[number] = order["asked"]
        self._instances[number] = Instance(number, socket.gethostname())
        try:
            self._processes[number] = self._launcher.launch(order, log)
        except LocalError as error:
            self._change(number, self._instances[number].failed(str(error)))

    def wait(self, watch: Watch = nobody, stop: Event | None = None) -> list[Instance]:
        self._watch = watch
        for each in self.instances:
            watch(each)
        self._look(0.0)
        while not all(each.decided for each in self._instances.values()) and not (stop and stop.is_set()):
            self._look(min(_LOOK_SECONDS, self._next_deadline()))
        return self.instances

    def close(self) -> None:
        known, self._watch = dict(self._instances), nobody
        for process in self._processes.values():
            process.terminate()
        until = time.monotonic() + _END_SECONDS
        while self._processes and time.monotonic() < until and any(p.pidfd for p in self._processes.values()):
            self._look(0.05)
        for number in list(self._processes):
            self._drop(number)
        # That they have ended now says nothing of how they did.
        self._instances = known

    def _look(self, seconds: float) -> None:
        """Wait up to so long for anything new, and take what there is."""
        with selectors.DefaultSelector() as selector:
            for process in self._processes.values():
                if process.events >= 0:
                    selector.register(process.events, selectors.EVENT_READ)
                if process.pidfd is not None:
                    selector.register(process.pidfd, selectors.EVENT_READ)
            if self._launcher.hears:
                selector.register(self._launcher.hears, selectors.EVENT_READ)
            ready = {key.fd for key, _ in selector.select(seconds)}
        if self._launcher.hears and self._launcher.hears.fileno() in ready:
            self._hear()
        # Before any is taken: one that is dropped gives its descriptors' numbers to those that come meanwhile.
        due = [
            (number, process, process.pidfd in ready)
            for number, process in self._processes.items()
            if ready.intersection({process.events, process.pidfd})
        ]
        for number, process, ended in due:
            self._take(number, process, ended=ended)
        self._check_deadlines()

    def _hear(self) -> None:
        try:
            self._launcher.hear()
        except LocalError as error:
            # What was forked lives on; what was not never will.
            for number, process in list(self._processes.items()):
                if process.pid is None:
                    self._change(number, self._instances[number].failed(str(error)))
                    self._drop(number)
            if not self._processes:
                return
            time.sleep(0.01)

    def _take(self, number: int, process: Process, *, ended: bool) -> None:
        found = self._instances[number]
        found = replace(found, pid=process.pid)
        for event in process.read_events():
            found = found.told(event)
        if ended:
            self._launcher.settle(process)
            found = found.failed(process.how_it_ended())
            self._drop(number)
        self._change(number, found)

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        for number, found in list(self._instances.items()):
            if not found.decided and now >= self._asked[number] + self._deadline_seconds:
                # Told before it is killed, or its end would be taken for what went wrong.
                self._change(number, found.overdue(self._deadline_seconds))
                self._drop(number)

    def _next_deadline(self) -> float:
        waiting = [self._asked[number] for number, found in self._instances.items() if not found.decided]
        return max(0.0, min(waiting, default=0.0) + self._deadline_seconds - time.monotonic())

    def _drop(self, number: int) -> None:
        process = self._processes.pop(number)
        process.kill()
        self._launcher.settle(process)
        process.close()

    def _change(self, number: int, found: Instance) -> None:
        if found != self._instances[number]:
            self._instances[number] = found
            self._watch(found)
