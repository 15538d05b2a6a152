"""A fleet on a Ray cluster: an agent on each node starts that node's instances; those of a node that dies start elsewhere.

Ray places the agents and hears of nodes that die. Instances are processes of their node, as on one host, so that they share
its host cache; what goes through Ray are orders and figures of a few hundred bytes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from threading import Event
from typing import Any

from hoist.errors import LocalError, UsageError
from hoist.fleet.agent import Agent
from hoist.fleet.base import Fleet, Running, Watch, check_task, nobody, spots_of
from hoist.fleet.instance import DEADLINE_SECONDS, FAILED, Instance, Spot, Task
from hoist.fleet.placement import NodeState, place
from hoist.fleet.warm import Warmed

# An agent that has said nothing for so long is taken for dead; Ray itself usually says so before.
_SILENT_SECONDS = 30.0
_START_SECONDS = 60.0
_AVOID_SECONDS = 15.0
_LOOK_SECONDS = 0.1
# Nodes may come back or be added meanwhile: an instance is not moved for ever.
MOST_ATTEMPTS = 3


@dataclass
class _Node:
    """A node and its agent's handle."""

    id: str
    address: str
    slots: int
    gpus: int
    agent: Any
    heard: float = 0.0


class RayFleet(Fleet):
    """Instances on the nodes of the Ray cluster at `address` (`auto`: the one that this machine is in).

    The nodes need Hoist, and a configuration that knows the storage; credentials are theirs, none are sent. A session of
    Ray that this process has already is used, and stays. Raises LocalError where there is no ray or no cluster.
    """

    def __init__(self, address: str = "auto") -> None:
        try:
            import ray
        except ModuleNotFoundError:
            raise LocalError("fleets on a cluster need ray: pip install 'hoist[ray]'") from None
        self._ray: Any = ray
        self._owns = not ray.is_initialized()
        if self._owns:
            try:
                ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
            except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
                raise LocalError(f"no Ray cluster at {address}: {str(error).splitlines()[0]}") from None
        self._nodes: dict[str, _Node] = {}
        self._avoid: dict[str, float] = {}
        self._running: list[RayRunning] = []

    def start(
        self, task: Task, spots: int | Sequence[Spot], *, deadline_seconds: float = DEADLINE_SECONDS
    ) -> RayRunning:
        """As every fleet; spots are for one host. Raises UsageError for those, LocalError if no node is alive."""
        if not isinstance(spots, int):
            raise UsageError("spots are for instances on one host: with Ray, say how many")
        check_task(task, deadline_seconds)
        count = len(spots_of(spots))
        running = RayRunning(self, len(self._running), task, count, deadline_seconds)
        self._running.append(running)
        return running

    def warm(self, location: str, nodes: Sequence[str] | None = None) -> list[Warmed]:
        """Bring a version into the host caches of the nodes, all or those named by address or id, at once.

        What goes wrong on a node is told of it. Raises UsageError for a node that is not there.
        """
        alive = self.alive()
        chosen = list(alive.values())
        if nodes:
            chosen = [node for node in chosen if node.address in nodes or node.id in nodes]
            missing = set(nodes) - {node.address for node in chosen} - {node.id for node in chosen}
            if missing:
                there = ", ".join(node.address for node in alive.values())
                raise UsageError(f"the cluster has no node {sorted(missing)[0]}; it has {there}")
        asked = [(node, node.agent.warm.remote(location)) for node in chosen]
        return [self._warmed(node, answer) for node, answer in asked]

    def _warmed(self, node: _Node, answer: Any) -> Warmed:
        try:
            return Warmed(**self._ray.get(answer))
        except self._ray.exceptions.RayError as error:
            return Warmed(node.address, error=f"the node's agent has ended: {type(error).__name__}")

    def alive(self) -> dict[str, _Node]:
        """The nodes that are alive, each with an agent. Raises LocalError if there is none."""
        found = {each["NodeID"]: each for each in self._ray.nodes() if each["Alive"]}
        for gone in set(self._nodes) - set(found):
            del self._nodes[gone]
        now = time.monotonic()
        new = [name for name in found if name not in self._nodes and self._avoid.get(name, 0.0) <= now]
        if not new and not self._nodes:
            new = list(found)
        made = {name: self._add(name, found[name]) for name in new}
        for name in self.get_all({name: node.agent.hello.remote() for name, node in made.items()}, _START_SECONDS):
            made[name].heard = time.monotonic()
            self._nodes[name] = made[name]
        if not self._nodes:
            raise LocalError("no node of the Ray cluster can start instances")
        return self._nodes

    def known(self) -> list[_Node]:
        """The nodes that have agents, as far as is known."""
        return list(self._nodes.values())

    def lose(self, node: _Node) -> None:
        """The node, or its agent, is dead; a node that lives gets a new agent when it is wanted again."""
        self._nodes.pop(node.id, None)
        # The cluster may take the node for alive for some seconds yet.
        self._avoid[node.id] = time.monotonic() + _AVOID_SECONDS
        with suppress(Exception):
            self._ray.kill(node.agent)

    def ready(self, answer: Any) -> Any:
        """The answer of an agent if it is there, else None. Raises RayError if the agent is gone."""
        there, _ = self._ray.wait([answer], timeout=0)
        return self._ray.get(answer) if there else None

    @property
    def gone(self) -> type[Exception]:
        """What is raised of an agent that is dead."""
        return self._ray.exceptions.RayError  # type: ignore[no-any-return]

    def get_all(self, answers: Mapping[str, Any], seconds: float = _SILENT_SECONDS) -> dict[str, Any]:
        """The answers of several agents that come within that time; those of dead ones are left out."""
        if not answers:
            return {}
        ready, _ = self._ray.wait(list(answers.values()), num_returns=len(answers), timeout=seconds)
        found = {}
        for name, answer in answers.items():
            if answer in ready:
                with suppress(self._ray.exceptions.RayError):
                    found[name] = self._ray.get(answer)
        return found

    def close(self) -> None:
        for running in self._running:
            running.close()
        for node in self._nodes.values():
            with suppress(Exception):
                self._ray.kill(node.agent)
        self._nodes.clear()
        if self._owns and self._ray.is_initialized():
            self._ray.shutdown()

    def _add(self, name: str, told: Mapping[str, Any]) -> _Node:
        """An agent for a node: it takes no resource of Ray's, which are the instances' to share."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        gpus, cores = int(told["Resources"].get("GPU", 0)), int(told["Resources"].get("CPU", 1))
        address = told["NodeManagerAddress"]
        # Nodes on one machine have one address.
        label = address if sum(each["NodeManagerAddress"] == address for each in self._ray.nodes()) == 1 else name[:12]
        options = {
            "num_cpus": 0,
            "max_concurrency": 4,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(name, soft=False),
        }
        agent = self._ray.remote(Agent).options(**options).remote(label, gpus)
        return _Node(name, label, max(1, gpus or cores), gpus, agent)


class RayRunning(Running):
    """The instances of one start, wherever they are."""

    def __init__(self, fleet: RayFleet, key: int, task: Task, count: int, deadline_seconds: float) -> None:
        self._fleet = fleet
        self._task = task
        self._deadline_seconds = deadline_seconds
        super().__init__()
        self._where: dict[int, str] = {}
        self._shares: dict[str, float] = {}
        self._closed = False
        self._key = key
        self._asked: dict[str, Any] = {}
        self._start(range(count))

    def wait(self, watch: Watch = nobody, stop: Event | None = None) -> list[Instance]:
        self._watch = watch
        for each in self.instances:
            watch(each)
        while True:
            self._look()
            if all(each.decided for each in self._instances.values()) or (stop and stop.is_set()):
                return self.instances
            time.sleep(_LOOK_SECONDS)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._fleet.get_all({node.id: node.agent.end.remote(self._key) for node in self._fleet.known()})

    def _start(self, numbers: Iterable[int]) -> None:
        """Place instances on nodes that are alive, and have their agents start them."""
        numbers = list(numbers)
        nodes = self._fleet.alive()
        unknown = {name: node for name, node in nodes.items() if name not in self._shares}
        asked = {name: node.agent.held_share.remote(self._task.location) for name, node in unknown.items()}
        self._shares |= self._fleet.get_all(asked)
        busy = list(self._where.values())
        states = [
            NodeState(name, self._shares.get(name, 0.0), node.slots, busy.count(name)) for name, node in nodes.items()
        ]
        chosen = dict(zip(numbers, place(len(numbers), states), strict=True))
        for name in dict.fromkeys(chosen.values()):
            nodes[name].heard = time.monotonic()
            mine = [number for number, where in chosen.items() if where == name]
            for number in mine:
                known = self._instances.get(number)
                attempt = known.attempt + 1 if known else 1
                self._where[number] = name
                self._change(Instance(number, nodes[name].address, attempt=attempt))
            nodes[name].agent.start.remote(
                self._key, asdict(self._task), mine, self._deadline_seconds, len(self._instances)
            )

    def _look(self) -> None:
        """Take what agents have to tell, ask them again, and move the instances of those that are dead."""
        lost = []
        for name in dict.fromkeys(self._where.values()):
            node = next((each for each in self._fleet.known() if each.id == name), None)
            if node is None or not self._hear(node):
                lost.append(name)
                self._asked.pop(name, None)
                self._shares.pop(name, None)
                if node:
                    self._fleet.lose(node)
        if lost:
            self._move([number for number, where in self._where.items() if where in lost])

    def _hear(self, node: _Node) -> bool:
        """Take a node's news; False if it is dead."""
        try:
            if node.id in self._asked:
                news = self._fleet.ready(self._asked[node.id])
                if news is None:
                    return time.monotonic() - node.heard < _SILENT_SECONDS
                for each in news:
                    self._take(node, each)
            node.heard = time.monotonic()
            self._asked[node.id] = node.agent.news.remote(self._key)
        except self._fleet.gone:
            return False
        return True

    def _take(self, node: _Node, told: Mapping[str, Any]) -> None:
        found = Instance(**told)
        known = self._instances.get(found.number)
        if known and self._where[found.number] == node.id:
            self._change(replace(found, node=node.address, attempt=known.attempt))

    def _move(self, numbers: Sequence[int]) -> None:
        """Start instances elsewhere, but for those that have failed by themselves or were moved too often."""
        again = []
        for number in numbers:
            del self._where[number]
            known = self._instances[number]
            if known.decided and known.state != "loaded":
                continue
            if known.attempt >= MOST_ATTEMPTS:
                self._change(known.failed(f"its node was lost, {known.attempt} times"))
            else:
                again.append(number)
        if not again:
            return
        try:
            self._start(again)
        except LocalError as error:
            for number in again:
                self._change(replace(self._instances[number], state=FAILED, error=str(error)))

    def _change(self, found: Instance) -> None:
        if found != self._instances.get(found.number):
            self._instances[found.number] = found
            self._watch(found)
