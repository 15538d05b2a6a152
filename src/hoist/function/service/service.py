"""One service: its parts, put together."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from hoist.errors import HoistError
from hoist.expose import labelled
from hoist.function.handler import find_handler, handler_error
from hoist.function.service.calls import Calls
from hoist.function.service.journal import Journal
from hoist.function.service.lifecycle import Lifecycle, Made
from hoist.function.service.metrics import Metrics
from hoist.function.service.settings import Settings
from hoist.function.service.threads import HandlerLoop
from hoist.function.trace import Trace

if TYPE_CHECKING:
    from hoist.function.otel import Exporter

log = logging.getLogger("hoist.function")
_LONGEST_RETRY = 60.0
# The most that one step of a load may take, and what a start waits for its first model.
_LOAD_SECONDS = 900.0


class Service:
    """What the routes work with. It must be made in the service's loop."""

    def __init__(self, settings: Settings, journal: Journal, make: Callable[[Service], Made] | None = None) -> None:
        self.settings = settings
        self.journal = journal
        self.metrics = Metrics()
        self.handler_loop = HandlerLoop()
        self.calls = Calls(settings.concurrency, self.handler_loop, self.metrics.handled)
        self.lifecycle = Lifecycle(settings, lambda: (make or make_switcher)(self), _LOAD_SECONDS)
        self.exporter: Exporter | None = None
        self.asked = 0
        """Requests to /invoke that have no answer yet."""
        self.metrics.gauges(self._gauges)

    def on_trace(self, trace: Trace) -> None:
        """A load ended; told from the switcher's threads."""
        self.metrics.loaded(trace)
        self.journal.note(trace)

    @property
    def retry_after(self) -> float:
        """In how many seconds it is worth asking again: what the last load took."""
        last = self.journal.last()
        return min(max(1.0, last[0].seconds), _LONGEST_RETRY) if last else 1.0

    def unready(self) -> str | None:
        """Why no request is welcome now, in a word; None if they are."""
        return self.lifecycle.unready() or ("stuck" if self.calls.stuck else None)

    async def drain(self) -> bool:
        """From now on not ready; wait for the requests that are here. Whether all were answered."""
        return await self.lifecycle.drain(lambda: self.asked)

    async def close(self) -> None:
        """Unload everything, and send what traces there are. Nobody is answered any more."""
        await self.lifecycle.close()
        if self.exporter is not None:
            await asyncio.to_thread(self.exporter.close)

    def _gauges(self) -> Iterator[tuple[str, float]]:
        yield "running", self.calls.running
        yield "waiting", max(0, self.asked - self.calls.running + self.calls.abandoned)
        yield "abandoned", self.calls.abandoned
        yield "ready", float(self.unready() is None)
        switcher = self.lifecycle.made
        if switcher is None:
            return
        usage = switcher.usage()
        yield "host_bytes", usage.host_bytes
        yield "device_bytes", usage.device_bytes
        for each in switcher.states():
            yield labelled("model_state", model=each.name, state=each.state), 1.0


def make_switcher(service: Service) -> Made:
    """The handler and its switcher. Raises UsageError; HandlerError where its module cannot be imported."""
    from hoist.function.switch import Switcher

    settings = service.settings
    if settings.send_traces:
        from hoist.function.otel import Exporter

        service.exporter = Exporter(settings.otlp)
        service.journal.listeners.append(service.exporter)
    try:
        handler = find_handler(settings.handler)
    except HoistError:
        raise
    except BaseException as error:
        log.error("%s cannot be imported", settings.handler, exc_info=error)
        raise handler_error(f"the import of {settings.handler}", error) from error
    _keep_what_is_imported()
    switcher = Switcher(
        settings.models,
        handler,
        settings.device,
        settings.budgets,
        deadline_seconds=settings.deadline_seconds,
        load_seconds=_LOAD_SECONDS,
        resolve=service.handler_loop.resolve,
        on_trace=service.on_trace,
    )
    return handler, switcher


def _keep_what_is_imported() -> None:
    """Have Python's collector not look again at what stays anyway: a pass over torch holds everybody up for 70 ms."""
    import torch  # noqa: F401

    gc.collect()
    gc.freeze()
