"""The one interface of fleets: start instances, wait until each is decided, end them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from threading import Event
from typing import Self

from hoist.errors import UsageError
from hoist.fleet.instance import DEADLINE_SECONDS, Instance, Spot, Task

Watch = Callable[[Instance], None]
"""Told of an instance whenever something new is known of it, from the thread that waits."""
# A mistyped number must not bring a host down.
MOST_INSTANCES = 4096


def nobody(instance: Instance) -> None:
    """Nobody watches."""


class Running(ABC):
    """Instances that were started. They live, with what they have loaded, until `close`; use it as a context manager."""

    def __init__(self) -> None:
        self._instances: dict[int, Instance] = {}
        self._watch: Watch = nobody

    @property
    def instances(self) -> list[Instance]:
        """What is known of each, by number."""
        return [self._instances[number] for number in sorted(self._instances)]

    @abstractmethod
    def wait(self, watch: Watch = nobody, stop: Event | None = None) -> list[Instance]:
        """Wait until each instance is loaded, has failed, or is over its deadline; what is known of each then.

        One that fails or hangs is ended alone. Setting `stop` ends the wait early. Call it again to hear which of the
        loaded ones have ended since.
        """

    @abstractmethod
    def close(self) -> None:
        """End every instance, and whatever it has started."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Fleet(ABC):
    """A place where instances can be started. Use it as a context manager, or call `close`."""

    @abstractmethod
    def start(self, task: Task, spots: int | Sequence[Spot], *, deadline_seconds: float = DEADLINE_SECONDS) -> Running:
        """Start so many instances, or one at each spot, all at once; each has `deadline_seconds` to be loaded.

        What goes wrong with one instance is told of that instance. Raises UsageError, LocalError.
        """

    @abstractmethod
    def close(self) -> None:
        """End what the fleet has running."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def spots_of(spots: int | Sequence[Spot]) -> list[Spot]:
    """One spot an instance. Raises UsageError for none, and for more than any host can have."""
    found = [Spot()] * min(spots, MOST_INSTANCES + 1) if isinstance(spots, int) else list(spots)
    if not 1 <= len(found) <= MOST_INSTANCES:
        raise UsageError(f"a fleet has 1 to {MOST_INSTANCES} instances")
    return found


def check_task(task: Task, deadline_seconds: float) -> None:
    """Refuse what no instance could do. Raises InvalidReference, UsageError."""
    from hoist.model.reference import parse_location

    parse_location(task.location)
    module, colon, function = (task.function or "module:function").partition(":")
    names = [*module.split("."), *function.split(".")]
    if not colon or not all(name.isidentifier() for name in names):
        raise UsageError(f"{task.function!r} names no function: write MODULE:FUNCTION, as in my.handler:prepare")
    if not deadline_seconds > 0:
        raise UsageError("a deadline is a number of seconds above 0")
