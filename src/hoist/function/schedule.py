"""Which model comes and which goes, as a state machine: events in, actions out. Pure: no clock, no thread, no byte.

The rules: a request whose model's object is ready runs at once. Others wait, the model with the oldest waiting request
first; all requests for one model cost one load, and there is one load at a time. Room is made by what is idle and was
not used for longest. What is busy has to finish first, and until it has, new requests for it wait too: so nobody
waits for ever. What is pinned, or holds a request whose time is over, never goes, and who would need its room is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hoist.errors import HoistError
from hoist.function.actions import Action, Done, Evict, Forget, Grant, Load, Open, Reason, Refuse, Stop, Unload
from hoist.function.pool import Units
from hoist.function.room import Room
from hoist.function.scheduled import Scheduled
from hoist.function.states import Budgets


class Schedule:
    """The state machine of several models on one device. Each event gives the actions that follow from it, in order.

    `one_memory`: the device is host memory, as on the CPU, so that what is on the device is in the host's too.
    Tickets are the caller's, and never used twice.
    """

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

    # Events ------------------------------------------------------------------------------------------------------

    def asked(self, ticket: int, model: str) -> list[Action]:
        """A request wants the model's object."""
        return self._enter(ticket, model, lambda found: found.waiting.__setitem__(ticket, self._next()))

    def prefetch(self, ticket: int, model: str, *, to_device: bool = False) -> list[Action]:
        """The model is wanted in host memory, or on the device, when nothing else is to be done."""
        return self._enter(ticket, model, lambda found: found.wanted.__setitem__(ticket, to_device))

    def drop(self, ticket: int, model: str) -> list[Action]:
        """The model is to go once its running requests are over."""
        return self._enter(ticket, model, lambda found: found.dropping.append(ticket))

    def cancelled(self, ticket: int) -> list[Action]:
        """Nobody waits for this ticket any more; of a running one nothing changes."""
        found = self._holder.get(ticket)
        if found is not None and ticket not in found.running and found.forget(ticket):
            del self._holder[ticket]
            self._stop_unwanted(found)
        return self._follow()

    def expired(self, ticket: int) -> list[Action]:
        """A ticket's time is over: waiting, it is refused; running, nobody waits for its end any more."""
        found = self._holder.get(ticket)
        if found is None:
            return []
        if ticket in found.running:
            found.overdue.add(ticket)
        elif ticket in found.waiting or ticket in found.wanted:
            found.forget(ticket)
            self._refuse([ticket], found, Reason.DEADLINE, self._why(found))
            self._stop_unwanted(found)
        return self._follow()

    def finished(self, ticket: int) -> list[Action]:
        """A request that ran is over."""
        found = self._holder.pop(ticket)
        found.running.remove(ticket)
        found.overdue.discard(ticket)
        found.used = self._next()
        return self._follow()

    def opened(self, model: str, units: Units) -> list[Action]:
        """The answer to Open: what its weights are made of."""
        found = self.models[model]
        found.opening, found.units = False, units
        return self._follow()

    def done(self, model: str) -> list[Action]:
        """The Load or Unload is done."""
        found = self._work_over(model)
        if found.work == "unload":
            self.room.leave_device(found)
        else:
            found.host, found.device = found.in_host, found.in_device
            found.used = self._next()
            found.error = None
            if found.work == "load":
                found.loads += 1
                self._gone.clear()
        found.work, found.stopping = "", False
        # Who waited for this load is served by it, before anybody else's turn.
        self._grant(found)
        return self._follow()

    def failed(self, model: str, error: HoistError, *, stopped: bool = False, fetched: bool = False) -> list[Action]:
        """The Open or Load failed; `stopped`: because of a Stop; `fetched`: its weights are in host memory all the same."""
        found = self.models[model]
        if found.opening:
            found.opening = False
        else:
            self._work_over(model)
            found.work = ""
            if found.in_device:
                self.room.leave_device(found)
            found.host = found.host or (fetched and found.in_host)
            if found.in_host and not found.host:
                self.room.leave_host(found)
            self._back += self._gone
            self._gone = []
        if not (stopped and found.stopping):
            found.error = error
            self._refuse_all(found, Reason.FAILED, error=error)
            if not found.in_host and not found.in_device and found.units is not None:
                # It may have been removed, or published anew: the next request looks.
                self._forget(found)
        found.stopping = False
        return self._follow()

    def abandoned(self, model: str, why: str) -> list[Action]:
        """The Load or Unload does not come back: its bytes stay counted, and others go on."""
        found = self._work_over(model)
        found.stuck, found.stopping = why, False
        self._back += self._gone
        self._gone = []
        self._refuse_all(found, Reason.STUCK, why)
        return self._follow()

    def returned(self, model: str) -> list[Action]:
        """What was abandoned came back after all, and nothing of it is in memory."""
        found = self.models[model]
        found.stuck, found.work, found.host = "", "", False
        if found.in_device:
            self.room.leave_device(found)
        if found.in_host:
            self.room.leave_host(found)
        return self._follow()

    def pin(self, model: str, *, pinned: bool = True) -> list[Action]:
        """The model is never evicted, or may be again."""
        self.models[model].pinned = pinned
        return self._follow()

    def leaked(self, host_bytes: int, device_bytes: int) -> list[Action]:
        """So many bytes are held by nobody that should."""
        self.room.host.leaked, self.room.device.leaked = host_bytes, device_bytes
        return self._follow()

    def close(self) -> list[Action]:
        """Nothing waits from now on; what runs may finish."""
        self._closed = True
        for found in self.models.values():
            self._refuse_all(found, Reason.CLOSED)
            self._back.clear()
            self._stop_unwanted(found)
        return self._follow()

    # What follows ------------------------------------------------------------------------------------------------

    def _enter(self, ticket: int, model: str, note: Callable[[Scheduled], None]) -> list[Action]:
        found = self.models[model]
        if self._closed or found.stuck:
            reason = Reason.CLOSED if self._closed else Reason.STUCK
            self._out.append(Refuse(ticket, model, reason, found.stuck))
        else:
            self._holder[ticket] = found
            note(found)
        return self._follow()

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
            self._refuse_all(found, Reason.TOO_LARGE)
            return False
        plan = self.room.for_device(found)
        if plan is None:
            self._refuse_all(found, Reason.NO_ROOM, self.room.holders())
            return False
        for other in plan.evict:
            self._evict(other)
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
            reason = Reason.NO_ROOM if self.room.fits_host(found) else Reason.TOO_LARGE
            self._refuse(list(found.wanted), found, reason, self.room.holders())
            return False
        for other in evict:
            self._evict(other)
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

    def _evict(self, found: Scheduled) -> None:
        self.room.leave_host(found)
        self._out.append(Evict(found.name))

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
