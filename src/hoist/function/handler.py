"""A user's handler: what loads a model, and what answers requests with it."""

from __future__ import annotations

import inspect
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from threading import Event
from typing import TYPE_CHECKING, Any

from hoist.errors import HandlerError, HoistError, UsageError
from hoist.fleet.named import find_named

if TYPE_CHECKING:
    from hoist.function.model import Model

JSON_TYPE, BINARY_TYPE = "application/json", "application/octet-stream"
Headers = Mapping[str, str]


@dataclass(frozen=True)
class Request:
    """One request to a handler. Header names are lower-case; `ends_at` is on the clock of `time.monotonic`."""

    model: str
    body: bytes = b""
    content_type: str = ""
    headers: Headers = field(default_factory=dict)
    query: Headers = field(default_factory=dict)
    ends_at: float | None = None
    stop: Event = field(default_factory=Event, repr=False, compare=False)

    @cached_property
    def json(self) -> Any:
        """The body as JSON. Raises UsageError, which a client sees as a mistake of its own."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise UsageError("the body is not JSON") from None

    @property
    def deadline(self) -> float | None:
        """Seconds that are left for the answer, never below 0; None where there is no limit."""
        return None if self.ends_at is None else max(0.0, self.ends_at - time.monotonic())

    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more: a long handler may look, and raise what it likes."""
        return self.stop.is_set() or self.deadline == 0.0


@dataclass(frozen=True)
class Response:
    """An answer with its own type, status and headers."""

    body: bytes
    content_type: str = BINARY_TYPE
    status: int = 200
    headers: Headers = field(default_factory=dict)


def as_response(answer: Any) -> Response:
    """What a handler gave, as bytes to send: a Response as it is, bytes as they are, all else as JSON.

    Raises HandlerError where it is neither.
    """
    if isinstance(answer, Response):
        body: object = answer.body  # whatever its annotation says
        if not isinstance(body, bytes | bytearray | memoryview) or not 200 <= answer.status <= 599:
            raise HandlerError(
                "the handler gave a Response that cannot be sent: its body is bytes, its status 200 to 599"
            )
        return answer
    if isinstance(answer, bytes | bytearray | memoryview):
        return Response(bytes(answer))
    try:
        # NaN is no JSON: what reads it elsewhere would fail there.
        return Response(json.dumps(answer, allow_nan=False).encode(), JSON_TYPE)
    except (TypeError, ValueError, RecursionError) as error:
        raise HandlerError(
            f"the handler gave a {type(answer).__name__} that is no JSON ({error}): give a dict, list, text, number, "
            "bytes or a hoist.function.handler.Response"
        ) from None


@dataclass(frozen=True)
class Handler:
    """A handler's four functions. Each may give an awaitable in place of what it gives."""

    name: str
    load: Callable[[Model], Any]
    handle: Callable[[Any, Request], Any]
    unload: Callable[[Any], Any] | None = None
    close: Callable[[], Any] | None = None

    @property
    def handles_async(self) -> bool:
        """Whether `handle` is a coroutine function: it runs in the event loop then, else in a thread."""
        return inspect.iscoroutinefunction(self.handle)


Resolve = Callable[[Awaitable[Any]], Any]
"""Waits, in a thread that is no event loop's, for what an async function of a handler gives."""


def resolve_alone(answer: Awaitable[Any]) -> Any:
    """Wait in an event loop that is made for it, for want of another."""
    import asyncio

    async def waiting() -> Any:
        return await answer

    return asyncio.run(waiting())


def find_handler(name: str) -> Handler:
    """The handler that `MODULE:ATTR` names: a class (made without arguments), an object, or a function.

    A class or object has `load(model)` and `handle(object, request)`, and may have `unload(object)` and `close()`. A
    function is `handle`; its module's `load`, `unload` and `close` are used where it has them, and without a `load` the
    object is the Model itself. Raises UsageError with the mend.
    """
    found = find_named(name, what="handler")
    if inspect.isclass(found):
        try:
            found = found()
        except TypeError as error:
            raise UsageError(f"{name} cannot be made without arguments: {error}") from None
    if inspect.isroutine(found):
        module = sys.modules[name.partition(":")[0]]
        handle: Callable[[Any, Request], Any] = _checked(found, name, 2)
        of_module = {what: _optional(module, what, name, _PARTS[what]) for what in ("load", "unload", "close")}
        return Handler(name, of_module["load"] or _the_model, handle, of_module["unload"], of_module["close"])
    parts = {what: _optional(found, what, name, count) for what, count in _PARTS.items()}
    load, handle_found = parts["load"], parts["handle"]
    if handle_found is None:
        raise UsageError(f"{name} has no handle(object, request): write one, or name a function")
    return Handler(name, load or _the_model, handle_found, parts["unload"], parts["close"])


_PARTS = {"load": 1, "handle": 2, "unload": 1, "close": 0}
_SIGNATURES = {"load": "load(model)", "unload": "unload(object)", "close": "close()"}


def _the_model(model: Model) -> Any:
    return model


def _optional(holder: Any, what: str, name: str, count: int) -> Callable[..., Any] | None:
    found = getattr(holder, what, None)
    if found is None:
        return None
    if not callable(found):
        raise UsageError(f"{what} of {name} is no function")
    return _checked(found, name, count, what)


def _checked(function: Callable[..., Any], name: str, count: int, what: str = "handle") -> Callable[..., Any]:
    """The function, once it is sure that it takes so many arguments. Raises UsageError."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        wanted = _SIGNATURES.get(what, "handle(object, request)")
        raise UsageError(f"{what} of {name} does not take what it is called with: write {wanted}") from None
    except ValueError:
        pass  # a builtin that does not say what it takes
    return function


def handler_error(what: str, error: BaseException) -> HoistError:
    """A handler's exception as an error to tell: Hoist's own as they are, others in a line and without their traceback."""
    from hoist.storage.translate import redact

    if isinstance(error, HoistError):
        return error
    found = HandlerError(redact(f"{what} raised {type(error).__name__}: {error}")[:_MOST_MESSAGE])
    found.raised = type(error).__name__
    return found


_MOST_MESSAGE = 2000
