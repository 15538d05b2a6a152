"""Sessions with one server, each used by one thread at a time, kept for the next."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import BoundedSemaphore, Lock
from typing import TypeVar
from uuid import uuid4

from hoist.errors import HoistError, StorageUnavailable
from hoist.storage.nfs.errors import NfsBroken, NfsStatus, no_root, translated
from hoist.storage.nfs.place import Place
from hoist.storage.nfs.session import Session

MOST_SESSIONS = 32
# A server forgets a client that was silent for its lease time, 10 s at the least that is usual. A session that was idle
# for half of that is made anew, so no thread is needed that renews leases; nothing is kept open between two calls.
_IDLE_SECONDS = 5.0
_STALE_WAITS = (0.0, 0.01, 0.05, 0.2)
Result = TypeVar("Result")


@dataclass(slots=True)
class _Idle:
    session: Session
    slot: int
    since: float


class Contexts:
    """At most `MOST_SESSIONS` sessions with a place; safe for many threads."""

    def __init__(self, place: Place, address: str) -> None:
        self.place = place
        self._address = address
        self._lock = Lock()
        self._room = BoundedSemaphore(MOST_SESSIONS)
        self._closed = False
        self._idle: list[_Idle] = []
        self._begin()

    def run(self, action: Callable[[Session], Result], key: str) -> Result:
        """`action` with a session, once more with a new one if the server had forgotten the first, or hung up on it.

        So an action must bear to be begun again. Raises HoistErrors about the key.
        """
        try:
            return self._ask(action, key)
        except NfsStatus as error:
            raise translated(error, self._address, key) from None

    def _ask(self, action: Callable[[Session], Result], key: str) -> Result:
        """As `run`, but what the server refuses comes as NfsStatus."""
        if os.getpid() != self._pid:
            # Sockets of the process that forked are its own.
            self._begin()
        with self._room:
            idle = self._take()
            if idle:
                try:
                    return self._use(idle.session, idle.slot, action)
                except NfsStatus as error:
                    if not error.forgotten:
                        raise
                except NfsBroken:
                    pass
            return self._anew(action, key)

    def close(self) -> None:
        """End the sessions that are idle now, and the others as soon as they are."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for each in idle:
            each.session.close()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._idle = []
        self._slots: list[int] = []
        self._made = 0
        self._client = f"hoist {platform.node()} {self._pid} {uuid4().hex}"

    def _anew(self, action: Callable[[Session], Result], key: str) -> Result:
        """With a new session; with another one if somebody was removing a folder that the path leads through."""
        for wait in (*_STALE_WAITS, None):
            slot = self._slot()
            session = self._open(slot)
            try:
                return self._use(session, slot, action)
            except NfsStatus as error:
                if not error.forgotten or wait is None:
                    raise
                time.sleep(wait)
            except NfsBroken as error:
                raise translated(error, self._address, key) from None
        raise AssertionError("unreachable")

    def _take(self) -> _Idle | None:
        oldest = time.monotonic() - _IDLE_SECONDS
        with self._lock:
            stale = [each for each in self._idle if each.since < oldest]
            self._idle = [each for each in self._idle if each.since >= oldest]
            found = self._idle.pop() if self._idle else None
        for each in stale:
            each.session.close()
            self._leave(each.slot)
        return found

    def _use(self, session: Session, slot: int, action: Callable[[Session], Result]) -> Result:
        try:
            result = action(session)
        except NfsStatus as error:
            if error.forgotten:
                self._drop(session, slot)
            else:
                self._keep(session, slot)
            raise
        except HoistError:
            self._keep(session, slot)
            raise
        except BaseException:
            self._drop(session, slot)
            raise
        self._keep(session, slot)
        return result

    def _open(self, slot: int) -> Session:
        if self._closed:
            raise StorageUnavailable(f"{self._address} was closed")
        try:
            return Session(self.place, f"{self._client} {slot}")
        except (NfsStatus, NfsBroken) as error:
            self._leave(slot)
            server = f"{self.place.server}:{self.place.port}"
            raise no_root(error, self._address, server, self.place.path) from None
        except BaseException:
            self._leave(slot)
            raise

    def _keep(self, session: Session, slot: int) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(_Idle(session, slot, time.monotonic()))
                return
        self._drop(session, slot)

    def _drop(self, session: Session, slot: int) -> None:
        session.close()
        self._leave(slot)

    def _slot(self) -> int:
        """A number that no other session of this process has: its client name is used by one at a time."""
        with self._lock:
            if self._slots:
                return self._slots.pop()
            self._made += 1
            return self._made

    def _leave(self, slot: int) -> None:
        with self._lock:
            self._slots.append(slot)
