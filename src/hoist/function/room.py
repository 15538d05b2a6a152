"""Who has to go so that a model finds room. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from hoist.function.pool import Pool
from hoist.function.scheduled import Scheduled
from hoist.function.states import Budgets


@dataclass(frozen=True, slots=True)
class Plan:
    """What makes room for a model on the device: host copies that go now, and objects that are unloaded, idle ones first.

    `fetch_first`: there is room in host memory before anything is unloaded. `keep`: a host copy is kept.
    """

    evict: tuple[Scheduled, ...] = ()
    unload: tuple[Scheduled, ...] = ()
    fetch_first: bool = False
    keep: bool = True


class Room:
    """The two memories and who is in them; chooses among `models` by what was not used for longest."""

    def __init__(self, models: Collection[Scheduled], budgets: Budgets, *, one_memory: bool) -> None:
        self._models = models
        self._one_memory = one_memory
        self.host, self.device = Pool(budgets.host_bytes), Pool(budgets.device_bytes)

    def enter(self, found: Scheduled, *, to_host: bool, to_device: bool) -> None:
        """The model's bytes count in these memories from now on."""
        assert found.units is not None
        if to_host and not found.in_host:
            self.host.add(found.units)
            found.in_host = True
        if to_device:
            self.device.add(found.units)
            found.in_device = True

    def leave_host(self, found: Scheduled) -> None:
        """They no longer count in host memory."""
        assert found.units is not None
        self.host.remove(found.units)
        found.host = found.in_host = False

    def leave_device(self, found: Scheduled) -> None:
        """They no longer count on the device."""
        assert found.units is not None
        self.device.remove(found.units)
        found.device = found.in_device = False

    def is_enough(self, found: Scheduled) -> bool:
        """Whether the budgets are large enough for the model to be on the device at all."""
        assert found.units is not None
        return self.device.fits(found.units) and (not self._one_memory or self.fits_host(found))

    def fits_host(self, found: Scheduled) -> bool:
        """Whether the budget is large enough for a host copy at all."""
        assert found.units is not None
        return self.host.fits(found.units)

    def for_device(self, found: Scheduled) -> Plan | None:
        """How the model gets to the device; None if what stands in the way never goes."""
        unload = _choose(self.device, found, self._on_device(found))
        if unload is None:
            return None
        if found.host:
            return Plan(unload=_idle_first(unload))
        evict = self.for_host(found)
        if evict is not None:
            return Plan(tuple(evict), _idle_first(unload), fetch_first=bool(unload))
        if not self._one_memory:
            return Plan(unload=_idle_first(unload), keep=False)
        # Host memory is full of what is on the device: that goes first, from both.
        staying = [other for other in self._on_device(found) if other not in unload]
        chosen = _choose(self.host, found, [*self._host_only(found), *unload, *staying])
        if chosen is None:
            return None
        both = [*unload, *(other for other in chosen if other.device and other not in unload)]
        if both:
            return Plan(unload=_idle_first(both))
        return Plan(tuple(chosen))

    def for_host(self, found: Scheduled) -> list[Scheduled] | None:
        """Whose host copies go so that the model's can come, without taking any object off the device; None: no way."""
        if not self.fits_host(found):
            return None
        copies = [] if self._one_memory else [other for other in self._on_device(found) if other.host]
        return _choose(self.host, found, [*self._host_only(found), *copies])

    def is_free(self, found: Scheduled) -> bool:
        """Whether the model fits on the device as it is, host memory included where that is one."""
        assert found.units is not None
        free = self.device.short(found.units) <= 0
        return free and (not self._one_memory or found.host or self.host.short(found.units) <= 0)

    def keeps(self, found: Scheduled) -> bool:
        """Whether a host copy fits as it is."""
        assert found.units is not None
        return self.host.short(found.units) <= 0

    def measure(self, found: Scheduled) -> str:
        """How large the model is and the budgets are, in words."""
        limits = [f"{limit} on the device" for limit in (self.device.limit,) if limit is not None]
        limits += [f"{limit} in host memory" for limit in (self.host.limit,) if limit is not None]
        return f"{sum((found.units or {}).values())} bytes, and the budget is {' and '.join(limits)}"

    def holders(self) -> str:
        """What takes the room, in words."""
        words = []
        for other in self._models:
            if not (other.in_host or other.in_device):
                continue
            why = "pinned" if other.pinned else "stuck" if other.stuck else f"{len(other.running)} running"
            late = f", {len(other.overdue)} of them beyond their deadline" if other.overdue else ""
            words.append(f"{other.name} ({why}{late})")
        leaked = self.host.leaked + self.device.leaked
        words += [f"{leaked} bytes that the handler has not let go of"] * bool(leaked)
        return ", ".join(words)

    def _on_device(self, found: Scheduled) -> list[Scheduled]:
        there = [other for other in self._models if other.in_device and other is not found and other.may_go]
        return sorted(there, key=lambda other: (bool(other.running), other.used))

    def _host_only(self, found: Scheduled) -> list[Scheduled]:
        there = [o for o in self._models if o.in_host and not o.in_device and o is not found and o.may_go]
        return sorted(there, key=lambda other: other.used)


def _choose(pool: Pool, found: Scheduled, candidates: list[Scheduled]) -> list[Scheduled] | None:
    """The first of the candidates that make room together, without those that need not go; None if all do not."""
    units = found.units
    assert units is not None
    chosen: list[Scheduled] = []

    def enough() -> bool:
        return pool.short(units, [other.units for other in chosen if other.units is not None]) <= 0

    for other in candidates:
        if enough():
            break
        chosen.append(other)
    if not enough():
        return None
    for other in reversed(chosen.copy()):
        at = chosen.index(other)
        chosen.pop(at)
        if not enough():
            chosen.insert(at, other)
    return chosen


def _idle_first(models: list[Scheduled]) -> tuple[Scheduled, ...]:
    return tuple(sorted(models, key=lambda other: bool(other.running)))
