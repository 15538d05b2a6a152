"""What the instances of one host have together: its link, and the models that one of them has brought."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from hoist.advise.simulate.kept import Kept


@dataclass(slots=True)
class Coming:
    """A model on its way to a host: who brings it, and who waits for it."""

    leader: int
    waiting: list[int] = field(default_factory=list)


class Host:
    """`flows` are those that its link carries, `coming` the models on their way, `left` what is missing of others."""

    __slots__ = ("_kept", "coming", "flows", "left")

    def __init__(self, room: float) -> None:
        self.flows: dict[int, None] = {}
        self.coming: dict[int, Coming] = {}
        self.left: dict[int, float] = {}
        self._kept = Kept(room)

    def has(self, model: int) -> bool:
        """Whether the model is there whole; it counts as used."""
        return self._kept.use(model)

    def keep(self, model: int, size: float) -> None:
        """It is there now; what was used least recently goes if there is not room for all, itself included."""
        self.left.pop(model, None)
        self._kept.add(model, size)
        self._kept.trim()


class Hosts:
    """The hosts of a fleet. `link` is the bandwidth of each (inf: no limit), `cap` what one flow can draw at most."""

    def __init__(self, *, count: int | None, per_host: int, link: float, room: float = inf) -> None:
        self._count, self._per_host, self.link, self._room = count, per_host, link, room
        self._hosts: dict[int, Host] = {}

    def of(self, number: int) -> Host:
        """The host of the instance that starts as the `number`-th."""
        which = number // self._per_host if self._count is None else number % self._count
        found = self._hosts.get(which)
        if found is None:
            found = self._hosts[which] = Host(self._room)
        return found

    def cap(self, host: Host, own: float) -> float:
        """What a flow on `host` can draw whose own limit is `own`."""
        return own if self.link == inf else min(own, self.link / len(host.flows))
