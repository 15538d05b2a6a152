"""The function as people write it without a switcher: one model at a time, loaded when a request names another.

`python -m hoist.bench.plain_function` answers `POST /invoke` with a body `{"loader": ..., "switch": {...}}` by letting
go of what it holds, loading with one of the bench's loaders, and the figures of that load. It is the plain loader's
function, and, with the loader `hoist`, the bare load that a served one is compared with.
"""

from __future__ import annotations

import gc
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from hoist.bench.loaders import Switch
from hoist.bench.worker import measure
from hoist.errors import HoistError


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    held: Any = None

    def do_POST(self) -> None:
        """Load, and answer; with nothing in the body let go of what is held."""
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).held = None
        gc.collect()
        if not order:
            self._answer(200, {})
            return
        try:
            type(self).held, figures = measure(order["loader"], Switch(**order["switch"]))
        except HoistError as error:
            self._answer(500, {"error": {"code": "load_failed", "message": str(error)}})
            return
        self._answer(200, figures)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: requests are the benchmark's own."""

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        # In one packet: a body that follows its header can wait 40 ms for a delayed acknowledgement.
        body = json.dumps(document).encode()
        head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)


def main() -> None:
    """Serve until a signal, on a free port of this host, which is told first."""
    with HTTPServer(("127.0.0.1", 0), _Handler) as server:
        sys.stdout.write(f"serving at http://127.0.0.1:{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
