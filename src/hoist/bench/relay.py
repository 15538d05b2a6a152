"""A relay before a server that counts what passes, in each direction: headers, bodies, all of it; and requests of HTTP."""

from __future__ import annotations

import socket
import socketserver
from contextlib import suppress
from threading import Lock, Thread
from typing import Self

_CHUNK_BYTES = 1 << 18
_POLL_SECONDS = 0.05
# Ends the first line of a request. In a body it would be counted too: ours are JSON, and small.
_REQUEST = b" HTTP/1.1\r\n"


class Relay:
    """Passes every connection on to `host` (`ADDRESS:PORT`) for the length of a `with` block; counts bytes.

    It costs time, so what is timed goes past it.
    """

    def __init__(self, host: str) -> None:
        address, _, port = host.rpartition(":")
        self._target = (address, int(port))
        self._lock = Lock()
        self._sent = self._received = self._requests = 0
        self._server = _Listener((address, 0), self)

    @property
    def host(self) -> str:
        """`ADDRESS:PORT`, where it listens."""
        address, port = self._server.server_address[:2]
        return f"{address!s}:{port}"

    def passed(self) -> tuple[int, int]:
        """Bytes that clients have sent, and bytes that they have received, so far."""
        with self._lock:
            return self._sent, self._received

    def requests(self) -> int:
        """How many requests clients have sent so far."""
        with self._lock:
            return self._requests

    def carry(self, client: socket.socket) -> None:
        """Carry one connection to its end."""
        with socket.create_connection(self._target) as server:
            back = Thread(target=self._pump, args=(server, client, False), name="hoist-relay", daemon=True)
            back.start()
            self._pump(client, server, True)
            back.join()

    def _pump(self, source: socket.socket, target: socket.socket, sent: bool) -> None:
        tail = b""
        with suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                with self._lock:
                    if sent:
                        self._sent += len(data)
                        # A line may come in two pieces.
                        self._requests += (tail + data).count(_REQUEST)
                        tail = (tail + data)[-len(_REQUEST) + 1 :]
                    else:
                        self._received += len(data)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(_POLL_SECONDS,), name="hoist-relay", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], relay: Relay) -> None:
        super().__init__(address, _Connection)
        self.relay = relay

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up, or a server that does, is the client's to tell."""


class _Connection(socketserver.BaseRequestHandler):
    server: _Listener
    request: socket.socket

    def handle(self) -> None:
        self.server.relay.carry(self.request)
