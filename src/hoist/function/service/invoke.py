"""The way of one request: who asks for which model until when, its body, its model, the handler, the answer."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response as HttpResponse

from hoist.errors import HoistError, UsageError
from hoist.function.handler import Request
from hoist.function.service.answers import REQUEST_ID, Refusal, error_response, refusal_of
from hoist.function.service.calls import Wait
from hoist.function.service.limits import TooLarge, read_body
from hoist.function.service.threads import Stop

if TYPE_CHECKING:
    from hoist.function.service.service import Service

log = logging.getLogger("hoist.function")
MODEL_HEADERS = ("x-hoist-model", "serve_multiplexed_model_id")
"""Where a request names its model; the second is Ray Serve's."""
DEADLINE_HEADER = "x-hoist-deadline"
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# The deadline is kept here. For so long after it, what runs does not count as hanging: who needs its room still waits.
_GRACE_SECONDS = 5.0
# What an answer of the handler cannot set: they are the connection's.
_OURS = ("connection", "content-length", "transfer-encoding", "content-type")
Result = TypeVar("Result")


@dataclass
class Told:
    """What is known of a request by the time it is answered."""

    id: str
    model: str = ""
    waited: float = 0.0
    handled: float = 0.0


async def invoke(service: Service, http: HttpRequest) -> HttpResponse:
    """Answer one request to /invoke. Raises nothing but cancellation."""
    began = time.monotonic()
    told = Told(request_id(http))
    service.asked += 1
    try:
        response = await _answer(service, http, told, began)
    except HoistError as error:
        refusal = refusal_of(error, service.retry_after)
        # The client is told less than who runs this.
        log.warning("request %s for %s: %s", told.id, told.model or "-", error)
        response = error_response(refusal, told.id)
    except Refusal as refusal:
        log.info("request %s for %s: %s", told.id, told.model or "-", refusal.message)
        response = error_response(refusal, told.id)
    finally:
        service.asked -= 1
    service.metrics.answered(told.model, response.status_code, time.monotonic() - began)
    return response


async def _answer(service: Service, http: HttpRequest, told: Told, began: float) -> HttpResponse:
    settings = service.settings
    if service.asked > settings.queue + settings.concurrency:
        raise Refusal(429, "busy", f"{settings.queue} requests wait already", service.retry_after, close=True)
    ends_at = began + deadline_of(http, settings.deadline_seconds)
    request = await read_request(http, settings.request_bytes, ends_at)
    request = with_model(request, settings.default_model)
    async with waiting(service, http, ends_at) as wait:
        switcher = await wait.until_done(service.lifecycle.switcher(), "the handler's import")
        if request.model in settings.models:
            told.model = request.model
        lease = await leased(switcher.acquire(request.model, wait.left + _GRACE_SECONDS), wait, request.model)
        told.waited = time.monotonic() - began
        service.metrics.waited(told.waited)
        answer = await service.calls.run(service.lifecycle.handler, lease, request, wait, f"request {told.id}")
        told.handled = time.monotonic() - began - told.waited
    headers = {key: value for key, value in answer.headers.items() if key.lower() not in _OURS}
    timing = f"wait;dur={1000 * told.waited:.3f}, handle;dur={1000 * told.handled:.3f}"
    headers |= {REQUEST_ID: told.id, "X-Hoist-Model": told.model, "Server-Timing": timing}
    return HttpResponse(answer.body, answer.status, headers, answer.content_type)


async def leased(future: Future[Result], wait: Wait, name: str) -> Result:
    """What a future of the switcher comes to; a lease that comes too late is given back."""
    try:
        found: Result = await wait.until_done(asyncio.wrap_future(future), f"model {name!r}")
    except BaseException:
        future.cancel()
        future.add_done_callback(_give_back)
        raise
    return found


def _give_back(future: Future[Any]) -> None:
    if not future.cancelled() and future.exception() is None and hasattr(future.result(), "release"):
        future.result().release()


@asynccontextmanager
async def waiting(service: Service, http: HttpRequest, ends_at: float) -> AsyncIterator[Wait]:
    """While it is entered, whether the client is still there is looked at. The body must have been read."""

    async def leave() -> None:
        while (await http.receive())["type"] != "http.disconnect":
            continue

    gone = asyncio.ensure_future(leave())
    try:
        yield Wait(ends_at, gone, service.lifecycle.over)
    finally:
        gone.cancel()


async def read_request(http: HttpRequest, limit: int, ends_at: float) -> Request:
    """The request with its body, and no model yet. Raises Refusal."""
    try:
        async with asyncio.timeout(max(0.0, ends_at - time.monotonic())):
            body = await read_body(http, limit)
    except TooLarge:
        message = f"the body is larger than {limit} bytes (--max-request)"
        raise Refusal(413, "too_large", message, close=True) from None
    except TimeoutError:
        raise Refusal(408, "slow_request", "the deadline came before the whole body did", close=True) from None
    except ClientDisconnect:
        raise Refusal(499, "gone", "the client left before its body was whole", close=True) from None
    headers, query = dict(http.headers), dict(http.query_params)
    # A handler needs no key to this service.
    headers.pop("authorization", None)
    return Request("", body, http.headers.get("content-type", ""), headers, query, ends_at, Stop())


def with_model(request: Request, default: str) -> Request:
    """The request for the model that it names: in a header, the query, or a body of JSON. Raises UsageError."""
    name: object = next((request.headers[key] for key in MODEL_HEADERS if request.headers.get(key)), None)
    name = name or request.query.get("model")
    kind = request.content_type.partition(";")[0].strip().lower()
    if not name and (kind == "application/json" or kind.endswith("+json")) and b'"model"' in request.body:
        document = request.json
        name = document.get("model") if isinstance(document, dict) else None
        if name is not None and not isinstance(name, str):
            raise UsageError("model in the body is no text")
        found = replace(request, model=name or default)
        # It was parsed once, and is not parsed again.
        vars(found)["json"] = document
        return found
    return replace(request, model=str(name or default))


def deadline_of(http: HttpRequest, most: float) -> float:
    """Seconds that this request has. Raises UsageError."""
    given = http.headers.get(DEADLINE_HEADER)
    if given is None:
        return most
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UsageError(f"X-Hoist-Deadline is a number of seconds above 0, not {given!r:.40}")
    return min(seconds, most)


def request_id(http: HttpRequest) -> str:
    """The id that the platform or the client gave, or a new one: it stands in the log and in the answer."""
    for name in ("x-fc-request-id", "x-request-id"):
        given = http.headers.get(name, "")
        if _ID.fullmatch(given):
            return given
    return token_hex(8)
