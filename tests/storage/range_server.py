"""A server that answers ranged GETs in every manner, the wrong ones too: `/MANNER` chooses."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from hoist.testing.conformance.base import sample

DATA = sample("ranges", 3_000_000)
SECRET = "X-Amz-Signature=0123456789abcdef"


class Handler(BaseHTTPRequestHandler):
    """Answers `/MANNER` in that manner; the asked range is `self.begin` to `self.end`."""

    protocol_version = "HTTP/1.1"
    server: Server
    throttle = ""

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections += 1

    def do_GET(self) -> None:
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        self.throttle = ""
        self.begin, self.end = int(first), min(int(last) + 1, len(DATA))
        with self.server.lock:
            self.server.requests.append(self.path)
            asked = self.server.requests.count(self.path)
        # `/MANNER/then/OTHER`: the first request is answered in the one manner, later ones in the other.
        manners = self.path.partition("?")[0].strip("/").replace("-", "_").split("/then/")
        manner = manners[min(asked, len(manners)) - 1]
        if manner.isdigit():
            self.answer(int(manner), b"<Error><Code>SomeReason</Code></Error>")
        else:
            getattr(self, manner)()

    def answer(self, status: int, body: bytes, *, length: int | None = None, content_range: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if content_range:
            self.send_header("Content-Range", content_range)
        if self.throttle:
            # As Alibaba OSS says it: milliseconds, beside the bytes.
            self.send_header("x-oss-qos-delay-time", self.throttle)
        self.end_headers()
        self.wfile.write(body)

    def range_of(self, begin: int, end: int) -> str:
        return f"bytes {begin}-{end - 1}/{len(DATA)}"

    def partial(self) -> None:
        if self.begin >= len(DATA):
            self.answer(416, b"", content_range=f"bytes */{len(DATA)}")
        else:
            self.answer(206, DATA[self.begin : self.end], content_range=self.range_of(self.begin, self.end))

    def held_back(self) -> None:
        self.throttle = "1500"
        self.partial()

    def not_held_back(self) -> None:
        self.throttle = "0"
        self.partial()

    def whole(self) -> None:
        self.answer(200, DATA)

    def said_200(self) -> None:
        self.answer(200, DATA[self.begin : self.end], content_range=self.range_of(self.begin, self.end))

    def wider(self) -> None:
        begin, end = self.begin - 1000, self.end + 1000
        self.answer(206, DATA[begin:end], content_range=self.range_of(begin, end))

    def other_range(self) -> None:
        begin, end = self.begin + 1, self.end + 1
        self.answer(206, DATA[begin:end], content_range=self.range_of(begin, end))

    def narrower(self) -> None:
        self.answer(206, DATA[self.begin : self.end - 1], content_range=self.range_of(self.begin, self.end - 1))

    def unsaid_206(self) -> None:
        self.answer(206, DATA[self.begin : self.end])

    def nonsense_range(self) -> None:
        self.answer(206, DATA[self.begin : self.end], content_range="pages 1-2")

    def short(self) -> None:
        body = DATA[self.begin : self.end]
        self.answer(206, body[:-100], length=len(body), content_range=self.range_of(self.begin, self.end))
        self.close_connection = True

    def short_whole(self) -> None:
        self.answer(200, DATA[: self.begin - 5], length=len(DATA))
        self.close_connection = True

    def longer_than_said(self) -> None:
        self.answer(206, DATA[self.begin : self.end + 77], content_range=self.range_of(self.begin, self.end))

    def smaller_object(self) -> None:
        self.answer(200, DATA[: self.begin + 10])

    def stalled(self) -> None:
        body = DATA[self.begin : self.end]
        self.answer(206, body[:1000], length=len(body), content_range=self.range_of(self.begin, self.end))
        self.wfile.flush()
        self.server.done.wait(10)
        self.close_connection = True

    def slow(self) -> None:
        body = DATA[self.begin : self.end]
        self.answer(206, b"", length=len(body), content_range=self.range_of(self.begin, self.end))
        for at in range(0, len(body), 5000):
            if self.server.done.wait(0.01):
                break
            self.wfile.write(body[at : at + 5000])
        self.close_connection = True

    def garbled(self) -> None:
        body = bytes(byte ^ 255 for byte in DATA[self.begin : self.end])
        self.answer(206, body, content_range=self.range_of(self.begin, self.end))

    def silent(self) -> None:
        self.server.done.wait(10)
        self.close_connection = True

    def reset(self) -> None:
        body = DATA[self.begin : self.end]
        self.answer(206, body[:1000], length=len(body), content_range=self.range_of(self.begin, self.end))
        self.hang_up()

    def reset_at_once(self) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RD)
        self.close_connection = True

    def not_http(self) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        self.close_connection = True

    def chunked(self) -> None:
        self.in_chunks(200, DATA, "")

    def chunked_part(self) -> None:
        self.in_chunks(206, DATA[self.begin : self.end], self.range_of(self.begin, self.end))

    def chunked_short(self) -> None:
        self.in_chunks(200, DATA[: self.begin + 100], "")

    def in_chunks(self, status: int, body: bytes, content_range: str) -> None:
        self.send_response(status)
        self.send_header("Transfer-Encoding", "chunked")
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        for at in range(0, len(body), 300_000):
            chunk = body[at : at + 300_000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def until_close(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(DATA)
        self.close_connection = True

    def leaves(self) -> None:
        """Keeps the connection by its word, and closes it behind the answer."""
        self.partial()
        self.close_connection = True

    def says_close(self) -> None:
        self.send_response(206)
        self.send_header("Connection", "close")
        self.send_header("Content-Length", str(self.end - self.begin))
        self.send_header("Content-Range", self.range_of(self.begin, self.end))
        self.end_headers()
        self.wfile.write(DATA[self.begin : self.end])

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


class Server(ThreadingHTTPServer):
    """Counts its connections and requests."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.done = threading.Event()
        self.connections = 0
        self.requests: list[str] = []

    def url(self, manner: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{manner}?{SECRET}"

    @contextmanager
    def serving(self) -> Iterator[Self]:
        """Answer requests meanwhile."""
        with self:
            thread = threading.Thread(target=self.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield self
            finally:
                self.done.set()
                self.shutdown()
                thread.join()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up early is no news."""
