"""Metrics on a port of this host only, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from hoist.errors import LocalError


class MetricsServer:
    """Serves what `text` gives as `/metrics` on 127.0.0.1 until it is closed; `port` is the one that was found for 0."""

    def __init__(self, text: Callable[[], str], port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path not in ("/", "/metrics"):
                    self.send_error(404)
                    return
                body = text().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *rest: object) -> None:
                """Nobody wants to read of each scrape."""

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise LocalError(
                f"metrics cannot be shown on port {port}: {error.strerror}; choose another, or 0"
            ) from None
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        Thread(target=self._server.serve_forever, name="hoist-metrics", daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
