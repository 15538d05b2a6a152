"""Calls that may hang: each in a thread of its own, so that who waits can stop waiting, and few at once."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable
from threading import BoundedSemaphore, Event, Thread
from typing import Generic, TypeVar, cast

from hoist.errors import StorageUnavailable

Result = TypeVar("Result")


class Call(Generic[Result]):
    """One call under way. `seconds` is how long it took, once it is over."""

    def __init__(self) -> None:
        self.over = Event()
        self.seconds = 0.0
        self._result: Result | None = None
        self._error: BaseException | None = None

    @property
    def error(self) -> BaseException | None:
        """What it raised, once it is over."""
        return self._error

    def result(self) -> Result:
        """What it gave, once it is over; raises what it raised."""
        if self._error is not None:
            raise self._error
        return cast("Result", self._result)

    def run(self, function: Callable[[], Result]) -> None:
        """Carry it out, in this thread."""
        began = time.monotonic()
        try:
            self._result = function()
        except BaseException as error:  # noqa: BLE001 it is raised again by `result`
            self._error = error
        self.seconds = time.monotonic() - began
        self.over.set()


class Calls:
    """Threads for the calls of one member, at most so many: one that hangs for ever keeps no more than these."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._room = BoundedSemaphore(most)

    def start(
        self, function: Callable[[], Result], seconds: float, on_over: Callable[[Call[Result]], None] | None = None
    ) -> Call[Result]:
        """Begin a call; `on_over` is told at its end, in its thread. Waits that long for room.

        Raises StorageUnavailable where all threads hang.
        """
        if not self._room.acquire(timeout=seconds):
            raise StorageUnavailable(f"{self._name}: all calls hang")
        call: Call[Result] = Call()
        context = contextvars.copy_context()

        def work() -> None:
            try:
                context.run(call.run, function)
            finally:
                self._room.release()
            if on_over:
                on_over(call)

        # A daemon, as nothing can end a thread that hangs in a dead mount: it must not keep Python from ending.
        Thread(target=work, name=f"hoist-any-{self._name}", daemon=True).start()
        return call
