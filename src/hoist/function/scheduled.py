"""One model as its schedule knows it."""

from __future__ import annotations

from dataclasses import dataclass, field

from hoist.errors import HoistError
from hoist.function.pool import Units


@dataclass(eq=False, slots=True)
class Scheduled:
    """`units` are known once it is open. `host` and `device` are where it is, `in_host` and `in_device` where its bytes
    count: also while it is on its way. `work` is what is under way: fetch (to the host), load (to the device) or unload.
    """

    name: str
    units: Units | None = None
    opening: bool = False
    host: bool = False
    device: bool = False
    in_host: bool = False
    in_device: bool = False
    work: str = ""
    stopping: bool = False
    stuck: str = ""
    pinned: bool = False
    used: int = 0
    loads: int = 0
    error: HoistError | None = None
    waiting: dict[int, int] = field(default_factory=dict)
    """Tickets that want the object, by when they came."""
    wanted: dict[int, bool] = field(default_factory=dict)
    """Tickets that want it nearer; whether on the device."""
    dropping: list[int] = field(default_factory=list)
    running: set[int] = field(default_factory=set)
    overdue: set[int] = field(default_factory=set)

    @property
    def is_asked(self) -> bool:
        """Whether anybody waits for it."""
        return bool(self.waiting or self.wanted)

    @property
    def since(self) -> int:
        """When the oldest of its waiting requests came; there is one."""
        return next(iter(self.waiting.values()))

    @property
    def may_begin(self) -> bool:
        """Whether a load of it can be begun now."""
        return self.units is not None and not (self.work or self.dropping or self.stuck)

    @property
    def may_go(self) -> bool:
        """Whether its room can be had, at once or when its requests are over."""
        return not (self.pinned or self.overdue or self.stuck or self.work)

    def forget(self, ticket: int) -> bool:
        """A ticket that does not run is gone; whether it was there."""
        found = ticket in self.waiting or ticket in self.wanted or ticket in self.dropping
        self.waiting.pop(ticket, None)
        self.wanted.pop(ticket, None)
        if ticket in self.dropping:
            self.dropping.remove(ticket)
        return found
