"""What an object store's HTTP answers mean: its refusals as errors of ours, and which bytes a body holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from http.client import HTTPResponse

from hoist.errors import (
    Damaged,
    FileNotFound,
    HoistError,
    PermissionDenied,
    StorageNotFound,
    StorageUnavailable,
    StorageUnsupported,
)
from hoist.storage.translate import NO_BUCKET

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(?:\d{1,19}|\*)")
_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")
_BUSY = (408, 409, 425, 429, 500, 502, 503, 504)
_THROTTLED = (429, 503)
# The header by which an accelerator says that an answer is the origin's, and not its own.
ORIGIN_STATUS = "x-hoist-origin-status"
REDIRECTS = (301, 302, 303, 307, 308)
# Refusals by name, whatever the status: what S3 calls a request that it asks to be sent again.
_PASSING = ("RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable")
# A server that asks for a longer pause than that is not waited for.
_LONGEST_PAUSE = 3600.0


class Elsewhere(PermissionDenied):
    """What was asked for lies at `location`, a URL that may hold a secret, perhaps one relative to what was asked."""

    def __init__(self, message: str, location: str) -> None:
        super().__init__(message)
        self.location = location


class Relayed(StorageUnavailable):
    """An accelerator says that the origin behind it is busy: asking the origin itself would only make it busier."""


class ServerFailed(StorageUnavailable):
    """The server has answered, and says that it failed."""


class Broken(StorageUnavailable):
    """The server ended a body before its end."""


class Unauthorised(PermissionDenied):
    """The server wants other credentials, of the kind that its `challenge` (WWW-Authenticate) says."""

    def __init__(self, message: str, challenge: str) -> None:
        super().__init__(message)
        self.challenge = challenge


def code_of(body: bytes) -> str:
    """The error's name in an answer of S3's kind; empty if there is none."""
    found = _CODE.search(body)
    return found[1].decode() if found else ""


def _no_header(name: str) -> None:
    return None


def refusal(
    status: int,
    reason: str,
    body: bytes,
    what: str,
    header: Callable[[str], str | None] = _no_header,
    *,
    more: bool = False,
) -> HoistError:
    """The error that an answer means; `body` is its beginning, `what` names the thing asked for, without a secret.

    `header` gives the answer's headers by their names in lower case. `more`: the caller can go elsewhere and bring other
    credentials, and gets an Elsewhere or an Unauthorised.
    """
    code = code_of(body) or reason
    said = f"{status} {code}"
    if status == 404 and code in NO_BUCKET:
        return StorageNotFound(f"{what}: there is no such bucket: make it first, or check its name and the endpoint")
    if status == 404:
        return FileNotFound(f"{what} is not there ({said})")
    if status in (401, 403):
        denied = f"no permission for {what} ({said}): check the credentials and the clock"
        challenge = header("www-authenticate") if status == 401 and more else None
        return Unauthorised(denied, challenge) if challenge else PermissionDenied(denied)
    if status == 416:
        return Damaged(f"{what} is shorter than its manifest says ({said})")
    if status in _BUSY or code in _PASSING:
        kind: type[StorageUnavailable] = ServerFailed if status == 500 else StorageUnavailable
        if status in _THROTTLED and header(ORIGIN_STATUS):
            kind = Relayed
        busy = kind(f"{what}: the server is busy or failing ({said})")
        busy.retry_after = pause(header("retry-after"))
        return busy
    if status in REDIRECTS:
        moved = f"{what} lives elsewhere ({said}): set the storage's region or endpoint"
        return Elsewhere(moved, header("location") or "") if more else PermissionDenied(moved)
    if status in (405, 501):
        return StorageUnsupported(f"{what}: the server cannot do this ({said})")
    return HoistError(f"{what}: the server answered {said}")


def answered_range(response: HTTPResponse, what: str) -> tuple[int, int | None]:
    """The half-open range that a body holds; its end is None where the server does not say.

    A server may answer a range with 206, with 200 and a Content-Range (rclone does), or with 200 and the whole object.
    Raises StorageUnavailable for an answer that does not say what it is.
    """
    header = response.getheader("Content-Range")
    if header:
        found = _CONTENT_RANGE.fullmatch(header.strip())
        if not found:
            raise StorageUnavailable(f"{what}: the server sent a Content-Range that means nothing")
        return int(found[1]), int(found[2]) + 1
    if response.status == 206:
        raise StorageUnavailable(f"{what}: the server sent a part without saying which")
    return 0, response.length


def pause(header: str | None) -> float | None:
    """The seconds that a Retry-After asks for; None if it says none, or a date, which no store does."""
    text = (header or "").strip()
    return min(float(text), _LONGEST_PAUSE) if text.isascii() and text.isdigit() else None


def unavailable(what: str, host: str, error: Exception) -> StorageUnavailable:
    """What an error of the transport means: worth trying again."""
    reason = "timed out" if isinstance(error, TimeoutError) else (getattr(error, "strerror", None) or repr(error))
    # An endpoint may name a user and a password before its host.
    return StorageUnavailable(f"{what}: cannot reach {host.rpartition('@')[2]}: {reason}")
