"""The routes. Each says what it takes and gives; what is behind it is elsewhere."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from hoist.errors import HoistError, UsageError
from hoist.expose import CONTENT_TYPE
from hoist.function.service import openapi
from hoist.function.service.answers import Refusal, error_response, refusal_of
from hoist.function.service.guard import Guard
from hoist.function.service.invoke import deadline_of, invoke, leased, read_request, request_id, waiting
from hoist.function.service.service import Service
from hoist.function.trace import Trace

log = logging.getLogger("hoist.function")
Answer = Callable[[Service, Request], Awaitable[Response]]
_SMALL_BODY = 64 << 10


def make_app(service: Service) -> ASGIApp:
    """The service as an ASGI application, with its door."""

    def route(path: str, answer: Answer, *methods: str) -> Route:
        return Route(path, partial(_told, answer, service), methods=list(methods))

    routes = [
        Route("/healthz", _healthz),
        Route("/invoke", partial(invoke, service), methods=["POST"]),
        route("/switch", _switch, "POST"),
        route("/prefetch", _prefetch, "POST"),
        route("/models", _models, "GET"),
        route("/readyz", _readyz, "GET"),
        route("/initialize", _initialize, "POST"),
        route("/pre-stop", _pre_stop, "GET", "POST"),
        route("/metrics", _metrics, "GET"),
        route("/trace", _trace, "GET"),
        route("/openapi.json", _openapi, "GET"),
        route("/docs", _docs, "GET"),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _no_route, Exception: _bug})
    return Guard(app, service.settings.tokens, platform=service.settings.platform)


async def _told(answer: Answer, service: Service, http: Request) -> Response:
    """The answer, or as JSON why there is none."""
    try:
        return await answer(service, http)
    except HoistError as error:
        log.warning("%s: %s", http.url.path, error, exc_info=error.__cause__)
        return error_response(refusal_of(error, service.retry_after), request_id(http))
    except Refusal as refusal:
        return error_response(refusal, request_id(http))


async def _healthz(http: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _readyz(service: Service, http: Request) -> Response:
    reason = service.unready()
    return JSONResponse({"ready": reason is None, "reason": reason}, 503 if reason else 200)


async def _initialize(service: Service, http: Request) -> Response:
    async with waiting(service, http, math.inf) as wait:
        error = await wait.until_done(service.lifecycle.initialized(), "the first model")
    if error is None:
        return JSONResponse({"ready": True})
    # Anybody may ask this, so the reason stands in the log only.
    raise Refusal(
        refusal_of(error).status, refusal_of(error).code, "the first model cannot be loaded; the log says why"
    )


async def _pre_stop(service: Service, http: Request) -> Response:
    return JSONResponse({"drained": await service.drain()})


async def _switch(service: Service, http: Request) -> Response:
    name, ends_at, _ = await _named(service, http)
    async with waiting(service, http, ends_at) as wait:
        switcher = await wait.until_done(service.lifecycle.switcher(), "the handler's import")
        state = await leased(switcher.switch(name, wait.left), wait, name)
    return JSONResponse(asdict(state))


async def _prefetch(service: Service, http: Request) -> Response:
    name, ends_at, document = await _named(service, http)
    to = document.get("to", "host")
    if to not in ("host", "device"):
        raise UsageError(f"to is host or device, not {to!r:.40}")
    async with waiting(service, http, ends_at) as wait:
        switcher = await wait.until_done(service.lifecycle.switcher(), "the handler's import")
    future = switcher.prefetch(name, to)
    if future.done() and (error := future.exception()):
        raise error
    future.add_done_callback(_log_failure)
    return JSONResponse({"model": name, "to": to}, 202)


def _log_failure(future: Any) -> None:
    if not future.cancelled() and (error := future.exception()):
        log.warning("a prefetch failed: %s", error)


async def _named(service: Service, http: Request) -> tuple[str, float, dict[str, Any]]:
    """The model that a body names, until when it is waited for, and the body. Raises UsageError, Refusal."""
    ends_at = time.monotonic() + deadline_of(http, service.settings.deadline_seconds)
    request = await read_request(http, min(_SMALL_BODY, service.settings.request_bytes), ends_at)
    document = request.json if request.body else {}
    name = document.get("model", service.settings.default_model) if isinstance(document, dict) else None
    if not isinstance(name, str):
        raise UsageError('the body is {"model": NAME}')
    return name, ends_at, document


async def _models(service: Service, http: Request) -> Response:
    switcher = service.lifecycle.made
    if switcher is None:
        named = service.settings.models.items()
        return JSONResponse({"models": [{"name": name, "location": at, "state": "storage"} for name, at in named]})
    # They look at the host cache: that may be a disk.
    states, usage = await asyncio.to_thread(lambda: (switcher.states(), switcher.usage()))
    return JSONResponse({"models": [asdict(each) for each in states], "usage": asdict(usage)})


async def _metrics(service: Service, http: Request) -> Response:
    return Response(await asyncio.to_thread(service.metrics.text), media_type=CONTENT_TYPE)


async def _trace(service: Service, http: Request) -> Response:
    query = http.query_params
    kept = service.journal.last(_count(query.get("last", "1")))
    if query.get("id"):
        one = service.journal.find(query["id"])
        kept = [one] if one else []
    if not kept:
        raise Refusal(404, "no_trace", "no load has ended yet, or none of that id is kept")
    if query.get("format", "json") == "html":
        return HTMLResponse(await asyncio.to_thread(_page, kept))
    if "last" in query:
        return JSONResponse([trace.to_document() for trace in kept])
    return Response(kept[0].to_json(), media_type="application/json")


def _count(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= 1000:
        raise UsageError(f"last is a number from 1 on, not {text!r:.40}")
    return int(text)


def _page(traces: list[Trace]) -> str:
    from hoist.function.waterfall_html import waterfall_page

    return waterfall_page(traces[::-1])


async def _openapi(service: Service, http: Request) -> Response:
    return Response(openapi.text(), media_type="application/json")


async def _docs(service: Service, http: Request) -> Response:
    return HTMLResponse(openapi.page())


async def _no_route(http: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "no_route", 405: "no_method"}.get(error.status_code, "bad_request")
    response = error_response(Refusal(error.status_code, code, str(error.detail)), request_id(http))
    response.headers.update(error.headers or {})
    return response


async def _bug(http: Request, error: Exception) -> Response:
    return error_response(Refusal(500, "internal", "a bug in Hoist; the log says more"), request_id(http))
