"""One small HTTP request, looked at closely: how long it took, what the clock and the certificate of the server say."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from hoist.errors import StorageUnavailable

CONNECT_SECONDS = 5.0
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer; `body` is at most 1 MiB of it, `sent` and `seconds` when it was asked and how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    sent: float
    seconds: float

    @property
    def skew(self) -> float | None:
        """Seconds that the server's clock is ahead of ours; None where it does not say its time."""
        try:
            theirs = parsedate_to_datetime(self.headers.get("date", "")).timestamp()
        except (ValueError, TypeError, IndexError):
            return None
        # Its Date has whole seconds: half a second is the error to expect.
        return theirs + 0.5 - (self.sent + self.seconds / 2)


@dataclass(frozen=True, slots=True)
class Tls:
    """A connection's protocol, and how many days the server's certificate is still valid."""

    protocol: str
    days: float


class _AnyAnswer(urllib.request.HTTPErrorProcessor):
    """Every answer is an answer: none is followed elsewhere, none is an exception."""

    def http_response(self, request: object, response: http.client.HTTPResponse) -> http.client.HTTPResponse:
        return response

    https_response = http_response


def fetch(
    url: str,
    ca_bundle: str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    body: bytes | None = None,
) -> Answer:
    """One request, through the proxy that the environment sets if it does. Raises StorageUnavailable, saying why."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    opener = urllib.request.build_opener(_AnyAnswer, urllib.request.HTTPSHandler(context=trust(ca_bundle)))
    given = dict(headers or {}) | {"Accept-Encoding": "identity"}
    request = urllib.request.Request(url, body, given, method=method)  # noqa: S310
    sent, began = time.time(), time.perf_counter()
    try:
        with opener.open(request, timeout=CONNECT_SECONDS) as response:
            took = time.perf_counter() - began
            body = response.read(_MOST_BYTES)
            found = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, found, body, sent, took)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise StorageUnavailable(f"{host}: {_why(error)}") from None


def tls_of(host: str, port: int, ca_bundle: str | None = None) -> Tls:
    """Make a TLS connection of our own and look at it. Raises OSError."""
    with (
        socket.create_connection((host, port), CONNECT_SECONDS) as plain,
        trust(ca_bundle).wrap_socket(plain, server_hostname=host) as sock,
    ):
        until = ssl.cert_time_to_seconds(str((sock.getpeercert() or {}).get("notAfter")))
        return Tls(sock.version() or "?", (until - time.time()) / 86400)


def trust(ca_bundle: str | None) -> ssl.SSLContext:
    """The system's authorities, and those of the bundle."""
    context = ssl.create_default_context()
    if ca_bundle:
        context.load_verify_locations(ca_bundle)
    return context


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    inner = reason if isinstance(reason, Exception) else error
    if isinstance(inner, TimeoutError):
        return f"no answer within {CONNECT_SECONDS:g} s"
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({inner.verify_message})"
    if isinstance(inner, socket.gaierror):
        return "its name is not known here (DNS)"
    return getattr(inner, "strerror", None) or type(inner).__name__
