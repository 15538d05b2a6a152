"""Drives a schedule: tells it what happens, and has done what follows, each load in a thread of its own."""

from __future__ import annotations

import gc
import itertools
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from threading import Condition, Lock, Thread
from typing import Any

from hoist.errors import Busy, HoistError
from hoist.function.actions import Action, Done, Evict, Forget, Grant, Load, Open, Reason, Refuse, Stop, Unload
from hoist.function.handler import handler_error
from hoist.function.journey import Journey
from hoist.function.lease import Call, Lease, Ticket, refusal
from hoist.function.schedule import Schedule
from hoist.function.states import ModelState, State
from hoist.function.timers import Timers, after
from hoist.function.trace import DONE, Trace
from hoist.function.worker import Entry, Worker, forgetful

_LOG = logging.getLogger(__name__)
# Whoever is told at the deadline to stop needs a moment to do so, and others must not be refused because of that.
_GRACE_SECONDS = 1.0
Event = Callable[[], list[Action]]
OnTrace = Callable[[Trace], None]


class Driver:
    """The one lock around a schedule. What is quick follows an event under it, the rest without."""

    def __init__(self, schedule: Schedule, worker: Worker, load_seconds: float, on_trace: OnTrace | None) -> None:
        self.schedule, self.worker = schedule, worker
        self.lock = Lock()
        self.changed = Condition(self.lock)
        self.leaked = (0, 0)
        self.timers = Timers()
        self._load_seconds, self._on_trace = load_seconds, on_trace
        self._tickets: dict[int, Ticket] = {}
        self._numbers = itertools.count(1)
        self._started = False

    def ask(
        self, name: str, event: Callable[[int, str], list[Action]], *, lease: bool = False, seconds: float | None = None
    ) -> Future[Any]:
        """A new ticket for `event`, refused after so many seconds; what it gets."""
        if any(self.leaked):
            self.look_for_leaks()
        number, future = next(self._numbers), Future[Any]()
        ticket = Ticket(name, future, lease)

        def enter() -> list[Action]:
            self._tickets[number] = ticket
            if seconds is not None:
                ticket.timer = self.timers.at(after(seconds), partial(self.event, partial(self._expired, number)))
            if not self.schedule.models[name].device:
                self._journey(self.worker.entries[name])
            return event(number, name)

        self.event(enter)
        future.add_done_callback(partial(self._given_up, number))
        return future

    def event(self, event: Event) -> None:
        """Tell the schedule, and do what follows."""
        with self.lock:
            calls = [call for action in event() for call in self._follow(action)]
            self.changed.notify_all()
        for call in calls:
            call()

    def state(self, name: str) -> ModelState:
        """A model as it is now; with the lock."""
        found, entry = self.schedule.models[name], self.worker.entries[name]
        state = State.DEVICE if found.device else State.HOST if found.host else State.STORAGE
        room, units = self.schedule.room, found.units or {}
        size = sum(units.values())
        return ModelState(
            name,
            entry.served.location,
            state,
            work="open" if found.opening else found.work,
            running=len(found.running),
            waiting=len(found.waiting) + len(found.wanted),
            pinned=found.pinned,
            size_bytes=size,
            host_bytes=size * found.in_host,
            device_bytes=size * found.in_device,
            own_bytes=(room.host if found.in_host else room.device).own(units),
            version_digest=entry.model.version_digest if entry.model else "",
            loads=found.loads,
            error=str(found.error or found.stuck),
        )

    def looked_up(self, state: ModelState) -> ModelState:
        """The state, and where nothing is in memory, whether it is near; without the lock, as it looks at disks."""
        opened = self.worker.entries[state.name].opened
        if state.state is not State.STORAGE or opened is None:
            return state
        try:
            return replace(state, state=State.CACHED) if opened.is_cached() else state
        except (HoistError, OSError):
            return state

    def look_for_leaks(self) -> None:
        """Ask what is held by nobody that should, and tell the schedule."""
        residents = self.worker.residents()
        found = residents.leaked()
        if sum(found) > sum(self.leaked):
            # Objects that refer to each other are found by this only.
            gc.collect()
            found = residents.leaked()
        if found != self.leaked:
            if sum(found) > sum(self.leaked):
                _LOG.warning("the handler has not let go of %d bytes of unloaded models", sum(found))
            self.leaked = found
            self.event(partial(self.schedule.leaked, *found))

    def is_idle(self) -> bool:
        """Whether nothing runs and nothing is brought; with the lock."""
        return self.schedule.working is None and not any(found.running for found in self.schedule.models.values())

    def end(self) -> None:
        """Unload what is loaded, close what is open, refuse who is left."""
        with self.lock:
            busy = {found.name for found in self.schedule.models.values() if found.running or found.stuck}
            left = [self._forget(number) for number in list(self._tickets)]
        self.worker.end(busy)
        for ticket in left:
            ticket.settle(refusal(Refuse(0, ticket.name, Reason.CLOSED)))

    # What follows from an event: under the lock, or as calls without it -------------------------------------------

    def _follow(self, action: Action) -> Iterable[Call]:
        entry = self.worker.entries[action.model]
        match action:
            case Grant(number):
                return [self._granted(number, entry)]
            case Done(number):
                ticket, state = self._forget(number), self.state(action.model)
                return [lambda: ticket.settle(self.looked_up(state))]
            case Refuse(number):
                found = self.schedule.models[action.model]
                if not (found.is_asked or found.work or found.opening):
                    entry.journey = None
                return [partial(self._forget(number).settle, refusal(action))]
            case Open():
                self._journey(entry)
                return [partial(_start, partial(self._open, entry))]
            case Load():
                self._journey(entry)
                entry.stop.clear()
                return [partial(self._work, entry, partial(self._load, entry, action))]
            case Unload():
                return [partial(self._work, entry, partial(self._unload, entry, action))]
            case Stop():
                entry.stop.set()
                return []
            case Evict():
                sake = self.worker.entries.get(action.sake)
                freed = self.worker.residents().release(action.model, host=True, sake=sake.opened if sake else None)
                return [freed.clear, self.look_for_leaks]
            case Forget():
                opened, entry.opened, entry.model = entry.opened, None, None
                return [opened.close] if opened else []

    def _granted(self, number: int, entry: Entry) -> Call:
        ticket, model = self._tickets[number], entry.model
        assert model is not None

        def over() -> list[Action]:
            if number in self._tickets:
                self._forget(number)
            return self.schedule.finished(number)

        release = partial(self.event, over)
        if ticket.lease:
            lease = Lease(model, entry.object, release, self.timers.soon)

            def give() -> None:
                if not ticket.settle(lease):
                    lease.release()

            return give
        state = self.state(entry.name)

        def tell() -> None:
            release()
            ticket.settle(state)

        return tell

    def _given_up(self, number: int, future: Future[Any]) -> None:
        if not future.cancelled():
            return

        def event() -> list[Action]:
            ticket = self._tickets.get(number)
            if ticket is not None and number not in self.schedule.models[ticket.name].running:
                self._forget(number)
            return self.schedule.cancelled(number)

        self.event(event)

    def _expired(self, number: int) -> list[Action]:
        """A ticket's time is over. What runs has a moment to come back before it counts as what hangs."""
        ticket = self._tickets.get(number)
        if ticket is None or number not in self.schedule.models[ticket.name].running:
            return self.schedule.expired(number)
        late = partial(self.event, partial(self.schedule.expired, number))
        ticket.timer = self.timers.at(after(_GRACE_SECONDS), late)
        return []

    def _forget(self, number: int) -> Ticket:
        ticket = self._tickets.pop(number)
        if ticket.timer is not None:
            ticket.timer.cancel()
        return ticket

    # In threads ---------------------------------------------------------------------------------------------------

    def _work(self, entry: Entry, run: Callable[[object], None]) -> None:
        """Begin a load or unload; if it does not come back, go on without it."""
        work = entry.work = object()
        why = f"{entry.name} has been under way for {self._load_seconds:g} s, and does not come back"

        def abandon() -> list[Action]:
            if entry.work is not work:
                return []
            entry.work = None
            entry.stop.set()
            _LOG.error("%s", why)
            self.timers.soon(self._ended(entry, "failed", Busy(why)))
            return self.schedule.abandoned(entry.name, why)

        timer = self.timers.at(after(self._load_seconds), partial(self.event, abandon))

        def whole() -> None:
            try:
                run(work)
            finally:
                timer.cancel()

        _start(whole)

    def _open(self, entry: Entry) -> None:
        try:
            units = self.worker.open(entry).units
        except BaseException as error:  # noqa: BLE001 whatever it is, who waits must be told
            found = error if isinstance(error, HoistError) else handler_error(f"opening {entry.name}", error)
            failure = forgetful(found)
            with self.lock:
                ended = self._ended(entry, "failed", failure)
            ended()
            self.event(partial(self.schedule.failed, entry.name, failure))
            return
        self.event(partial(self.schedule.opened, entry.name, units))

    def _load(self, entry: Entry, action: Load, work: object) -> None:
        failure = self.worker.load(entry, to_host=action.to_host, to_device=action.to_device)
        stopped = entry.stop.is_set()

        def over() -> list[Action]:
            entry.work = None
            self._started = self._started or (failure is None and action.to_device)
            if failure is None:
                return self.schedule.done(entry.name)
            fetched = failure.fetched and action.to_host
            return self.schedule.failed(entry.name, failure.error, stopped=stopped, fetched=fetched)

        with self.lock:
            tell: Call | None = None
            if entry.work is work and failure is not None:
                tell = self._ended(entry, "cancelled" if stopped else "failed", failure.error)
            elif entry.work is work and (action.to_device or not self.schedule.models[entry.name].waiting):
                tell = self._ended(entry, DONE)
        if tell is not None:
            # Before who waited goes on: they find it told.
            tell()
        self._finish(entry, work, over)

    def _unload(self, entry: Entry, action: Unload, work: object) -> None:
        self.worker.unload(entry, self.worker.entries.get(action.sake))
        self.look_for_leaks()

        def over() -> list[Action]:
            entry.work = None
            return self.schedule.done(entry.name)

        self._finish(entry, work, over)

    def _finish(self, entry: Entry, work: object, over: Event) -> None:
        """A load or unload came back: its end, unless it was abandoned; then nothing of it is kept."""
        late: list[bool] = []

        def event() -> list[Action]:
            if entry.work is work:
                return over()
            late.append(True)
            return []

        self.event(event)
        if late:
            self.worker.discard(entry)
            self.event(partial(self.schedule.returned, entry.name))

    def _journey(self, entry: Entry) -> None:
        entry.journey = entry.journey or Journey(entry.name)

    def _ended(self, entry: Entry, outcome: str, error: HoistError | None = None) -> Call:
        """The end of a journey, to be told without the lock."""
        journey, entry.journey = entry.journey, None
        waiting = self.schedule.models[entry.name].waiting
        kind = "prefetch" if not waiting else "switch" if self._started else "start"
        version = entry.model.version_digest if entry.model else ""
        storage_kind = entry.opened.storage_kind if entry.opened else ""

        def tell() -> None:
            if journey is None or self._on_trace is None:
                return
            try:
                self._on_trace(
                    journey.trace(kind, self.worker.device, version, storage_kind, outcome, str(error or ""))
                )
            except Exception:  # noqa: BLE001 who listens must not end a load
                _LOG.exception("a trace of %s was not told", entry.name)

        return tell


def _start(run: Call) -> None:
    Thread(target=run, name="hoist-switch", daemon=True).start()
