"""Many instances at once, and hosts that are warm before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hoist.config import Config
from hoist.errors import UsageError
from hoist.model.reference import parse_location
from hoist.progress import Progress

if TYPE_CHECKING:
    from hoist.fleet.base import Running
    from hoist.fleet.warm import Warmed


def start_fleet(
    location: str,
    instances: int,
    *,
    function: str | None = None,
    files: Sequence[str] = (),
    device: str = "cpu",
    deadline_seconds: float = 120.0,
    ray: str | None = None,
    spawn: bool = False,
    config: Config | None = None,
) -> Running:
    """Start instances that load a version, on this host or on a Ray cluster: `.wait()` for them, `.close()` ends them.

    Each calls `function` (`MODULE:FUNCTION`) with a `hoist.fleet.model.Model`, or only loads; `ray` is a cluster's address,
    or `auto`; `spawn` gives each on this host an interpreter of its own. What goes wrong with an instance is told of
    that instance. Raises InvalidReference, UsageError, LocalError.
    """
    from hoist.fleet.instance import Task
    from hoist.fleet.select import OwnedRunning, open_fleet

    task = Task(location, function, tuple(files), device)
    fleet = open_fleet(ray, spawn=spawn, config=config)
    try:
        return OwnedRunning(fleet, fleet.start(task, instances, deadline_seconds=deadline_seconds))
    except BaseException:
        fleet.close()
        raise


def warm(
    location: str,
    *,
    ray: str | None = None,
    nodes: Sequence[str] | None = None,
    progress: Progress | None = None,
    config: Config | None = None,
) -> Sequence[Warmed]:
    """Bring a version into this host's cache, or into those of the nodes of a Ray cluster (all, or those named by address
    or id); running it again brings only what is missing.

    What goes wrong on a node of a cluster is told of that node. Raises UsageError, LocalError, and what a storage may.
    """
    if ray is None:
        if nodes:
            raise UsageError(
                "nodes are those of a Ray cluster: say which (--ray); elsewhere run hoist warm on each host"
            )
        from hoist.fleet.warm import warm_here

        return [warm_here(location, progress or Progress(), config)]
    parse_location(location)
    from hoist.fleet.ray import RayFleet

    with RayFleet(ray) as fleet:
        return fleet.warm(location, nodes)
