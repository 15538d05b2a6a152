"""How a service starts and ends: it listens first, then imports the handler, then loads the first model."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from hoist.errors import HandlerError, HoistError
from hoist.function.handler import Handler
from hoist.function.service.threads import in_thread

if TYPE_CHECKING:
    from hoist.function.service.settings import Settings
    from hoist.function.states import ModelState
    from hoist.function.switch import Switcher

log = logging.getLogger("hoist.function")
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0
_CLOSE_SECONDS = 10.0
_POLL_SECONDS = 0.02
Result = TypeVar("Result")
Made = tuple[Handler, "Switcher"]


class Lifecycle:
    """One service's life. Its methods belong to the service's loop, and it must be made there.

    `make` finds the handler and makes the switcher, in a thread; what it raises is the service's end.
    """

    def __init__(self, settings: Settings, make: Callable[[], Made], load_seconds: float) -> None:
        self._settings, self._make, self._load_seconds = settings, make, load_seconds
        loop = asyncio.get_running_loop()
        self._made: asyncio.Future[Made] = loop.create_future()
        self._wake = asyncio.Event()
        self._attempt: asyncio.Future[HoistError | None] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()
        """Done when nobody may be waited for any longer."""
        self.failed: BaseException | None = None
        self.loaded = False
        self.ending = False

    async def start(self) -> None:
        """Import, make, load. Raises what `make` does."""
        try:
            made = await asyncio.wrap_future(in_thread(self._make, "hoist-start"))
        except BaseException as error:
            self.failed = error
            raise
        self._made.set_result(made)
        switcher = made[1]
        for name in self._settings.pin:
            switcher.pin(name)
        await self._preload(switcher)
        for name in self._settings.prefetch:
            switcher.prefetch(name).add_done_callback(_log_failure)

    async def _preload(self, switcher: Switcher) -> None:
        """Have the first model ready, however often that takes."""
        name = self._settings.preload
        pause = _FIRST_WAIT
        while name is not None:
            self._wake.clear()
            error = await _outcome(switcher.switch(name, self._load_seconds))
            attempt, self._attempt = self._attempt, asyncio.get_running_loop().create_future()
            attempt.set_result(error)
            if error is None:
                break
            log.error(
                "the first model cannot be loaded: %s; tried again in %g s", error, pause, exc_info=error.__cause__
            )
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pause = min(2 * pause, _LONGEST_WAIT)
        self.loaded = True

    async def initialized(self) -> HoistError | None:
        """Wait until the first model is ready, or cannot be: then the reason. A failed load is tried again at once."""
        await self.switcher()
        if self.loaded or self._settings.preload is None:
            return None
        self._wake.set()
        return await asyncio.shield(self._attempt)

    async def switcher(self) -> Switcher:
        """The switcher, once there is one."""
        return (await asyncio.shield(self._made))[1]

    @property
    def made(self) -> Switcher | None:
        """The switcher, if there is one yet."""
        return self._made.result()[1] if self._made.done() else None

    @property
    def handler(self) -> Handler:
        """The handler; it has been imported."""
        return self._made.result()[0]

    def unready(self) -> str | None:
        """Why no request is welcome now, in a word; None if they are."""
        if self.ending:
            return "ending"
        if not self._made.done():
            return "starting"
        return None if self.loaded else "loading"

    async def drain(self, busy: Callable[[], int]) -> bool:
        """From now on not ready; wait until `busy` is 0, at most as long as running requests have. Whether it got there."""
        self.ending = True
        until = time.monotonic() + self._settings.drain_seconds
        while busy() and time.monotonic() < until:
            await asyncio.sleep(_POLL_SECONDS)
        return not busy()

    def give_up(self) -> None:
        """Wait for nobody any longer."""
        if not self.over.done():
            self.over.set_result(None)

    async def close(self) -> None:
        """Close the switcher, and with it the handler; a handler that hangs is left alone after a while."""
        if not self._made.done():
            return
        switcher = self._made.result()[1]
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.wrap_future(in_thread(lambda: switcher.close(0.0), "hoist-end"))
        except TimeoutError:
            log.warning("models are not unloaded after %g s; they end with the process", _CLOSE_SECONDS)
        except HandlerError as error:
            log.warning("%s", error, exc_info=error.__cause__)


async def _outcome(future: Future[ModelState]) -> HoistError | None:
    try:
        await asyncio.wrap_future(future)
    except HoistError as error:
        return error
    return None


def _log_failure(future: Future[ModelState]) -> None:
    if not future.cancelled() and (error := future.exception()):
        log.warning("a prefetch failed: %s", error)
