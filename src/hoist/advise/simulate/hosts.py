"""What the instances of one host have together: its link, and the models that one of them has brought."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from math import inf


@dataclass(slots=True)
class Coming:
    """A model on its way to a host: who brings it, and who waits for it."""

    leader: int
    waiting: list[int] = field(default_factory=list)


class Host:
    """`flows` are those that its link carries, `coming` the models on their way, `left` what is missing of others."""

    __slots__ = ("_there", "_used", "coming", "flows", "left")

    def __init__(self) -> None:
        self.flows: dict[int, None] = {}
        self.coming: dict[int, Coming] = {}
        self.left: dict[int, float] = {}
        self._there: OrderedDict[int, float] = OrderedDict()
        self._used = 0.0

    def has(self, model: int) -> bool:
        """Whether the model is there whole; it counts as used."""
        if model not in self._there:
            return False
        self._there.move_to_end(model)
        return True

    def keep(self, model: int, size: float, room: float) -> None:
        """It is there now; what was used least recently goes if there is not `room` for all, itself included."""
        self.left.pop(model, None)
        self._there[model] = size
        self._used += size
        while self._used > room:
            self._used -= self._there.popitem(last=False)[1]


class Hosts:
    """The hosts of a fleet. `link` is the bandwidth of each (inf: no limit), `cap` what one flow can draw at most."""

    def __init__(self, *, count: int | None, per_host: int, link: float, room: float = inf) -> None:
        self._count, self._per_host, self.link, self.room = count, per_host, link, room
        self._hosts: dict[int, Host] = {}

    @property
    def alone(self) -> bool:
        """Whether no host ever has two instances."""
        return self._count is None and self._per_host == 1

    def of(self, number: int) -> Host:
        """The host of the instance that starts as the `number`-th."""
        which = number // self._per_host if self._count is None else number % self._count
        found = self._hosts.get(which)
        if found is None:
            found = self._hosts[which] = Host()
        return found

    def cap(self, host: Host, own: float) -> float:
        """What a flow on `host` can draw whose own limit is `own`."""
        return own if self.link == inf else min(own, self.link / len(host.flows))
