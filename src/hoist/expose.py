"""Metrics as Prometheus reads them, and on a port of this host only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from hoist.errors import LocalError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def exposition(prefix: str, about: Mapping[str, tuple[str, str]], values: Mapping[str, float], digits: int = 15) -> str:
    """The exposition format of Prometheus. `about` has each metric's type and help, in the order in which they are shown;
    `values` has its samples by name, with labels in braces where there are some, or with what a histogram appends."""
    samples: dict[str, list[str]] = {name: [] for name in about}
    for key, value in values.items():
        name = key.partition("{")[0]
        owner = name if name in samples else name.rpartition("_")[0]
        samples[owner].append(f"{prefix}_{key} {value:.{digits}g}")
    lines: list[str] = []
    for name, (kind, text) in about.items():
        if samples[name]:
            lines += [f"# HELP {prefix}_{name} {text}", f"# TYPE {prefix}_{name} {kind}", *samples[name]]
    return "\n".join(lines) + "\n"


def labelled(name: str, **labels: str) -> str:
    """A metric's name with labels, escaped as the format wants it."""
    pairs = [f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels.items()]
    return f"{name}{{{','.join(pairs)}}}"


def parse_samples(text: str) -> dict[str, float]:
    """What `exposition` has written, by name, with prefix and labels. Never raises: what is no sample is left out."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name and not name.startswith("#"):
            with suppress(ValueError):
                found[name] = float(value)
    return found


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
                self.send_header("Content-Type", CONTENT_TYPE)
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
