"""Status over HTTP: GET /status is a document for programs, /metrics what Prometheus reads, /health for who starts it again.

A service only shows what its provider knows: it asks no storage, so that a region that hangs keeps no scrape waiting. It
takes nothing but GET and HEAD, and tells nobody who asked.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import socketserver
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Thread
from types import TracebackType
from typing import Any, Protocol, Self

from hoist.errors import InvalidConfig, LocalError
from hoist.expose import CONTENT_TYPE

log = logging.getLogger("hoist.status")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]|\*")
_JSON = "application/json"
# A client that is slower than that, or silent for so long, is one too many.
_CLIENT_SECONDS = 10.0
_CLIENTS = 32
_STEP_SECONDS = 0.1


class Provider(Protocol):
    """What a service shows. It is asked from several threads at once, and answers from what is known, without waiting."""

    def status(self) -> Mapping[str, object]:
        """The document of GET /status: only what JSON has, and no secret."""

    def metrics(self) -> str:
        """The exposition format of Prometheus, as `hoist.expose.exposition` makes it."""

    def unhealthy(self) -> str:
        """Why this process should be started again, as GET /health says it; empty while it does its work.

        A storage that is down is no reason: another process would not reach it either.
        """


class StatusService:
    """Serves what `provider` knows at `listen` (HOST:PORT; port 0 finds a free one, `*` is every address) between `start`
    and `stop`, or for the length of a `with` block.

    Making one raises InvalidConfig for an address that is none; starting it raises LocalError for one that cannot be had.
    """

    def __init__(self, listen: str, provider: Provider) -> None:
        self._host, self._port = parse_listen(listen)
        self._provider = provider
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """Where it is reached, once it is started: `http://HOST:PORT`."""
        host = f"[{self._host}]" if ":" in self._host else self._host or "0.0.0.0"  # noqa: S104
        return f"http://{host}:{self.port}"

    @property
    def port(self) -> int:
        """The port, once it is started the one that was found for 0."""
        return self._server.server_address[1] if self._server else self._port

    def start(self) -> None:
        """Listen, and answer from now on, in threads that keep no process from its end. Raises LocalError."""
        try:
            self._server = _Server(self._host, self._port, self._provider)
        except (OSError, UnicodeError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LocalError(
                f"the status cannot be served at {self._host or '*'}:{self._port}: {reason}; "
                "choose another address with --listen, or port 0"
            ) from None
        Thread(target=self._server.serve_forever, args=(_STEP_SECONDS,), name="hoist-status-http", daemon=True).start()

    def stop(self) -> None:
        """Close the port. Answers on their way are not waited for. Nothing happens if it is not started."""
        server, self._server = self._server, None
        if server:
            self._port = server.server_address[1]
            server.shutdown()
            server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


def parse_listen(text: str) -> tuple[str, int]:
    """Host (empty for `*`) and port of HOST:PORT. Raises InvalidConfig."""
    host, _, port = text.rpartition(":")
    if not _HOST.fullmatch(host) or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise InvalidConfig(f"--listen wants HOST:PORT, as 127.0.0.1:9464 or [::1]:0, not {text!r:.100}")
    return "" if host == "*" else host.strip("[]"), int(port)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, host: str, port: int, provider: Provider) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.provider = provider
        self._room = BoundedSemaphore(_CLIENTS)
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """As a TCP server does: the one for HTTP looks its own name up, which can take seconds and is used nowhere."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "hoist", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for each client, up to a limit; one too many is shown the door."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one client, and give its room back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle of an answer is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _CLIENT_SECONDS
    server_version, sys_version = "hoist", ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer by the path; what it has behind a `?` is not looked at."""
        provider = self.server.provider
        path = self.path.partition("?")[0]
        try:
            if path == "/metrics":
                self._answer(200, CONTENT_TYPE, provider.metrics())
            elif path == "/status":
                self._json(200, provider.status())
            elif path in ("/health", "/healthz"):
                reason = provider.unhealthy()
                self._json(503 if reason else 200, {"status": reason or "ok"})
            elif path == "/":
                self._answer(200, "text/plain; charset=utf-8", "/status\n/metrics\n/health\n")
            else:
                self._json(404, {"error": "there are /status, /metrics and /health"})
        except OSError:
            self.close_connection = True
        except Exception:
            log.exception("GET %s", path)
            self._json(500, {"error": "a bug in Hoist; the log says more"})

    do_HEAD = do_GET  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the server refuses by itself (another method, a line that is too long), as JSON too."""
        self.close_connection = True
        with suppress(OSError):
            self._json(code, {"error": "only GET and HEAD" if code == 501 else "no request that is understood"})

    def _json(self, code: int, document: Mapping[str, object]) -> None:
        self._answer(code, _JSON, json.dumps(document, allow_nan=False) + "\n")

    def _answer(self, code: int, kind: str, text: str) -> None:
        body = text.encode()
        # 405 says of a method what 501 says of a server.
        self.send_response(405 if code == 501 else code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if code == 501:
            self.send_header("Allow", "GET, HEAD")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *rest: object) -> None:
        """Nobody wants to read of each scrape."""
