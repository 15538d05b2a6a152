"""From what a user says to a fleet; and instances that close their fleet with them."""

from __future__ import annotations

from threading import Event

from hoist.config import Config
from hoist.errors import UsageError
from hoist.fleet.base import Fleet, Running, Watch, nobody
from hoist.fleet.instance import Instance


def open_fleet(ray: str | None, *, spawn: bool = False, config: Config | None = None) -> Fleet:
    """A fleet on this host, or on the Ray cluster at that address. Raises UsageError, LocalError."""
    if ray is None:
        from hoist.fleet.local import LocalFleet

        return LocalFleet(spawn=spawn, config=config)
    if spawn:
        raise UsageError("spawn is for instances on this host: leave it out with Ray")
    from hoist.fleet.ray import RayFleet

    return RayFleet(ray)


class OwnedRunning(Running):
    """The only instances of a fleet: closing them closes it."""

    def __init__(self, fleet: Fleet, running: Running) -> None:
        self._fleet = fleet
        self._running = running

    @property
    def instances(self) -> list[Instance]:
        return self._running.instances

    def wait(self, watch: Watch = nobody, stop: Event | None = None) -> list[Instance]:
        return self._running.wait(watch, stop)

    def close(self) -> None:
        self._running.close()
        self._fleet.close()
