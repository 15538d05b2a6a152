"""Which model comes and which goes, as a state machine: events in, actions out. Pure: no clock, no thread, no byte.

The rules: a request whose model's object is ready runs at once. Others wait, the model with the oldest waiting request
first; all requests for one model cost one load, and there is one load at a time. Room is made by what is idle and was
not used for longest. What is busy has to finish first, and until it has, new requests for it wait too: so nobody
waits for ever. What is pinned, or holds a request whose time is over, never goes, and who would need its room is refused.
"""

from __future__ import annotations

from collections.abc import Callable

from hoist.errors import HoistError
from hoist.function.actions import Action, Reason, Refuse
from hoist.function.pool import Units
from hoist.function.scheduled import Scheduled
from hoist.function.turns import Turns


class Schedule(Turns):
    """The state machine of several models on one device. Each event gives the actions that follow from it, in order.

    `one_memory`: the device is host memory, as on the CPU, so that what is on the device is in the host's too.
    Tickets are the caller's, and never used twice.
    """

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

    def _enter(self, ticket: int, model: str, note: Callable[[Scheduled], None]) -> list[Action]:
        found = self.models[model]
        if self._closed or found.stuck:
            reason = Reason.CLOSED if self._closed else Reason.STUCK
            self._out.append(Refuse(ticket, model, reason, found.stuck))
        else:
            self._holder[ticket] = found
            note(found)
        return self._follow()
