"""Idle HTTP connections by server, so that a request rarely waits for a handshake."""

from __future__ import annotations

import http.client
import ssl
from collections import defaultdict
from threading import Lock
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

CONNECT_SECONDS = 10.0


class Place(NamedTuple):
    """A server: `http` or `https`, and its host with the port."""

    scheme: str
    netloc: str


class ConnectionPool:
    """Connections to servers, by the environment's proxies. Safe for many threads.

    `ca_bundle` is a PEM file to trust besides the system's; `read_seconds` how long a server may stay silent.
    """

    def __init__(self, ca_bundle: str | None = None, read_seconds: float = 30.0) -> None:
        self._ca_bundle = ca_bundle
        self._read_seconds = read_seconds
        self._lock = Lock()
        self._idle: dict[Place, list[http.client.HTTPConnection]] = defaultdict(list)
        self._tls: ssl.SSLContext | None = None
        self._proxies = getproxies()

    def take(self, place: Place, seconds: float = CONNECT_SECONDS) -> tuple[http.client.HTTPConnection, bool]:
        """An idle connection and True, which the server may have closed meanwhile; or a new one and False.

        A server that takes longer than `seconds`, or the usual limit, is given up.

        Raises OSError, http.client.HTTPException.
        """
        with self._lock:
            if self._idle[place]:
                return self._idle[place].pop(), True
        return self._connect(place, min(seconds, CONNECT_SECONDS)), False

    def give(self, place: Place, connection: http.client.HTTPConnection) -> None:
        """Keep a connection whose last answer was read to its end."""
        with self._lock:
            self._idle[place].append(connection)

    def path(self, place: Place, target: str) -> str:
        """What to ask the connection for: through a plain proxy, the whole URL."""
        plain = place.scheme == "http" and self._proxy(place) is not None
        return f"{place.scheme}://{place.netloc}{target}" if plain else target

    def drop(self, place: Place) -> None:
        """Close the idle connections to one server."""
        with self._lock:
            idle = self._idle.pop(place, [])
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Close the idle connections."""
        for place in list(self._idle):
            self.drop(place)

    def _proxy(self, place: Place) -> str | None:
        proxy = self._proxies.get(place.scheme)
        return None if proxy is None or proxy_bypass(place.netloc) else proxy

    def _connect(self, place: Place, seconds: float) -> http.client.HTTPConnection:
        proxy = self._proxy(place)
        host = urlsplit(proxy).netloc.rpartition("@")[2] if proxy else place.netloc
        connection: http.client.HTTPConnection
        if place.scheme == "https":
            connection = http.client.HTTPSConnection(host, timeout=seconds, context=self._context())
            if proxy:
                connection.set_tunnel(place.netloc)
        else:
            connection = http.client.HTTPConnection(host, timeout=seconds)
        connection.connect()
        connection.sock.settimeout(self._read_seconds)
        return connection

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                self._tls = ssl.create_default_context()
                if self._ca_bundle:
                    self._tls.load_verify_locations(self._ca_bundle)
            return self._tls
