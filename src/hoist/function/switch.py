"""The switcher: models come and go on one device as requests ask for them, within budgets of bytes.

Thread-safe, with threads of its own and no event loop: wait for its futures, or `asyncio.wrap_future` them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from difflib import get_close_matches
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, Self

from hoist.errors import ModelUnknown, UsageError
from hoist.function.actions import Action
from hoist.function.driver import Driver, OnTrace
from hoist.function.handler import Handler, Resolve
from hoist.function.lease import Lease
from hoist.function.schedule import Schedule
from hoist.function.states import Budgets, ModelState, State, Usage
from hoist.function.timers import after
from hoist.function.worker import Served, Worker

if TYPE_CHECKING:
    from hoist.config import Config

__all__ = ["Budgets", "Lease", "ModelState", "Served", "State", "Switcher", "Usage"]
_LEAST_UNLOAD_SECONDS = 5.0


class Switcher:
    """Serves `models` (name to location, or to Served) with `handler` on `device`; nothing is loaded before it is asked for.

    `deadline_seconds` is a request's that names none; `load_seconds` the most that one step of a load may take;
    `resolve` waits for what async functions of the handler give (without it each runs in a loop of its own);
    `on_trace` is told of every load, from a thread of the switcher; `two_memories` keeps a device apart from host memory
    on the CPU too. Torch is imported by the first load, not here. Raises UsageError.
    """

    def __init__(
        self,
        models: Mapping[str, str | Served],
        handler: Handler,
        device: str = "cpu",
        budgets: Budgets = Budgets(),  # noqa: B008 a frozen value
        *,
        deadline_seconds: float = 300.0,
        load_seconds: float = 900.0,
        resolve: Resolve | None = None,
        on_trace: OnTrace | None = None,
        config: Config | None = None,
        two_memories: bool = False,
    ) -> None:
        if not models:
            raise UsageError("there is no model to serve: name one")
        served = {name: each if isinstance(each, Served) else Served(each) for name, each in models.items()}
        self._schedule = Schedule(served, budgets, one_memory=device == "cpu" and not two_memories)
        worker = Worker(served, handler, device, config, two_memories=two_memories, resolve=resolve)
        self._driver = Driver(self._schedule, worker, load_seconds, on_trace)
        self._budgets = budgets
        self._deadline_seconds = deadline_seconds
        self._closing = False

    def acquire(self, name: str, deadline_seconds: float | None = None) -> Future[Lease]:
        """A lease on the model, once its object is ready; `cancel()` of the future ends the wait.

        The deadline is for the wait and for the lease: one held beyond it no longer keeps others waiting for its end,
        they are refused. The future raises ModelUnknown, Busy, DeadlineExceeded, HandlerError, and what a load may.
        """
        return self._ask(name, self._schedule.asked, lease=True, seconds=self._seconds(deadline_seconds))

    def switch(self, name: str, deadline_seconds: float | None = None) -> Future[ModelState]:
        """Have the model ready on the device. The future raises what `acquire`'s does."""
        return self._ask(name, self._schedule.asked, seconds=self._seconds(deadline_seconds))

    def prefetch(self, name: str, to: str = "host") -> Future[ModelState]:
        """Bring a model to the `host`'s memory, or to the `device`, when nobody waits for another one.

        It takes no other model off the device: where there is no room, it stays in host memory. The future raises what
        `acquire`'s does. Raises UsageError.
        """
        if to not in (State.HOST, State.DEVICE):
            raise UsageError(f"a model is prefetched to the host or the device, not to {to!r}")
        return self._ask(name, partial(self._schedule.prefetch, to_device=to == State.DEVICE))

    def drop(self, name: str) -> Future[ModelState]:
        """Take a model out of memory once its running requests are over, and forget which version it was.

        A request that comes meanwhile opens its location anew. The future raises ModelUnknown, Busy.
        """
        return self._ask(name, self._schedule.drop)

    def pin(self, name: str) -> None:
        """Do not evict this model once it is in memory. Raises ModelUnknown."""
        self._known(name)
        self._driver.event(partial(self._schedule.pin, name))

    def unpin(self, name: str) -> None:
        """Let it be evicted again. Raises ModelUnknown."""
        self._known(name)
        self._driver.event(partial(self._schedule.pin, name, pinned=False))

    def states(self) -> list[ModelState]:
        """Every model as it is now, in the order in which they were given. May look at a disk."""
        with self._driver.lock:
            found = [self._driver.state(name) for name in self._schedule.models]
        return [self._driver.looked_up(state) for state in found]

    def usage(self) -> Usage:
        """What all of them take."""
        with self._driver.lock:
            room = self._schedule.room
            return Usage(room.host.total, room.device.total, *self._driver.leaked, self._budgets)

    def close(self, drain_seconds: float = 30.0) -> None:
        """Refuse what waits and what comes, let running requests finish, then unload everything. Twice does nothing."""
        with self._driver.lock:
            if self._closing:
                return
            self._closing = True
        self._driver.event(self._schedule.close)
        until = after(drain_seconds)
        with self._driver.changed:
            while not self._driver.is_idle() and (left := until - after(0)) > 0:
                self._driver.changed.wait(left)
        # A handler that hangs in its unload must not keep the process.
        ending = Thread(target=self._driver.end, name="hoist-unload", daemon=True)
        ending.start()
        ending.join(max(_LEAST_UNLOAD_SECONDS, until - after(0)))
        self._driver.timers.close()

    def _ask(
        self, name: str, event: Callable[[int, str], list[Action]], *, lease: bool = False, seconds: float | None = None
    ) -> Future[Any]:
        try:
            self._known(name)
        except ModelUnknown as error:
            future: Future[Any] = Future()
            future.set_exception(error)
            return future
        return self._driver.ask(name, event, lease=lease, seconds=seconds)

    def _seconds(self, given: float | None) -> float:
        return self._deadline_seconds if given is None else given

    def _known(self, name: str) -> None:
        if name not in self._schedule.models:
            names = list(self._schedule.models)
            near = get_close_matches(name, names, 3, 0.4) or names[:5]
            raise ModelUnknown(f"no model {name!r:.200} is served here; there are {', '.join(near)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
