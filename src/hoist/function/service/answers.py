"""What clients are told of what went wrong: a status, a word for programs, a sentence; never a traceback, never a secret."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, Response

from hoist.errors import (
    Busy,
    Cancelled,
    DeadlineExceeded,
    HandlerError,
    HoistError,
    ModelUnknown,
    StorageUnavailable,
    UsageError,
)
from hoist.storage.translate import redact

REQUEST_ID = "X-Request-Id"
_MOST_MESSAGE = 2000


@dataclass(eq=False)
class Refusal(Exception):
    """Why a request gets no answer of the handler.

    `retry_after`: seconds after which it may well get one. `close`: the connection is of no more use.
    """

    status: int
    code: str
    message: str
    retry_after: float | None = None
    close: bool = False

    def document(self) -> dict[str, Any]:
        """What the body says."""
        return {"error": {"code": self.code, "message": self.message}}


# Nobody reads this one: metrics and the log do. 499 is nginx's word for it.
GONE = (499, "gone", "the client has gone")
# In order: the first that fits. What is not here is a load that failed.
_WORDS: tuple[tuple[type[HoistError], int, str], ...] = (
    (ModelUnknown, 404, "unknown_model"),
    (DeadlineExceeded, 503, "deadline"),
    (Busy, 429, "busy"),
    (HandlerError, 500, "handler_error"),
    (UsageError, 400, "bad_request"),
    (StorageUnavailable, 503, "storage_unavailable"),
    (Cancelled, 503, "cancelled"),
)


def refusal_of(error: HoistError, retry_after: float = 1.0) -> Refusal:
    """What a client is told of this error; `retry_after` where trying again makes sense and the error says no time."""
    status, code = next(
        ((status, code) for kind, status, code in _WORDS if isinstance(error, kind)), (500, "load_failed")
    )
    again = getattr(error, "retry_after", None) or retry_after
    message = redact(str(error))[:_MOST_MESSAGE]
    if isinstance(error, HandlerError) and error.raised:
        # What a library says in an exception is for who runs this, and may be a secret.
        message = f"the handler raised {error.raised}; the log says more"
    return Refusal(status, code, message, again if status in (429, 503) else None)


def error_response(refusal: Refusal, request_id: str | None = None) -> Response:
    """The refusal as JSON."""
    headers = {"Cache-Control": "no-store"}
    if request_id:
        headers[REQUEST_ID] = request_id
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(refusal.retry_after)))
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.close:
        headers["Connection"] = "close"
    return JSONResponse(refusal.document(), refusal.status, headers)
