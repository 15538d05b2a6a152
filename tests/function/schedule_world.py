"""A simple model of what a schedule may do: sets and nothing else. Every action is checked against it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hoist.errors import HoistError, StorageUnavailable
from hoist.function.actions import Action, Done, Evict, Forget, Grant, Load, Open, Reason, Refuse, Stop, Unload
from hoist.function.schedule import Schedule
from hoist.function.states import Budgets

Sizes = dict[bytes, int]


@dataclass
class World:
    """The models' units, the budgets, and what is where; `tell` is an event's actions, checked and carried out."""

    units: dict[str, Sizes]
    budgets: Budgets
    one_memory: bool
    schedule: Schedule = field(init=False)
    host: set[str] = field(default_factory=set)
    device: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    opening: set[str] = field(default_factory=set)
    pinned: set[str] = field(default_factory=set)
    stuck: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    waiting: dict[int, str] = field(default_factory=dict)
    prefetches: dict[int, str] = field(default_factory=dict)
    drops: dict[int, str] = field(default_factory=dict)
    running: dict[int, str] = field(default_factory=dict)
    overdue: set[int] = field(default_factory=set)
    work: Load | Unload | None = None
    stopped: set[str] = field(default_factory=set)
    loads: int = 0
    refused: dict[int, Refuse] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    ticket: int = 0
    leaked: int = 0

    def __post_init__(self) -> None:
        self.schedule = Schedule(self.units, self.budgets, one_memory=self.one_memory)

    # What happens

    def ask(self, model: str) -> int:
        self.ticket += 1
        self.waiting[self.ticket] = model
        self.tell(self.schedule.asked(self.ticket, model))
        return self.ticket

    def prefetch(self, model: str, *, to_device: bool) -> int:
        self.ticket += 1
        self.prefetches[self.ticket] = model
        self.tell(self.schedule.prefetch(self.ticket, model, to_device=to_device))
        return self.ticket

    def drop(self, model: str) -> None:
        self.ticket += 1
        self.drops[self.ticket] = model
        self.tell(self.schedule.drop(self.ticket, model))

    def cancel(self, ticket: int) -> None:
        for tickets in (self.waiting, self.prefetches, self.drops):
            tickets.pop(ticket, None)
        self.tell(self.schedule.cancelled(ticket))

    def expire(self, ticket: int) -> None:
        if ticket in self.running:
            self.overdue.add(ticket)
        self.tell(self.schedule.expired(ticket), expired=ticket)

    def finish(self, ticket: int) -> None:
        del self.running[ticket]
        self.overdue.discard(ticket)
        self.tell(self.schedule.finished(ticket))

    def pin(self, model: str, *, pinned: bool) -> None:
        self.pinned = self.pinned | {model} if pinned else self.pinned - {model}
        self.tell(self.schedule.pin(model, pinned=pinned))

    def leak(self, size: int) -> None:
        self.leaked = size
        self.tell(self.schedule.leaked(size, size))

    def end_open(self, model: str, error: HoistError | None = None) -> None:
        self.opening.remove(model)
        if error:
            self.tell(self.schedule.failed(model, error), failed=model)
            return
        self.known.add(model)
        self.tell(self.schedule.opened(model, self.units[model]))

    def end_work(self, error: HoistError | None = None, *, stopped: bool = False, fetched: bool = False) -> None:
        work, self.work = self.work, None
        assert work is not None
        if isinstance(work, Unload):
            self.device.remove(work.model)
            self.tell(self.schedule.done(work.model))
        elif error is None:
            self.host |= {work.model} if work.to_host else set()
            self.device |= {work.model} if work.to_device else set()
            self.loads += work.to_device
            self.stopped.discard(work.model)
            self.tell(self.schedule.done(work.model))
        else:
            fetched = fetched and work.to_host
            self.host |= {work.model} if fetched else set()
            stopped = stopped and work.model in self.stopped
            self.stopped.discard(work.model)
            self.tell(
                self.schedule.failed(work.model, error, stopped=stopped, fetched=fetched),
                failed="" if stopped else work.model,
            )

    def abandon(self) -> None:
        work, self.work = self.work, None
        assert work is not None
        unloads = isinstance(work, Unload)
        host = work.model in self.host or (isinstance(work, Load) and work.to_host)
        self.stuck[work.model] = (host, unloads or (isinstance(work, Load) and work.to_device))
        self.host.discard(work.model)
        self.device.discard(work.model)
        self.tell(self.schedule.abandoned(work.model, "hangs"), failed=work.model)

    def come_back(self, model: str) -> None:
        del self.stuck[model]
        self.stopped.discard(model)
        self.tell(self.schedule.returned(model))

    # What follows

    def tell(self, actions: list[Action], *, expired: int = 0, failed: str = "") -> None:
        for action in actions:
            self._check(action, expired, failed)
            self._within_budgets()
        self._somebody_goes_on()

    def _check(self, action: Action, expired: int, failed: str) -> None:
        model = action.model
        match action:
            case Grant(ticket):
                assert self.waiting.pop(ticket) == model
                assert model in self.device
                assert self.work is None or self.work.model != model
                self.running[ticket] = model
            case Done(ticket):
                if ticket in self.drops:
                    assert self.drops.pop(ticket) == model
                    assert model not in self.host | self.device | self.known
                else:
                    assert self.prefetches.pop(ticket) == model
                    assert model in self.host | self.device
                self.ended.add(ticket)
            case Refuse(ticket):
                self._check_refusal(action, expired, failed)
                tickets = next(each for each in (self.waiting, self.prefetches, self.drops) if ticket in each)
                assert tickets.pop(ticket) == model
                self.refused[ticket] = action
            case Open():
                assert model not in self.known | self.opening
                self.opening.add(model)
            case Load():
                assert self.work is None
                assert model in self.known
                assert model not in self.device
                assert action.to_host or action.to_device
                assert not (action.to_host and model in self.host)
                if self.one_memory:
                    assert action.to_host or model in self.host
                self.work = action
            case Unload():
                assert self.work is None
                assert model in self.device
                assert model not in self.running.values()
                assert model not in self.pinned or model in self.drops.values()
                self.work = action
            case Evict():
                self.host.remove(model)
                assert not (self.one_memory and model in self.device)
                assert model not in self.pinned or model in self.drops.values()
                assert self.work is None or self.work.model != model
            case Forget():
                self.known.remove(model)
                assert model not in self.host | self.device
            case Stop():
                assert self.work is not None
                assert self.work.model == model
                self.stopped.add(model)

    def _check_refusal(self, action: Refuse, expired: int, failed: str) -> None:
        units = self.units[action.model]
        host, device = self.budgets.host_bytes, self.budgets.device_bytes
        assert host is not None
        assert device is not None
        match action.reason:
            case Reason.DEADLINE:
                assert action.ticket == expired
            case Reason.FAILED:
                assert action.model == failed
                assert action.error is not None
            case Reason.STUCK:
                assert action.model in self.stuck
            case Reason.TOO_LARGE:
                assert sum(units.values()) > (min(host, device) if action.ticket in self.waiting else host)
            case Reason.NO_ROOM if action.ticket in self.waiting:
                # Even with all gone that may go there would be no room.
                staying = {*self.pinned, *(self.running[ticket] for ticket in self.overdue)}
                on_device = {*self._in_device() & staying, *self._stuck(1), action.model}
                on_host = {*self._in_host() & staying, *self._stuck(0), action.model}
                full = self._bytes(on_device) > device - self.leaked
                assert full or (self.one_memory and self._bytes(on_host) > host - self.leaked)
            case Reason.NO_ROOM:
                assert action.ticket in self.prefetches
            case _:
                raise AssertionError(action)

    def _within_budgets(self) -> None:
        assert self._bytes(self._in_host() | self._stuck(0)) <= (self.budgets.host_bytes or 0)
        assert self._bytes(self._in_device() | self._stuck(1)) <= (self.budgets.device_bytes or 0)

    def _somebody_goes_on(self) -> None:
        """Who waits, waits for something that is under way."""
        under_way = self.work is not None or self.opening or self.running or self.stuck
        assert under_way or not (self.waiting or self.prefetches or self.drops)

    def _stuck(self, which: int) -> set[str]:
        return {model for model, where in self.stuck.items() if where[which]}

    def _in_host(self) -> set[str]:
        coming = {self.work.model} if isinstance(self.work, Load) and self.work.to_host else set()
        return self.host | coming

    def _in_device(self) -> set[str]:
        coming = {self.work.model} if isinstance(self.work, Load) and self.work.to_device else set()
        return self.device | coming

    def _bytes(self, models: Iterable[str]) -> int:
        units: Sizes = {}
        for model in models:
            units |= self.units[model]
        return sum(units.values())


def random_step(world: World, rng: random.Random) -> None:
    """Something that may happen now."""
    model = rng.choice(list(world.units))
    lost = StorageUnavailable("lost")
    steps: dict[str, tuple[float, Callable[[], object]]] = {
        "ask": (12, lambda: world.ask(model)),
        "prefetch": (2, lambda: world.prefetch(model, to_device=rng.random() < 0.3)),
        "drop": (0.5, lambda: world.drop(model)),
        "pin": (0.6, lambda: world.pin(model, pinned=True)),
        "leak": (0.1, lambda: world.leak(rng.choice([0, 0, 3]))),
        "unpin": (1.5, lambda: world.pin(model, pinned=False)),
    }
    if world.running:
        ticket = rng.choice(list(world.running))
        steps["finish"] = (9, lambda: world.finish(ticket))
        steps["late"] = (0.5, lambda: world.expire(ticket))
    unsettled = [*world.waiting, *world.prefetches, *world.drops]
    if unsettled:
        given_up = rng.choice(unsettled)
        steps["cancel"] = (2, lambda: world.cancel(given_up))
        steps["expire"] = (1, lambda: world.expire(given_up) if given_up not in world.drops else None)
    if world.opening:
        opening = rng.choice(sorted(world.opening))
        steps["opened"] = (8, lambda: world.end_open(opening))
        steps["not opened"] = (1, lambda: world.end_open(opening, lost))
    if world.work:
        steps["done"] = (10, world.end_work)
        steps["failed"] = (1.5, lambda: world.end_work(lost, fetched=rng.random() < 0.5))
        steps["abandoned"] = (0.1, world.abandon)
        if world.work.model in world.stopped:
            steps["stopped"] = (10, lambda: world.end_work(lost, stopped=True, fetched=rng.random() < 0.2))
    if world.stuck:
        stuck = rng.choice(sorted(world.stuck))
        steps["back"] = (2, lambda: world.come_back(stuck))
    chosen = rng.choices(list(steps), [weight for weight, _ in steps.values()])[0]
    steps[chosen][1]()


def run_out(world: World) -> None:
    """Let everything that is under way come to its end."""
    for model in list(world.pinned):
        world.pin(model, pinned=False)
    for _ in range(10_000):
        if world.stuck:
            world.come_back(min(world.stuck))
        elif world.running:
            world.finish(min(world.running))
        elif world.opening:
            world.end_open(min(world.opening))
        elif world.work:
            world.end_work()
        else:
            return
    raise AssertionError("it never ends")
