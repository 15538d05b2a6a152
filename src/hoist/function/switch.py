"""The switcher: models come and go on one device as requests ask for them, within budgets of bytes.

Thread-safe, with threads of its own and no event loop: wait for its futures, or `asyncio.wrap_future` them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Self

from hoist.function.handler import Handler, Resolve
from hoist.function.model import Model
from hoist.function.states import Budgets, ModelState, Usage
from hoist.function.trace import Trace


class Lease:
    """The right to use a model's object until `release` (also the end of a `with` block): it stays on the device."""

    model: Model
    object: Any

    def release(self) -> None:
        """Let it go; a second time does nothing."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(self, *error: object) -> None:
        raise NotImplementedError


class Switcher:
    """Serves `models` (name to location) with `handler` on `device`; nothing is loaded before it is asked for.

    `deadline_seconds` is a request's that names none; `load_seconds` the most that one step of a load may take;
    `resolve` waits for what async functions of the handler give (without it each runs in a loop of its own);
    `on_trace` is told of every load, from a thread of the switcher. Raises UsageError.
    """

    def __init__(
        self,
        models: Mapping[str, str],
        handler: Handler,
        device: str = "cpu",
        budgets: Budgets = Budgets(),  # noqa: B008 a frozen value
        *,
        deadline_seconds: float = 300.0,
        load_seconds: float = 900.0,
        resolve: Resolve | None = None,
        on_trace: Callable[[Trace], None] | None = None,
    ) -> None:
        raise NotImplementedError

    def acquire(self, name: str, deadline_seconds: float | None = None) -> Future[Lease]:
        """A lease on the model, once its object is ready; `cancel()` of the future ends the wait.

        The deadline is for the wait and for the lease: one held beyond it no longer keeps others waiting for its end,
        they are refused. The future raises ModelUnknown, Busy, DeadlineExceeded, HandlerError, and what a load may.
        """
        raise NotImplementedError

    def switch(self, name: str, deadline_seconds: float | None = None) -> Future[ModelState]:
        """Have the model ready on the device. The future raises what `acquire`'s does."""
        raise NotImplementedError

    def prefetch(self, name: str, to: str = "host") -> Future[ModelState]:
        """Bring a model to host memory (or the `device`) when nobody waits for another one.

        It takes no other model off the device. The future raises what `acquire`'s does.
        """
        raise NotImplementedError

    def pin(self, name: str) -> None:
        """Do not evict this model once it is in memory. Raises ModelUnknown."""
        raise NotImplementedError

    def unpin(self, name: str) -> None:
        """Let it be evicted again. Raises ModelUnknown."""
        raise NotImplementedError

    def drop(self, name: str) -> Future[None]:
        """Take a model out of memory once its running requests are over, and forget which version it was.

        A request that comes meanwhile opens its location anew. Raises ModelUnknown.
        """
        raise NotImplementedError

    def states(self) -> list[ModelState]:
        """Every model as it is now, in the order in which they were given."""
        raise NotImplementedError

    def usage(self) -> Usage:
        """What all of them take."""
        raise NotImplementedError

    def close(self, drain_seconds: float = 30.0) -> None:
        """Refuse what waits and what comes, let running requests finish, then unload everything. Twice does nothing."""
        raise NotImplementedError
