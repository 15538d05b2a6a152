"""Local servers for tests of traces: one that serves them, and an OpenTelemetry collector's HTTP endpoint."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class LocalHttp:
    """A server on a free port of this host; each request is noted as (method, path, headers in lower case, body)."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Mapping[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                given = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((self.command, self.path, given, body))
                status, answer, headers = outer.answer(self.path, given, body)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = _answer  # noqa: N815 what http.server calls

            def log_message(self, *rest: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers of an answer."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class TraceServer(LocalHttp):
    """Serves `body` as a function serves its traces, to who has the token; other paths lead elsewhere or nowhere."""

    def __init__(self, body: bytes, token: str | None = None) -> None:
        super().__init__()
        self.body = body
        self._token = token

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes, Mapping[str, str]]:
        if path.startswith("/moved"):
            return 302, b"", {"Location": f"{self.url}/trace"}
        if path.startswith("/broken"):
            return 500, b"", {}
        if path.partition("?")[0] != "/trace":
            return 404, b"", {}
        if self._token and headers.get("authorization") != f"Bearer {self._token}":
            return 401, b"", {}
        return 200, self.body, {"Content-Type": "application/json"}


class Collector(LocalHttp):
    """What an OpenTelemetry collector does at its OTLP/HTTP endpoint: parses the request, or refuses it."""

    def __init__(self, status: int = 200) -> None:
        super().__init__()
        self.received: list[ExportTraceServiceRequest] = []
        self._status = status

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes, Mapping[str, str]]:
        if path != "/v1/traces" or headers.get("content-type") != "application/x-protobuf":
            return 404, b"", {}
        if self._status == 200:
            data = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
            self.received.append(ExportTraceServiceRequest.FromString(data))
        protobuf = {"Content-Type": "application/x-protobuf"}
        return self._status, ExportTraceServiceResponse().SerializeToString(), protobuf
