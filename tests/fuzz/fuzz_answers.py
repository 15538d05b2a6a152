"""Target: what an HTTP server may answer to a ranged GET, byte by byte, as a real connection brings it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from functools import cache

from fuzz_target import Target

from hoist.errors import HoistError
from hoist.storage.ranges import RangeClient

_BEGIN, _SIZE = 100, 40
_BODY = bytes(range(_SIZE))
_GUARD = 16


class _Scripted:
    """Answers each request with `answer`, then closes."""

    def __init__(self) -> None:
        self.answer = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/key"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            near, _ = self._listener.accept()
            with near, suppress(OSError):
                near.recv(1 << 16)
                near.sendall(self.answer)


@cache
def _server() -> _Scripted:
    return _Scripted()


def check_answer(data: bytes) -> bool:
    """The buffer is filled or an error says why; not a byte beside it is touched."""
    server = _server()
    server.answer = data
    memory = bytearray(b"\xee" * (_SIZE + 2 * _GUARD))
    client = RangeClient()
    try:
        client.read_into(server.url, _BEGIN, memoryview(memory)[_GUARD : _GUARD + _SIZE], "fuzz")
        accepted = True
    except HoistError as error:
        assert str(error)
        accepted = False
    finally:
        client.close()
    assert memory[:_GUARD] == memory[-_GUARD:] == b"\xee" * _GUARD
    return accepted


def _answers() -> list[bytes]:
    end = _BEGIN + _SIZE
    where = b"Content-Range: bytes %d-%d/1000\r\n" % (_BEGIN, end - 1)
    length = b"Content-Length: %d\r\n" % _SIZE
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (_SIZE, _BODY)
    error = b"<Error><Code>SlowDown</Code></Error>"
    found = [
        b"HTTP/1.1 206 Partial Content\r\n" + where + length + b"\r\n" + _BODY,
        b"HTTP/1.1 200 OK\r\n" + where + length + b'ETag: "x"\r\n\r\n' + _BODY,
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % end + bytes(_BEGIN) + _BODY,
        b"HTTP/1.1 206 Partial Content\r\n" + where + b"Transfer-Encoding: chunked\r\n\r\n" + chunk,
        b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n" + bytes(_BEGIN) + _BODY,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 206 P\r\n" + where + length + b"\r\n" + _BODY,
    ]
    for status in (301, 403, 404, 416, 429, 500, 503):
        found.append(b"HTTP/1.1 %d X\r\nRetry-After: 1\r\nContent-Length: %d\r\n\r\n" % (status, len(error)) + error)
    return found


_WORDS = (
    b"HTTP/1.1 206 ", b"HTTP/1.0 200 ", b"\r\n\r\n", b"\r\n", b"Content-Range: bytes ", b"Content-Length: ", b"-1",
    b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"100-139/*", b"99999999999999999999", b"0\r\n\r\n",
)  # fmt: skip

TARGETS = (Target("answer", check_answer, _answers, _WORDS),)
