"""A real HTTP server that goes wrong by plan: what a client does when its store is sick, as a test.

    with FaultServer(ServerOrigin(rclone.endpoint)) as sick:
        sick.plan(Rule(Reset("body"), path="*.safetensors", count=2))
        ...                                    # reach the store at sick.endpoint

It stands before another server (a proxy: PUT, LIST and DELETE go through too) or before a folder of files, which it
serves as a public bucket. Requests that no rule strikes are answered rightly.
"""

from __future__ import annotations

import random
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http.client import HTTPException, IncompleteRead, parse_headers, responses
from typing import Self
from urllib.parse import unquote, urlsplit

from hoist.testing.servers.base import Answer
from hoist.testing.servers.fault_kinds import Fault
from hoist.testing.servers.origins import Origin, end_to_end
from hoist.testing.servers.ports import LOOPBACK

_STEP_SECONDS = 0.02
_LINE_BYTES = 1 << 16


@dataclass(frozen=True)
class Rule:
    """Which requests a fault strikes: those of a method and path (a shell pattern, without the query), from the
    `first` of them on (0 is the first), at most `count`, each with `chance`."""

    fault: Fault
    method: str = "GET"
    path: str = "*"
    first: int = 0
    count: int | None = None
    chance: float = 1.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that came, and the fault that struck it."""

    method: str
    path: str
    fault: Fault | None


class FaultServer:
    """Serves `origin` on a free loopback port for the length of a `with` block, with the faults of its plan.

    `endpoint` is its URL; `seen` every request so far. The same seed gives the same faults for the same order of
    requests. Threads serve the connections, one each.
    """

    def __init__(self, origin: Origin, rules: Sequence[Rule] = (), seed: int = 0) -> None:
        self.origin = origin
        self.seen: list[Seen] = []
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._server = _Listener((LOOPBACK, 0), self)
        self._port = self._server.server_address[1]
        self.endpoint = f"http://{LOOPBACK}:{self._port}"
        self.plan(*rules, seed=seed)

    def plan(self, *rules: Rule, seed: int = 0) -> None:
        """From now on these rules, counting requests anew."""
        with self._lock:
            self._rules = [(rule, [0]) for rule in rules]
            self.random = random.Random(seed)  # noqa: S311 faults need to be repeatable, not secret
            self.seen.clear()

    def struck(self) -> int:
        """How many requests were answered wrongly."""
        with self._lock:
            return sum(1 for seen in self.seen if seen.fault)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Refuse connections, and break those that are there, for the length of a `with` block."""
        self._server.stop()
        try:
            yield
        finally:
            self._server = _Listener((LOOPBACK, self._port), self)
            self._server.start()

    def choose(self, method: str, path: str) -> Fault | None:
        """The fault for one request: that of the first rule that strikes it."""
        with self._lock:
            fault = next((rule.fault for rule, count in self._rules if self._strikes(rule, count, method, path)), None)
            self.seen.append(Seen(method, path, fault))
            return fault

    def _strikes(self, rule: Rule, count: list[int], method: str, path: str) -> bool:
        if rule.method not in ("*", method) or not fnmatchcase(path, rule.path):
            return False
        number = count[0] - rule.first
        count[0] += 1
        return 0 <= number < (rule.count or 1 << 62) and (rule.chance >= 1 or self.random.random() < rule.chance)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopping.set()
        self._server.stop()
        self.origin.close()


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], server: FaultServer) -> None:
        super().__init__(address, _Connection)
        self.faults = server
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, args=(_STEP_SECONDS,), name="hoist-faults", daemon=True).start()

    def stop(self) -> None:
        """Close the port and every connection."""
        self.shutdown()
        self.server_close()
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def note(self, connection: socket.socket, *, open_: bool) -> None:
        with self._lock:
            (self._open.add if open_ else self._open.discard)(connection)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Close without a word before: after a reset, the first thing that the client sees is the RST."""
        self.close_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what faults are for."""


class _Connection(socketserver.StreamRequestHandler):
    """One connection: requests one after the other, each of them an exchange."""

    server: _Listener
    connection: socket.socket
    disable_nagle_algorithm = True

    def handle(self) -> None:
        self.server.note(self.connection, open_=True)
        try:
            with suppress(OSError, HTTPException, ValueError):
                while self._one():
                    continue
        finally:
            self.server.note(self.connection, open_=False)

    def _one(self) -> bool:
        words = self.rfile.readline(_LINE_BYTES).decode("latin-1").split()
        if len(words) != 3:
            return False
        headers = {name.lower(): value for name, value in parse_headers(self.rfile).items()}
        if headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        exchange = _Exchange(self, words[0], words[1], headers)
        faults = self.server.faults
        fault = faults.choose(words[0], unquote(urlsplit(words[1]).path))
        if fault is None:
            exchange.send(exchange.origin())
        else:
            fault.strike(exchange)
        self.wfile.flush()
        if exchange.ended or headers.get("connection", "").lower() == "close":
            return False
        exchange.sent()
        return True

    def read_body(self, headers: Mapping[str, str]) -> bytes:
        """A request's body, whole. Raises HTTPException if the client goes before its end."""
        if headers.get("transfer-encoding", "").lower() != "chunked":
            size = int(headers.get("content-length", 0))
            body = self.rfile.read(size)
            if len(body) < size:
                raise IncompleteRead(body, size - len(body))
            return body
        parts = []
        while size := int(self.rfile.readline(_LINE_BYTES).partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline(_LINE_BYTES)
        while self.rfile.readline(_LINE_BYTES).strip():
            continue
        return b"".join(parts)


class _Exchange:
    """See fault_kinds.Exchange. The body is read when it is needed: a fault can strike in the middle of sending."""

    def __init__(self, connection: _Connection, method: str, target: str, headers: Mapping[str, str]) -> None:
        self._connection = connection
        self._faults = connection.server.faults
        self._method, self._target, self._headers = method, target, headers
        self._body: bytes | None = None
        self.ended = False

    def origin(self, span: tuple[int, int] | None = None, *, whole: bool = False) -> Answer:
        headers = dict(self._headers)
        if span:
            headers["range"] = f"bytes={span[0]}-{span[1] - 1}"
        elif whole:
            headers.pop("range", None)
        return self._faults.origin.answer(self._method, self._target, headers, self.sent())

    def sent(self) -> bytes:
        if self._body is None:
            self._body = self._connection.read_body(self._headers)
        return self._body

    def pass_on(self, body: bytes) -> Answer:
        self.sent()
        return self._faults.origin.answer(self._method, self._target, self._headers, body)

    def asked(self) -> tuple[int, int] | None:
        first, _, last = self._headers.get("range", "").removeprefix("bytes=").partition("-")
        return (int(first), int(last) + 1) if first.isdigit() and last.isdigit() else None

    def send(self, answer: Answer, *, promised: int | None = None, rate: float | None = None) -> None:
        self._head(answer, promised)
        if self._method == "HEAD":
            return
        step = max(1, int(rate * _STEP_SECONDS)) if rate else len(answer.body) or 1
        for at in range(0, len(answer.body), step):
            self.send_raw(answer.body[at : at + step])
            if rate and self._faults.stopping.wait(step / rate):
                return

    def send_head(self, answer: Answer) -> None:
        self._head(answer, None)

    def _head(self, answer: Answer, promised: int | None) -> None:
        length: int | str = len(answer.body) if promised is None else promised
        if self._method == "HEAD" and not answer.body:
            length = answer.headers.get("content-length", "0")
        headers = end_to_end(answer.headers) | {"content-length": str(length)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        reason = responses.get(answer.status, "Unknown")
        self.send_raw(f"HTTP/1.1 {answer.status} {reason}\r\n{lines}\r\n".encode("latin-1"))

    def send_raw(self, data: bytes) -> None:
        self._connection.wfile.write(data)

    def wait(self, seconds: float | None) -> None:
        self._connection.wfile.flush()
        until = None if seconds is None else time.monotonic() + seconds
        while not self._faults.stopping.wait(_STEP_SECONDS):
            if until is not None and time.monotonic() > until:
                return
            if _hung_up(self._connection.connection):
                return

    def close(self) -> None:
        self.ended = True

    def reset(self) -> None:
        # With a linger of 0, closing sends RST; the listener closes when the handler returns.
        self._connection.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.ended = True

    def pick(self, below: int) -> int:
        return self._faults.random.randrange(max(1, below))


def _hung_up(connection: socket.socket) -> bool:
    """Whether the client has gone: then nobody needs the silence."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
