"""Where a fault server's right answers come from: a folder of plain files, or another server behind it."""

from __future__ import annotations

import hashlib
import http.client
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from hoist.testing.servers.base import Answer

_RANGE = re.compile(r"bytes=(\d+)-(\d+)?")
_UPSTREAM_SECONDS = 60.0
# What belongs to one connection, and is not passed on.
_HOP = ("connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "content-length")


class Origin(Protocol):
    """Answers requests rightly. Called from several threads at once."""

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to one request; `target` is its path and query as they were sent."""

    def close(self) -> None:
        """Let connections go."""


class FolderOrigin:
    """The files below `folder` as objects of a public bucket, path-style: `/BUCKET/KEY`. Reading only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def close(self) -> None:
        """Nothing is kept open."""

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """200, 206, 404, 405 or 416, as an object store would."""
        if method not in ("GET", "HEAD"):
            return _error(405, "MethodNotAllowed")
        path = (self._folder / unquote(urlsplit(target).path).lstrip("/")).resolve()
        if not path.is_relative_to(self._folder) or not path.is_file():
            return _error(404, "NoSuchKey")
        data = path.read_bytes()
        said = {
            "accept-ranges": "bytes",
            "content-type": "application/octet-stream",
            "etag": f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"',
            "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT",
        }
        found = _RANGE.fullmatch(headers.get("range", ""))
        if found is None:
            return Answer(200, said | {"content-length": str(len(data))}, data)
        begin, end = int(found[1]), min(int(found[2] or len(data)) + 1, len(data))
        if begin >= len(data):
            return _error(416, "InvalidRange")
        said |= {"content-range": f"bytes {begin}-{end - 1}/{len(data)}", "content-length": str(end - begin)}
        return Answer(206, said, data[begin:end])


class ServerOrigin:
    """Another server, at `endpoint` (`http://HOST:PORT`). The Host header is passed on, so that signatures hold."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self._place = (parts.hostname or "", parts.port or 80)
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._closed = False

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """What the server answers. Raises OSError, http.client.HTTPException."""
        while True:
            with self._lock:
                idle = self._idle.pop() if self._idle else None
            connection = idle or http.client.HTTPConnection(*self._place, timeout=_UPSTREAM_SECONDS)
            try:
                answer = self._exchange(connection, method, target, headers, body)
            except (OSError, http.client.HTTPException):
                connection.close()
                # It closes idle connections as it likes: once more, on another.
                if idle is None:
                    raise
                continue
            with self._lock:
                if self._closed:
                    connection.close()
                else:
                    self._idle.append(connection)
            return answer

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            self._closed = True
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    @staticmethod
    def _exchange(
        connection: http.client.HTTPConnection, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            if name not in _HOP and name != "expect":
                connection.putheader(name, value)
        if body or method in ("PUT", "POST"):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        response = connection.getresponse()
        got = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, got, response.read())


def end_to_end(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an answer that are passed on; its length is said anew."""
    return {name: value for name, value in headers.items() if name not in _HOP}


def _error(status: int, code: str) -> Answer:
    body = f"<Error><Code>{code}</Code></Error>".encode()
    return Answer(status, {"content-type": "application/xml", "content-length": str(len(body))}, body)
