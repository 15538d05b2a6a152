"""Carries out what a schedule wants: opens versions, moves weights, calls the handler. It decides nothing."""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

from hoist.errors import Cancelled, HandlerError, HoistError
from hoist.function.handler import Handler, Resolve, handler_error, resolve_alone
from hoist.function.journey import Journey
from hoist.function.model import Model

if TYPE_CHECKING:
    from hoist.config import Config
    from hoist.function.opened import OpenModel
    from hoist.function.resident import Residents

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """Where a model is served from; `files` are its weight files, if not all of them are to be in memory."""

    location: str
    files: tuple[str, ...] = ()


@dataclass(eq=False, slots=True)
class Entry:
    """What there is of a model now."""

    name: str
    served: Served
    stop: Event = field(default_factory=Event)
    opened: OpenModel | None = None
    model: Model | None = None
    object: Any = None
    journey: Journey | None = None
    work: object = None
    """The load or unload that is under way: another one's end is not this one's."""


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """A load's error, and whether its weights are in host memory all the same. Not raised: frames keep tensors alive."""

    error: HoistError
    fetched: bool


class Worker:
    """The models' entries and the memory they are in. Its methods may take long, and are called from any thread."""

    def __init__(
        self,
        models: Mapping[str, Served],
        handler: Handler,
        device: str,
        config: Config | None,
        *,
        two_memories: bool,
        resolve: Resolve | None,
    ) -> None:
        self.entries = {name: Entry(name, served) for name, served in models.items()}
        self.handler = handler
        self.device, self._config, self._two_memories = device, config, two_memories
        self._resolve = resolve or resolve_alone
        self._residents: Residents | None = None
        self._importing = Lock()

    def residents(self) -> Residents:
        """The memory; torch is imported at the first call. Raises UsageError if there is no such device."""
        with self._importing:
            if self._residents is None:
                from hoist.function.resident import Residents
                from hoist.tensors.device import torch_device

                self._residents = Residents(torch_device(self.device), two_memories=self._two_memories)
            return self._residents

    def open(self, entry: Entry) -> OpenModel:
        """Open a model's version. Raises HoistErrors."""
        journey = entry.journey or Journey(entry.name)
        with journey.phase("import"):
            residents = self.residents()
            from hoist.function.opened import open_model
        with journey.phase("network"):
            opened = open_model(entry.name, entry.served.location, entry.served.files, self._config)
        entry.opened, entry.model = opened, Model(opened, residents)
        return opened

    def load(self, entry: Entry, *, to_host: bool, to_device: bool) -> LoadFailed | None:
        """Move weights; to the device, call the handler's `load`. None if it went well. Never raises."""
        journey = entry.journey or Journey(entry.name)
        opened, model, residents = entry.opened, entry.model, self.residents()
        assert opened is not None
        assert model is not None
        journey.queued()
        fetched = False
        try:
            moved = residents.load(
                opened, to_host=to_host, to_device=to_device, stop=entry.stop, on_phase=journey.begin
            )
            journey.add(moved)
            journey.begin("")
            fetched = True
            if to_device:
                if entry.stop.is_set():
                    raise Cancelled("the load was cancelled")
                with model.watched(journey.begin):
                    entry.object = self._loaded(model)
        except BaseException as error:  # noqa: BLE001 a handler may raise anything, SystemExit too: its waiters are told
            journey.begin("")
            found = error if isinstance(error, HoistError) else handler_error("the handler's load", error)
            _log(f"{entry.name} was not loaded", error)
            residents.release(entry.name, host=False).clear()
            model.close()
            entry.model = Model(opened, residents)
            return LoadFailed(forgetful(found), fetched)
        journey.begin("")
        return None

    def unload(self, entry: Entry, sake: Entry | None = None) -> None:
        """Let the object go, and its memory on the device; `sake` is who gets that. Never raises."""
        journey, coming = (sake.journey, sake.opened) if sake else (None, None)
        with (journey or Journey(entry.name)).phase("evict", entry.name):
            found, entry.object = entry.object, None
            if self.handler.unload is not None and found is not None:
                self.call(f"unload of {entry.name}", self.handler.unload, found)
            del found
            if entry.model is not None and entry.opened is not None:
                entry.model.close()
                entry.model = Model(entry.opened, self.residents())
            self.residents().release(entry.name, host=False, sake=coming).clear()

    def discard(self, entry: Entry) -> None:
        """Keep nothing of a model in memory. Never raises."""
        self.unload(entry)
        self.residents().release(entry.name, host=True).clear()

    def end(self, busy: Collection[str]) -> None:
        """Discard all but those that are busy, close what is open, and then the handler."""
        for entry in self.entries.values():
            if self._residents is not None and entry.name not in busy:
                self.discard(entry)
            if entry.opened is not None:
                entry.opened.close()
        if self.handler.close is not None:
            self.call("close", self.handler.close)

    def call(self, what: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function of the handler of which nothing is wanted; what it raises is logged."""
        try:
            answer = function(*arguments)
            if inspect.isawaitable(answer):
                self._resolve(answer)
        except BaseException as error:  # noqa: BLE001 as in `load`
            _log(f"the handler's {what} failed", error)

    def _loaded(self, model: Model) -> Any:
        found = self.handler.load(model)
        if inspect.isawaitable(found):
            found = self._resolve(found)
        if found is None:
            raise HandlerError(
                f"load of {self.handler.name} gave nothing for {model.name}: give the object to answer with"
            )
        return found


def forgetful(error: HoistError) -> HoistError:
    """The error without what it was raised from: its frames would keep tensors alive."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def _log(what: str, error: BaseException) -> None:
    from hoist.storage.translate import redact

    if isinstance(error, Cancelled):
        _LOG.info("%s: %s", what, error)
    elif isinstance(error, HoistError) and not isinstance(error, HandlerError):
        _LOG.warning("%s: %s", what, error)
    else:
        _LOG.error("%s: %s", what, redact("".join(traceback.format_exception(error))))
