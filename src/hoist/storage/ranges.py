"""Ranged GETs over pooled connections, straight into the caller's memory.

A general-purpose client copies each byte two or three times; at gigabytes that is most of a load's CPU. Here the
socket's bytes are received into the buffer that the tensors will be views of. A server may answer a range with 206,
with 200 and a Content-Range (rclone does), or with 200 and the whole object: the right bytes come out of each.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections import defaultdict
from threading import Lock
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from hoist.errors import Damaged, FileNotFound, HoistError, PermissionDenied, StorageNotFound, StorageUnavailable
from hoist.storage.translate import NO_BUCKET

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(?:\d+|\*)")
_SCRATCH_BYTES = 1 << 20
_BUSY = (408, 425, 429, 500, 502, 503, 504)


class RangeClient:
    """Reads ranges of URLs. Safe for many threads; each takes a connection of its own from the pool.

    `ca_bundle` is a PEM file to trust besides the system's; `read_seconds` how long a server may stay silent.
    """

    def __init__(self, ca_bundle: str | None = None, read_seconds: float = READ_SECONDS) -> None:
        self._read_seconds = read_seconds
        self._ca_bundle = ca_bundle
        self._lock = Lock()
        self._idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = defaultdict(list)
        self._tls: ssl.SSLContext | None = None
        self._proxies = getproxies()

    def read_into(self, url: str, offset: int, buffer: memoryview, what: str) -> None:
        """Fill `buffer` with the object's bytes from `offset`; `what` names it in errors, as the URL may hold a secret.

        Raises FileNotFound, PermissionDenied, Damaged (the object is shorter), StorageUnavailable.
        """
        if not buffer:
            return
        parts = urlsplit(url)
        place = (parts.scheme, parts.netloc)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        headers = {"Range": f"bytes={offset}-{offset + len(buffer) - 1}", "Accept-Encoding": "identity"}
        try:
            connection, response = self._request(place, target, headers)
        except (OSError, http.client.HTTPException) as error:
            raise _unavailable(what, parts.netloc, error) from None
        keep = False
        try:
            keep = _receive(response, offset, buffer, what)
        except (OSError, http.client.HTTPException) as error:
            raise _unavailable(what, parts.netloc, error) from None
        finally:
            if keep and not response.will_close:
                with self._lock:
                    self._idle[place].append(connection)
            else:
                connection.close()

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, defaultdict(list)
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def _request(
        self, place: tuple[str, str], target: str, headers: dict[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send on an idle connection if one is alive still, else on a new one."""
        while True:
            with self._lock:
                idle = self._idle[place].pop() if self._idle[place] else None
            connection = idle or self._connect(place)
            try:
                path = target if not self._plain_proxy(place) else f"{place[0]}://{place[1]}{target}"
                connection.request("GET", path, headers=headers)
                return connection, connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # A server closes idle connections as it likes; one that is silent is not asked again here.
                if idle is None or isinstance(error, TimeoutError):
                    raise

    def _plain_proxy(self, place: tuple[str, str]) -> bool:
        return place[0] == "http" and self._proxy(place) is not None

    def _proxy(self, place: tuple[str, str]) -> str | None:
        proxy = self._proxies.get(place[0])
        return None if proxy is None or proxy_bypass(place[1]) else proxy

    def _connect(self, place: tuple[str, str]) -> http.client.HTTPConnection:
        scheme, netloc = place
        proxy = self._proxy(place)
        host = urlsplit(proxy).netloc.rpartition("@")[2] if proxy else netloc
        connection: http.client.HTTPConnection
        if scheme == "https":
            connection = http.client.HTTPSConnection(host, timeout=CONNECT_SECONDS, context=self._context())
            if proxy:
                connection.set_tunnel(netloc)
        else:
            connection = http.client.HTTPConnection(host, timeout=CONNECT_SECONDS)
        connection.connect()
        sock: socket.socket = connection.sock
        sock.settimeout(self._read_seconds)
        return connection

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                self._tls = ssl.create_default_context()
                if self._ca_bundle:
                    self._tls.load_verify_locations(self._ca_bundle)
            return self._tls


def _receive(response: http.client.HTTPResponse, offset: int, buffer: memoryview, what: str) -> bool:
    """Take the body of an answer; True if the connection can be used again."""
    if response.status not in (200, 206):
        raise _refusal(response, what)
    end = offset + len(buffer)
    begin, last = _answered(response, what)
    if begin > offset or (last is not None and last < end):
        raise Damaged(f"{what} ends before byte {end}, or its server answered another range")
    _skip(response, offset - begin, what)
    done = 0
    while done < len(buffer):
        got = response.readinto(buffer[done:])
        if not got:
            raise StorageUnavailable(f"{what}: the server closed the connection {len(buffer) - done} bytes early")
        done += got
    # Only a body that ends here leaves a connection that the next answer can come on.
    return last == end and not response.read(1)


def _answered(response: http.client.HTTPResponse, what: str) -> tuple[int, int | None]:
    """The half-open range that the body holds; its end is None where the server does not say."""
    header = response.getheader("Content-Range")
    if header:
        found = _CONTENT_RANGE.fullmatch(header.strip())
        if not found:
            raise StorageUnavailable(f"{what}: the server sent a Content-Range that means nothing")
        return int(found[1]), int(found[2]) + 1
    if response.status == 206:
        raise StorageUnavailable(f"{what}: the server sent a part without saying which")
    return 0, response.length


def _skip(response: http.client.HTTPResponse, count: int, what: str) -> None:
    scratch = memoryview(bytearray(min(count, _SCRATCH_BYTES)))
    while count:
        got = response.readinto(scratch[:count])
        if not got:
            raise StorageUnavailable(f"{what}: the server closed the connection early")
        count -= got


def _refusal(response: http.client.HTTPResponse, what: str) -> HoistError:
    status = response.status
    found = re.search(rb"<Code>([A-Za-z0-9]{1,64})</Code>", response.read(4096))
    code = found[1].decode() if found else response.reason
    reason = f"{status} {code}"
    if status == 404 and code in NO_BUCKET:
        return StorageNotFound(f"{what}: there is no such bucket: make it first, or check its name and the endpoint")
    if status == 404:
        return FileNotFound(f"{what} is not there ({reason})")
    if status in (401, 403):
        return PermissionDenied(f"no permission to read {what} ({reason}): check the credentials and the clock")
    if status == 416:
        return Damaged(f"{what} is shorter than its manifest says ({reason})")
    if status in _BUSY:
        return StorageUnavailable(f"{what}: the server is busy or failing ({reason})")
    if status in (301, 302, 307, 308):
        return PermissionDenied(f"{what} lives elsewhere ({reason}): set the storage's region or endpoint")
    return HoistError(f"{what}: the server answered {reason}")


def _unavailable(what: str, host: str, error: Exception) -> StorageUnavailable:
    reason = "timed out" if isinstance(error, TimeoutError) else (getattr(error, "strerror", None) or repr(error))
    return StorageUnavailable(f"{what}: cannot read from {host}: {reason}")
