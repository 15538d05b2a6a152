"""Where a handler's code runs: in threads and a loop of its own, so that nothing it does keeps the service's loop waiting.

All are daemons: a handler that hangs for ever keeps no process from its end.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, TypeVar

Result = TypeVar("Result")


class Workers:
    """Up to `count` threads, started as they are needed and kept: libraries keep things for each thread they meet."""

    def __init__(self, count: int, name: str) -> None:
        self._orders: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._count, self._name = count, name
        self._lock = Lock()
        self._started = self._busy = 0

    def submit(self, function: Callable[[], Result]) -> Future[Result]:
        """Run it in the next free thread. It should not raise: an error's frames keep what they hold in memory."""
        future: Future[Result] = Future()
        with self._lock:
            self._busy += 1
            if self._started < min(self._busy, self._count):
                self._started += 1
                Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
        self._orders.put(lambda: settle(future, function))
        return future

    def _work(self) -> None:
        while True:
            order = self._orders.get()
            order()
            # Nothing of it is kept while this thread waits for the next one.
            del order
            with self._lock:
                self._busy -= 1


def settle(future: Future[Result], function: Callable[[], Result]) -> None:
    """Give the future what the function gives or raises."""
    try:
        future.set_result(function())
    except BaseException as error:  # noqa: BLE001 whatever it is, it is told to who waits
        future.set_exception(error)


def in_thread(function: Callable[[], Result], name: str) -> Future[Result]:
    """Run it in a new thread, which keeps no process from its end."""
    future: Future[Result] = Future()
    Thread(target=lambda: settle(future, function), name=name, daemon=True).start()
    return future


class HandlerLoop:
    """An event loop in a thread, started when something async first comes."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def resolve(self, awaitable: Awaitable[Any], stop: Stop | None = None) -> Any:
        """Wait, in any other thread, for what it gives. `stop` cancels it; what it does then is waited for all the same."""
        loop = self._running()
        future: Future[Any] = Future()

        async def guarded() -> Any:
            try:
                return await awaitable
            except (SystemExit, KeyboardInterrupt) as error:
                # It would end the loop, and with it every other request.
                raise RuntimeError(f"the handler ended with {type(error).__name__}") from error

        async def main() -> None:
            task = asyncio.ensure_future(guarded())
            if stop is not None:
                stop.does(lambda: loop.call_soon_threadsafe(task.cancel))
            try:
                future.set_result(await task)
            except BaseException as error:  # noqa: BLE001 it is raised where it is waited for
                future.set_exception(error)

        asyncio.run_coroutine_threadsafe(main(), loop)
        return future.result()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                Thread(target=self._loop.run_forever, name="hoist-handler-loop", daemon=True).start()
            return self._loop


class Stop(Event):
    """An event that also does something when it is set: at once, where it has been set before."""

    def __init__(self) -> None:
        super().__init__()
        self._then: Callable[[], object] | None = None

    def does(self, then: Callable[[], object]) -> None:
        """Call this when it is set."""
        self._then = then
        if self.is_set():
            then()

    def set(self) -> None:
        """Set it."""
        super().set()
        if self._then is not None:
            self._then()


def call(function: Callable[[], Any], loop: HandlerLoop, stop: Stop | None = None) -> Any:
    """What a handler's function gives, or what the awaitable that it gives comes to."""
    found = function()
    return loop.resolve(found, stop) if inspect.isawaitable(found) else found
