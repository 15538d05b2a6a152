"""Whose turn it is, and what the next step towards it is: the half of a schedule that decides. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hoist.errors import HoistError
from hoist.function.actions import Action, Done, Evict, Forget, Grant, Load, Open, Reason, Refuse, Stop, Unload
from hoist.function.room import Room
from hoist.function.scheduled import Scheduled
from hoist.function.states import Budgets


class Turns:
    """The models, who waits for each, and the one load or unload under way. `_follow` does what can be done now."""

    def __init__(self, models: Iterable[str], budgets: Budgets, *, one_memory: bool) -> None:
        self.models = {name: Scheduled(name) for name in models}
        self.working: Scheduled | None = None
        self.room = Room(self.models.values(), budgets, one_memory=one_memory)
        self._order = 0
        self._closed = False
        self._leaving: set[str] = set()
        # Who had to go for the load under way, and is brought back if that fails; and who is to be.
        self._gone: list[Scheduled] = []
        self._back: list[Scheduled] = []
        self._holder: dict[int, Scheduled] = {}
        self._out: list[Action] = []

    def _follow(self) -> list[Action]:
        """Do what can be done now, until there is nothing more."""
        before = -1
        while before != len(self._out):
            before = len(self._out)
            self._leaving = set()
            for found in self.models.values():
                self._settle(found)
            heads = self._heads()
            for found in self.models.values():
                self._grant(found, heads[0].since if heads else None)
            if self.working is None and not self._closed:
                self._start(heads)
            elif self.working is not None and heads:
                self._preempt(self.working)
            for found in self.models.values():
                if found.name not in self._leaving:
                    self._grant(found)
        actions, self._out = self._out, []
        return actions

    def _grant(self, found: Scheduled, before: int | None = None) -> None:
        """Run what waits for a model that is ready; `before`: what came before that only."""
        if not found.device or found.work or found.dropping:
            return
        for ticket, since in list(found.waiting.items()):
            if before is None or since < before:
                del found.waiting[ticket]
                found.running.add(ticket)
                found.used = self._next()
                self._out.append(Grant(ticket, found.name))

    def _settle(self, found: Scheduled) -> None:
        """Open it if it has to be; answer prefetches that have what they want; let go of what is dropped."""
        if found.dropping:
            self._let_go(found)
        if found.is_asked and found.units is None and not found.opening and not found.dropping and not self._closed:
            found.opening = True
            self._out.append(Open(found.name))
        for ticket, to_device in list(found.wanted.items()):
            if found.device or (found.host and not to_device):
                self._answer(found, ticket)

    def _answer(self, found: Scheduled, ticket: int) -> None:
        found.forget(ticket)
        del self._holder[ticket]
        self._out.append(Done(ticket, found.name))

    def _let_go(self, found: Scheduled) -> None:
        """One more step of a drop."""
        self._stop(found)
        if found.work or found.running or found.opening or found.stuck:
            return
        if found.device:
            if self.working is None:
                self._unload(found)
            return
        if found.in_host:
            self._evict(found)
        if found.units is not None:
            self._forget(found)
        for ticket in list(found.dropping):
            self._answer(found, ticket)

    def _heads(self) -> list[Scheduled]:
        """The models that have to be loaded for a request, the one with the oldest first."""
        heads = [each for each in self.models.values() if each.waiting and not each.device and each.may_begin]
        return sorted(heads, key=lambda each: each.since)

    def _start(self, heads: list[Scheduled]) -> None:
        """Begin the next load, or what makes room for it."""
        for found in heads:
            if self._toward_device(found):
                return
        ready = [found for found in self.models.values() if found.may_begin]
        # Who went for a request that was given up comes back too.
        back = dict.fromkeys([*self._back, *self._gone])
        self._back, self._gone = [found for found in back if found in ready and not found.device], []
        for found in [*self._back, *(each for each in ready if each.wanted)]:
            if self._in_background(found):
                return

    def _toward_device(self, found: Scheduled) -> bool:
        """One step of what a waiting request needs. False if that cannot be: all who wait for it are refused then."""
        if not self.room.is_enough(found):
            self._refuse_all(found, Reason.TOO_LARGE, self.room.measure(found))
            return False
        plan = self.room.for_device(found)
        if plan is None:
            self._refuse_all(found, Reason.NO_ROOM, self.room.holders())
            return False
        for other in plan.evict:
            self._evict(other, found.name)
        if plan.fetch_first:
            self._load(found, to_host=True, to_device=False)
        elif not plan.unload:
            self._load(found, to_host=plan.keep and not found.host, to_device=True)
        else:
            idle = [other for other in plan.unload if not other.running]
            self._leaving = {other.name for other in plan.unload}
            if idle:
                self._gone.append(idle[0])
                self._unload(idle[0], found.name)
        return True

    def _in_background(self, found: Scheduled) -> bool:
        """One step of a prefetch, or of bringing back what had to go; False if there is none."""
        restored = found in self._back
        if restored:
            self._back.remove(found)
        if (restored or any(found.wanted.values())) and not found.device and self.room.is_free(found):
            self._load(found, to_host=not found.host and self.room.keeps(found), to_device=True)
            return True
        if found.host:
            for ticket in list(found.wanted):
                self._answer(found, ticket)
            return False
        evict = self.room.for_host(found)
        if evict is None:
            if self.room.fits_host(found):
                self._refuse(list(found.wanted), found, Reason.NO_ROOM, self.room.holders())
            else:
                self._refuse(list(found.wanted), found, Reason.TOO_LARGE, self.room.measure(found))
            return False
        for other in evict:
            self._evict(other, found.name)
        self._load(found, to_host=True, to_device=False)
        return True

    def _preempt(self, found: Scheduled) -> None:
        """Who waits does not wait for what nobody waits for."""
        if not found.waiting:
            self._stop(found)

    def _stop_unwanted(self, found: Scheduled) -> None:
        if not found.is_asked:
            self._stop(found)

    def _stop(self, found: Scheduled) -> None:
        """End its load, if there is one and that was not said before."""
        if found is self.working and found.work != "unload" and not found.stopping:
            found.stopping = True
            self._out.append(Stop(found.name))

    # The four changes --------------------------------------------------------------------------------------------

    def _load(self, found: Scheduled, *, to_host: bool, to_device: bool) -> None:
        self.room.enter(found, to_host=to_host, to_device=to_device)
        found.work = "load" if to_device else "fetch"
        self.working = found
        self._out.append(Load(found.name, to_host, to_device))

    def _unload(self, found: Scheduled, sake: str = "") -> None:
        found.work = "unload"
        self.working = found
        self._out.append(Unload(found.name, sake))

    def _evict(self, found: Scheduled, sake: str = "") -> None:
        self.room.leave_host(found)
        self._out.append(Evict(found.name, sake))

    def _forget(self, found: Scheduled) -> None:
        found.units = None
        self._out.append(Forget(found.name))

    def _work_over(self, model: str) -> Scheduled:
        found = self.models[model]
        assert self.working is found
        self.working = None
        return found

    # Words -------------------------------------------------------------------------------------------------------

    def _refuse_all(self, found: Scheduled, reason: Reason, detail: str = "", error: HoistError | None = None) -> None:
        tickets = [*found.waiting, *found.wanted]
        for ticket in tickets:
            found.forget(ticket)
        self._refuse(tickets, found, reason, detail, error)

    def _refuse(
        self, tickets: list[int], found: Scheduled, reason: Reason, detail: str = "", error: HoistError | None = None
    ) -> None:
        for ticket in tickets:
            found.forget(ticket)
            self._holder.pop(ticket, None)
            self._out.append(Refuse(ticket, found.name, reason, detail, error))

    def _why(self, found: Scheduled) -> str:
        """What a waiting request waits for."""
        if found.work or found.opening:
            return f"{found.name} is being brought"
        if self.working is not None:
            return f"{self.working.name} is being brought"
        return self.room.holders()

    def _next(self) -> int:
        self._order += 1
        return self._order
