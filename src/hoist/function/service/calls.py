"""Calls of a handler: so many at once, each with its lease, which ends when the handler has come back and never before."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from hoist.errors import DeadlineExceeded, HoistError
from hoist.function.handler import Handler, Request, Response, as_response, handler_error
from hoist.function.service.answers import GONE, Refusal
from hoist.function.service.threads import HandlerLoop, Stop, Workers, call

if TYPE_CHECKING:
    from hoist.function.switch import Lease

log = logging.getLogger("hoist.function")
_DAY_SECONDS = 86400.0


class Calls:
    """Runs the handler for leases. Its methods belong to the service's loop."""

    def __init__(self, concurrency: int, loop: HandlerLoop, on_handled: Callable[[str, float], None]) -> None:
        self._slots = asyncio.Semaphore(concurrency)
        self._workers = Workers(concurrency, "hoist-handler")
        self._loop = loop
        self._on_handled = on_handled
        self._concurrency = concurrency
        self.running = self.abandoned = 0

    @property
    def stuck(self) -> bool:
        """Whether every turn is taken by a handler that does not come back although nobody waits for it."""
        return self.abandoned >= self._concurrency

    async def run(self, handler: Handler, lease: Lease, request: Request, wait: Wait, who: str) -> Response:
        """The handler's answer. The lease is released once the handler is done, even where nobody waits any more.

        `who` asks, for the log. Raises HandlerError or what of Hoist's the handler raised, DeadlineExceeded, Refusal.
        """
        try:
            await wait.until_done(self._slots.acquire(), "the handler's turn")
        except BaseException:
            lease.release()
            raise
        self.running += 1
        began = time.monotonic()
        here = asyncio.get_running_loop()
        future = self._workers.submit(lambda: self._answer(handler, lease, request, who))
        ended = asyncio.Event()
        left = [False]

        def end() -> None:
            ended.set()
            self.running -= 1
            self.abandoned -= left[0]
            self._slots.release()
            self._on_handled(request.model, time.monotonic() - began)

        future.add_done_callback(lambda _: _soon(here, end))
        try:
            await wait.until_done(ended.wait(), "the handler", status=504)
        except BaseException:
            assert isinstance(request.stop, Stop)
            request.stop.set()
            left[0] = not ended.is_set()
            self.abandoned += left[0]
            raise
        found = future.result()
        if isinstance(found, HoistError):
            raise found
        return found

    def _answer(self, handler: Handler, lease: Lease, request: Request, who: str) -> Response | HoistError:
        """In a worker's thread. An error is told by what it is, not raised: its frames would keep the model in memory."""
        with lease:
            assert isinstance(request.stop, Stop)
            stop = request.stop
            try:
                return as_response(call(lambda: handler.handle(lease.object, request), self._loop, stop))
            except BaseException as error:
                if not isinstance(error, HoistError):
                    log.error("%s: the handler raised", who, exc_info=error)
                found = handler_error("the handler", error)
                error.__traceback__ = error.__cause__ = error.__context__ = None
                return found


def _soon(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        # The service has ended; this handler came back too late for anybody.
        log.warning("a handler came back after the end of the service")


class Wait:
    """How long one request is waited for: until its deadline, or until its client has gone, or this instance must end."""

    def __init__(self, ends_at: float, gone: asyncio.Future[Any], over: asyncio.Future[Any]) -> None:
        self._ends_at, self._gone, self._over = ends_at, gone, over

    @property
    def left(self) -> float:
        """Seconds, from 0 to a day."""
        return min(max(0.0, self._ends_at - time.monotonic()), _DAY_SECONDS)

    async def until_done(self, awaitable: Awaitable[Any], what: str, status: int = 503) -> Any:
        """What it comes to; it is cancelled otherwise. Raises DeadlineExceeded, Refusal, and what it does."""
        task = asyncio.ensure_future(awaitable)
        try:
            await asyncio.wait({task, self._gone, self._over}, timeout=self.left, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.done():
            return task.result()
        task.cancel()
        if self._gone.done():
            raise Refusal(*GONE)
        if self._over.done():
            raise Refusal(503, "ending", "this instance is ending; ask another", 1.0)
        if status == 504:
            raise Refusal(504, "deadline", f"{what} was not done by the deadline")
        raise DeadlineExceeded(f"the deadline came before {what} did")
