"""Requests with a body over pooled connections: what is sent goes from the caller's memory to the socket, uncopied."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from hoist.storage.answers import unavailable
from hoist.storage.pool import ConnectionPool, Place
from hoist.storage.staging import Body

# A slice of a body that the network takes nothing of for so long is lost.
_SEND_SECONDS = 30.0
# A store may work for long on what it was sent whole, such as the completion of a large upload; on a question, not so long.
_ANSWER_SECONDS = 300.0
_ASKED_SECONDS = 60.0
_MOST_ANSWER_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer; header names in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


class Wire:
    """Sends requests. Safe for many threads; each takes a connection of its own from the pool.

    `ca_bundle` is a PEM file to trust besides the system's.
    """

    def __init__(self, ca_bundle: str | None = None) -> None:
        self._pool = ConnectionPool(ca_bundle)

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
        size: int,
        what: str,
        most: int = _MOST_ANSWER_BYTES,
    ) -> Answer:
        """Send one request of `size` body bytes and take its answer, of any status, and `most` bytes of its body.

        `what` names it in errors, as the URL may hold a secret. Raises StorageUnavailable, and what `body` raises.
        """
        parts = urlsplit(url)
        place = Place(parts.scheme, parts.netloc)
        path = self._pool.path(place, f"{parts.path}?{parts.query}" if parts.query else parts.path)
        sent = {"Accept-Encoding": "identity", **headers}
        if method in ("PUT", "POST", "PATCH"):
            sent["Content-Length"] = str(size)
        try:
            connection, _ = self._pool.take(place)
            try:
                answer = _exchange(connection, method, path, sent, body, most)
            except BaseException:
                connection.close()
                raise
        except (OSError, http.client.HTTPException) as error:
            # What closed this one has closed the idle ones too, as a rule.
            self._pool.drop(place)
            raise unavailable(what, parts.netloc, error) from None
        if answer.headers.get("connection", "").lower() == "close" or connection.sock is None:
            connection.close()
        else:
            self._pool.give(place, connection)
        return answer

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()


def _exchange(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: Body | None,
    most: int,
) -> Answer:
    connection.sock.settimeout(_SEND_SECONDS)
    connection.putrequest(method, target, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    cut_short = False
    try:
        connection.endheaders()
        for part in body() if body else ():
            connection.send(part)
    except (BrokenPipeError, ConnectionResetError):
        # A server may refuse before it has read all: its answer says why.
        cut_short = True
    connection.sock.settimeout(_ASKED_SECONDS if method in ("GET", "HEAD") else _ANSWER_SECONDS)
    response = connection.getresponse()
    got = {name.lower(): value for name, value in response.getheaders()}
    data = response.read(most)
    if response.length and len(data) < most:
        # http.client takes a body that was cut off for a short one.
        raise http.client.IncompleteRead(data, response.length)
    if cut_short or response.read(1) or response.will_close:
        got["connection"] = "close"
    return Answer(response.status, response.reason, got, data)
