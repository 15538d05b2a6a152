"""The same fleets by small steps and plain arithmetic, flow by flow: slow, and easy to see to be right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf


def max_min(caps: Sequence[float], groups: Sequence[int], links: Mapping[int, float], capacity: float) -> list[float]:
    """Max-min fair rates by progressive filling: all rise alike, up to their cap, their group's link, or the capacity."""
    rates = [0.0] * len(caps)
    rising = set(range(len(caps)))
    while rising:
        room = [min(caps[n] - rates[n] for n in rising), (capacity - sum(rates)) / len(rising)]
        for group in {groups[n] for n in rising}:
            members = [n for n in range(len(caps)) if groups[n] == group]
            room.append((links[group] - sum(rates[n] for n in members)) / len([n for n in members if n in rising]))
        step = min(room)
        for n in rising:
            rates[n] += max(0.0, step)
        tight = {n for n in rising if rates[n] >= caps[n] * (1 - 1e-9)}
        if sum(rates) >= capacity * (1 - 1e-9):
            tight = set(rising)
        for group in {groups[n] for n in rising}:
            members = [n for n in range(len(caps)) if groups[n] == group]
            if sum(rates[n] for n in members) >= links[group] * (1 - 1e-9):
                tight |= rising & set(members)
        rising -= tight
    return rates


@dataclass
class Reader:
    """One reader: when it begins, its bytes, its cap, its host, its model."""

    begin: float
    size: float
    cap: float
    host: int = 0
    model: int = 0
    got: float = 0.0
    done: float = inf


@dataclass
class Steps:
    """A storage with `capacity`, a `link` for each host; a read cache if there is an `origin`, for models of `sizes`."""

    capacity: float
    link: float = inf
    origin: float | None = None
    sizes: Mapping[int, float] = field(default_factory=dict)

    def run(self, readers: Sequence[Reader], step: float, until: float = 1e4) -> float:
        """Fill in when each is done; what the origin gave."""
        fronts: dict[int, float] = {}
        now = 0.0
        while any(each.done == inf for each in readers):
            assert now < until, "it ends"
            active = [each for each in readers if each.begin <= now and each.done == inf]
            if active:
                self._step(active, fronts, now, step, max(each.cap for each in readers))
            now += step
        return sum(fronts.values())

    def _step(self, active: list[Reader], fronts: dict[int, float], now: float, step: float, most: float) -> None:
        hosts = [each.host for each in active]
        coming = {each.model for each in active if fronts.get(each.model, 0.0) < self.sizes.get(each.model, 0.0)}
        each_origin = (self.origin or inf) / max(1, len(coming))
        caps = []
        for each in active:
            at_front = each.model in coming and each.got >= fronts.get(each.model, 0.0) - 1e-6
            caps.append(min(each.cap, each_origin) if self.origin and at_front else each.cap)
        rates = max_min(caps, hosts, dict.fromkeys(hosts, self.link), self.capacity)
        if self.origin:
            held_back = [rate for rate, cap in zip(rates, caps, strict=True) if rate < cap * (1 - 1e-9)]
            speed = min(most, each_origin, max(held_back, default=inf))
            for model in coming:
                fronts[model] = min(self.sizes[model], fronts.get(model, 0.0) + speed * step)
        for each, rate in zip(active, rates, strict=True):
            got = each.got + rate * step
            if self.origin and each.got < self.sizes[each.model]:
                # The second read begins after the first; nobody is ahead of what is there.
                got = (
                    min(got, max(each.got, fronts[each.model])) if fronts[each.model] < self.sizes[each.model] else got
                )
            if got >= each.size - 1e-6:
                each.done = now + step * (each.size - each.got) / max(got - each.got, 1e-12)
            each.got = got
