"""Requests to one registry: authorised, sent to where a redirect points, repeated while the registry is busy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from threading import Event
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit, urlunsplit

from hoist.errors import HoistError, PermissionDenied, StorageUnavailable, StorageUnsupported
from hoist.retry import retrying
from hoist.storage.answers import REDIRECTS, refusal
from hoist.storage.oci.auth import Authorizer, Scopes
from hoist.storage.staging import Body
from hoist.storage.wire import Answer, Wire

# A token that is new may be used up by other threads before it is sent.
MOST_REFUSALS = 3
_MOST_REDIRECTS = 5
_MOST_PAGES = 10_000
_MOST_ANSWER_BYTES = 16 << 20
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_NEXT = re.compile(r'<([^<>]*)>\s*;[^,]*\brel\s*=\s*"?next\b', re.I)
Result = TypeVar("Result")


class Client:
    """One registry at `base`, its URL without `/v2/`. Safe for many threads.

    `address` names it in messages. What is passing is tried again for `retry_seconds`, until `stop` is set.
    """

    def __init__(self, base: str, address: str, wire: Wire, authorizer: Authorizer, retry_seconds: float) -> None:
        self.base = base.rstrip("/")
        self.address = address
        self.auth = authorizer
        self.stop = Event()
        self._wire = wire
        self._seconds = retry_seconds

    def url(self, target: str) -> str:
        """The URL of a path of the API, such as `/v2/NAME/tags/list`."""
        return f"{self.base}{target}"

    def is_own(self, url: str) -> bool:
        """Whether a URL is the registry's own: only there go its tokens and logins."""
        return urlsplit(url)[:2] == urlsplit(self.base)[:2]

    def resolve(self, url: str, location: str) -> str:
        """Where a Location header in the answer to a request of `url` points. Raises StorageUnsupported."""
        parts = urlsplit(urljoin(url, location))
        own = urlsplit(self.base)
        if parts.scheme not in ("http", "https") or not parts.hostname or not location:
            raise StorageUnsupported(f"{self.address}: the registry points to a place that is no URL of HTTP")
        # A registry behind another server that speaks TLS for it may not know that it is reached so.
        return urlunsplit(parts._replace(scheme=own.scheme) if parts.netloc == own.netloc else parts)

    def patiently(self, action: Callable[[], Result]) -> Result:
        """`action`, repeated while it raises StorageUnavailable."""
        return retrying(action, self._seconds, self.stop)

    def ask(
        self,
        method: str,
        url: str,
        scopes: Scopes,
        what: str,
        *,
        headers: Mapping[str, str] | None = None,
        most: int = _MOST_ANSWER_BYTES,
    ) -> Answer:
        """As `once`, without a body, repeated while the registry is busy or out of reach."""
        return self.patiently(lambda: self.once(method, url, scopes, what, headers=headers, most=most))

    def once(
        self,
        method: str,
        url: str,
        scopes: Scopes,
        what: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        size: int = 0,
        most: int = _MOST_ANSWER_BYTES,
    ) -> Answer:
        """The answer, of any status but those that mean a busy server, a redirect or missing permission.

        Raises StorageUnavailable, PermissionDenied, and what `body` raises.
        """
        refusals = 0
        for _ in range(_MOST_REDIRECTS + MOST_REFUSALS + 1):
            given = self.auth.headers(scopes) if self.is_own(url) else {}
            answer = self._wire.exchange(method, url, {**(headers or {}), **given}, body, size, what, most)
            if answer.status in REDIRECTS and method in ("GET", "HEAD"):
                url = self.resolve(url, answer.headers.get("location", ""))
            elif answer.status == 401 and self.is_own(url) and refusals < MOST_REFUSALS:
                refusals += 1
                self.auth.refused(answer.headers.get("www-authenticate", ""), scopes, given.get("Authorization"), what)
            else:
                return self._checked(answer, what)
        raise HoistError(f"{what}: the registry sends from one place to the next")

    def pages(self, target: str, scopes: Scopes, what: str) -> Iterator[Answer]:
        """The answers of a listing, page by page, as their Link headers lead. The first may be of any status."""
        url = self.url(target)
        for _ in range(_MOST_PAGES):
            answer = self.ask("GET", url, scopes, what)
            yield answer
            following = _NEXT.search(answer.headers.get("link", ""))
            if following is None or answer.status != 200:
                return
            after = self.resolve(url, following[1])
            if after == url:
                return
            url = after
        raise HoistError(f"{what}: the listing has no end")

    def refuse(self, answer: Answer, what: str) -> HoistError:
        """The error that an answer means which is not what was hoped for."""
        codes = [code for code, _ in errors_of(answer.body)]
        if "UNSUPPORTED" in codes:
            return StorageUnsupported(f"{what}: the registry cannot do this ({answer.status} UNSUPPORTED)")
        return refusal(answer.status, codes[0] if codes else answer.reason, b"", what, answer.headers.get)

    def _checked(self, answer: Answer, what: str) -> Answer:
        error = self.refuse(answer, what) if answer.status >= 400 else None
        if isinstance(error, StorageUnavailable):
            raise error
        if isinstance(error, PermissionDenied):
            raise self.auth.denied(f"{what} ({answer.status})")
        return answer


def errors_of(body: bytes) -> list[tuple[str, Any]]:
    """The codes of a registry's errors, each with its detail."""
    try:
        document = json.loads(body)
        items = document["errors"]
        return [
            (item["code"], item.get("detail"))
            for item in items
            if isinstance(item.get("code"), str) and _CODE.fullmatch(item["code"])
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def json_of(answer: Answer, what: str) -> dict[str, Any]:
    """The answer's body as a JSON object. Raises HoistError if it is none."""
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise HoistError(f"{what}: the registry's answer is no JSON object")
    return document
