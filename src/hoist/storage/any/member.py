"""One member of a logical storage: opened when it is needed, asked in time, and left alone while it is lost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal, TypeVar

from hoist.errors import (
    Cancelled,
    HoistError,
    NotFound,
    PermissionDenied,
    StorageNotFound,
    StorageUnavailable,
    UsageError,
)
from hoist.model.manifest import digest_of
from hoist.storage.any.breaker import Breaker, State
from hoist.storage.any.buffers import Buffers
from hoist.storage.any.calls import Call, Calls
from hoist.storage.any.known import Known
from hoist.storage.any.usual import LEAST_SECONDS, Usual
from hoist.storage.base import Storage, StoredFile, Version
from hoist.storage.limits import Late, Limits, within
from hoist.storage.posix import on_local_disk

Result = TypeVar("Result")
Read = Callable[[Storage, memoryview], None]
"""Fills memory with what is wanted of a storage."""
Patience = Literal["strict", "lenient", "last"]
"""How long a read waits. `strict`: another member is well; `lenient`: others are left, but lost; `last`: none is left."""

# How long is too long while nothing is known of what is usual.
UNKNOWN_SECONDS = 2.0
_UNKNOWN_READ_SECONDS = LENIENT_SECONDS = 5.0
# Where no other place is left, a read waits for as long as it would without others.
LAST_SECONDS = 30.0
_MOST_CALLS = 64
_PROBE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Health:
    """How a member does: `state` is its circuit's; `problem` is the last thing that went wrong, empty if nothing has;
    `rest_seconds`: for how long it is left alone."""

    name: str
    kind: str
    state: State
    problem: str
    rest_seconds: float


class Member:
    """A storage among others. `open_it` opens it, sending nothing."""

    def __init__(self, name: str, open_it: Callable[[], Storage], buffers: Buffers) -> None:
        self.name = name
        self.breaker = Breaker()
        self._open_it = open_it
        self._buffers = buffers
        self._calls = Calls(name, _MOST_CALLS)
        self._probes = Calls(f"{name}-probe", 1)
        self._lock, self._looking = Lock(), Lock()
        self._storage: Storage | None = None
        self._reads, self._asks = Usual(), Usual()
        self._answered_at = float("-inf")
        self.known = Known()
        self._not_seen: tuple[float, str] | None = None
        self._problem = ""

    # The storage itself.

    def storage(self) -> Storage:
        """It, opened. Raises StorageUnavailable where it cannot be."""
        with self._lock:
            if self._storage is None:
                try:
                    self._storage = self._open_it()
                except HoistError as error:
                    raise StorageUnavailable(f"{self.name} cannot be opened: {error}") from None
            return self._storage

    @property
    def opened(self) -> Storage | None:
        """It, if it has been opened."""
        return self._storage

    def health(self) -> Health:
        """How it does."""
        kind = self._storage.kind if self._storage else ""
        return Health(self.name, kind, self.breaker.state, self._problem, self.breaker.rest_seconds())

    def close(self) -> None:
        """Close it, if it was opened; one that hangs is left."""
        storage, self._storage = self._storage, None
        if storage is not None:
            # Where all calls hang, this one would too.
            with suppress(StorageUnavailable):
                self._calls.start(storage.close, LEAST_SECONDS).over.wait(LEAST_SECONDS)

    # What is small, or a list: asked in a thread, so that nobody has to wait for it.

    def ask(
        self,
        call: Callable[[Storage], Result],
        on_over: Callable[[Call[Result]], None] | None = None,
        *,
        small: bool = True,
    ) -> Call[Result]:
        """Begin to ask; what that says of the member's health is kept. `small`: so is how long it takes.

        Raises StorageUnavailable where all calls hang.
        """

        def over(done: Call[Result]) -> None:
            self._asked(done, small=small)
            if on_over:
                on_over(done)

        return self._calls.start(lambda: call(self.storage()), LEAST_SECONDS, over)

    def ask_seconds(self) -> float:
        """How long an answer to something small may take before another member is asked."""
        return self._asks.too_long(0) or UNKNOWN_SECONDS

    def answer_seconds(self) -> float | None:
        """In how many seconds it answers something small; None if not in time, which tells a long listing from a silence."""
        try:
            call = self.ask(_something_small)
        except StorageUnavailable:
            return None
        seconds = self.ask_seconds()
        if not call.over.wait(seconds):
            self.silent(seconds)
            return None
        return None if is_loss(call.error) else call.seconds

    def _asked(self, call: Call[Result], *, small: bool) -> None:
        if is_loss(call.error):
            self.lost(call.error)
        elif not isinstance(call.error, PermissionDenied):
            if small:
                self._asks.took(0, call.seconds)
            self.well()

    # Its health.

    def well(self) -> None:
        """It has answered."""
        self._answered_at = time.monotonic()
        self.breaker.succeeded()

    def lost(self, error: BaseException | None, *, at_once: bool = False) -> None:
        """It has failed, or was late."""
        self._problem = str(error)
        pause = error.retry_after if isinstance(error, StorageUnavailable) else None
        self.breaker.failed(at_once=at_once, rest_seconds=pause or 0.0)

    def silent(self, seconds: float) -> StorageUnavailable:
        """It has not answered for so long, and is left alone from now on: the error to tell of it."""
        error = StorageUnavailable(f"{self.name} has not answered for {seconds:.1f} s")
        self.lost(error, at_once=True)
        return error

    def come_back(self, read: Read | None = None, size: int = 0) -> None:
        """If it has rested for long enough, try in the background whether it answers again; `read` is what was wanted."""
        if not self.breaker.take_probe():
            return

        def probe() -> None:
            storage = self.storage()
            if read is None:
                _something_small(storage)
                return
            part = min(size, _PROBE_BYTES)
            with within(Limits(UNKNOWN_SECONDS, time.monotonic() + (self._reads.too_long(part) or math.inf))):
                read(storage, memoryview(bytearray(part)))

        try:
            self._probes.start(probe, 0.0, self._probed)
        except StorageUnavailable:
            # The last one hangs still.
            self.breaker.probed(answered=False)

    def _probed(self, call: Call[None]) -> None:
        lost = is_loss(call.error) or isinstance(call.error, PermissionDenied)
        if lost:
            self._problem = str(call.error)
        self.breaker.probed(answered=not lost)

    # Versions.

    def holds(self, version: Version, digest: str) -> bool:
        """Whether it has the version with this digest, looked at once for all who ask. Raises what a storage may."""
        known = self.known.holds(version, digest)
        if known is not None:
            return known
        came = time.monotonic()
        with self._looking:
            known = self.known.holds(version, digest)
            if known is not None:
                return known
            if self._not_seen and self._not_seen[0] >= came:
                # Who looked while this one waited has had no answer: to look again would wait again.
                raise StorageUnavailable(self._not_seen[1])
            try:
                return self._look(version) == digest
            except HoistError as error:
                self._not_seen = (time.monotonic(), str(error))
                raise

    def _look(self, version: Version) -> str:
        call = self.ask(lambda storage: storage.read_manifest(version))
        seconds = self.ask_seconds()
        if not call.over.wait(seconds):
            raise self.silent(seconds)
        try:
            found = digest_of(call.result())
        except StorageNotFound:
            raise
        except (NotFound, PermissionDenied):
            found = ""
        self.known.found(version, found)
        return found

    def is_here(self, file: StoredFile) -> bool:
        """Whether the file lies on a disk of this host; looked at once for each version."""
        here = self.known.is_local(file.version)
        if here is None:
            storage = self.storage()
            # A mount that is dead hangs at the first look: it is no local one.
            call = self._calls.start(lambda: _on_disk(storage, file), LEAST_SECONDS)
            here = call.over.wait(LEAST_SECONDS) and call.result()
            self.known.found_local(file.version, here)
        return here

    def local_path(self, file: StoredFile) -> Path | None:
        """The file, if it lies on a disk of this host."""
        return self.storage().local_path(file) if self.is_here(file) else None

    # Bytes.

    def read(self, read: Read, buffer: memoryview, file: StoredFile | None, patience: Patience) -> None:
        """Fill `buffer`; `file` is what is read, where it is one. Raises what the storage does, Late."""
        storage = self.storage()
        began = time.monotonic()
        try:
            if storage.traits.gives_up:
                with within(self._limits(storage, len(buffer), patience)):
                    read(storage, buffer)
            elif file is not None and self.is_here(file):
                read(storage, buffer)
            else:
                self._read_apart(storage, read, buffer, patience)
        except Late as late:
            took = time.monotonic() - began
            self.lost(late, at_once=late.silent or self._reads.out_of_all_proportion(len(buffer), took))
            self._reads.took(len(buffer), took)
            raise
        except (Cancelled, UsageError):
            raise
        except HoistError as error:
            if is_loss(error) or isinstance(error, PermissionDenied):
                self.lost(error)
            raise
        self._reads.took(len(buffer), time.monotonic() - began)
        self.well()

    def _limits(self, storage: Storage, size: int, patience: Patience) -> Limits:
        if patience != "strict":
            return Limits(LAST_SECONDS if patience == "last" else LENIENT_SECONDS)
        wait = storage.first_byte_seconds()
        silent = UNKNOWN_SECONDS if wait is None else max(LEAST_SECONDS, 4 * wait)
        return Limits(silent, time.monotonic() + (self._reads.too_long(size) or math.inf))

    def _read_apart(self, storage: Storage, read: Read, buffer: memoryview, patience: Patience) -> None:
        """Into memory of its own, in a thread of its own: what hangs must not hold the caller's, nor write to it."""
        usual = self._reads.too_long(len(buffer)) or _UNKNOWN_READ_SECONDS
        seconds = {"strict": usual, "lenient": max(usual, LENIENT_SECONDS), "last": LAST_SECONDS}[patience]
        own = self._buffers.take(len(buffer))
        began = time.monotonic()
        try:
            try:
                call = self._calls.start(lambda: read(storage, own.view), seconds, lambda _: own.done())
            except StorageUnavailable:
                own.done()
                raise
            if not call.over.wait(seconds):
                silent = self._answered_at < began
                how = "has not answered" if silent else "is far slower than usual"
                raise Late(f"{self.name} {how}: a read has taken {seconds:.1f} s", silent=silent)
            call.result()
            own.copy_to(buffer)
        finally:
            own.done()


def is_loss(error: BaseException | None) -> bool:
    """Whether an error says that a storage itself is not well; one that is well can lack a thing, or have it damaged."""
    lost = isinstance(error, StorageUnavailable | StorageNotFound)
    return lost or (error is not None and not isinstance(error, HoistError))


def _something_small(storage: Storage) -> None:
    storage.find_tag("hoist", "alive")


def _on_disk(storage: Storage, file: StoredFile) -> bool:
    path = storage.local_path(file)
    return path is not None and on_local_disk(path)
