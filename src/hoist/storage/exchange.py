"""One ranged GET on one connection: sent, answered, and its body received into the caller's memory.

http.client sends the request and reads the head. The body of a plain answer is received from the socket itself: one
system call for megabytes, with the interpreter lock released, and nothing copied in between.
"""

from __future__ import annotations

import ctypes
import select
import socket
import ssl
import struct
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse

from hoist.errors import Damaged
from hoist.storage.answers import Broken, answered_range, refusal

# What http.client may have read beyond the head: the size of its buffer.
_BUFFERED_BYTES = 8192
_SCRATCH_BYTES = 1 << 20
_ERROR_BYTES = 4096
_THROTTLE_HEADER = "x-oss-qos-delay-time"
_TIMEVAL = struct.Struct("@ll")


class Exchange:
    """A request on its way. `reused`: on a connection that the server may have closed meanwhile; `more`: headers that it
    has besides its own. Raises OSError."""

    def __init__(
        self,
        connection: HTTPConnection,
        path: str,
        begin: int,
        end: int,
        *,
        reused: bool,
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.connection = connection
        self.reused = reused
        self._begin, self._end = begin, end
        self._more = more is not None
        self._sock: socket.socket = connection.sock
        self._patient = self._sock.gettimeout()
        self._response: HTTPResponse | None = None
        self._ends_here = False
        # Whether the body may be received from the socket itself, and whether http.client's buffer is empty by now.
        self._direct = self._drained = False
        headers = {**(more or {}), "Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity"}
        connection.request("GET", path, headers=headers)

    def fileno(self) -> int:
        """For select."""
        return self._sock.fileno()

    @property
    def throttled(self) -> bool:
        """Whether the answer says that the server holds it back. OSS says so beside the bytes, and refuses nothing."""
        return self._response is not None and self._response.getheader(_THROTTLE_HEADER) not in (None, "0")

    def patient(self, seconds: float) -> None:
        """From now on the server may stay silent for so long, and no longer."""
        self._sock.settimeout(seconds)

    def begin_body(self, what: str) -> None:
        """Read the head and come to the first byte asked for. Raises the server's refusal, Damaged, OSError."""
        self._response = response = self.connection.getresponse()
        if response.status not in (200, 206):
            body = response.read(_ERROR_BYTES)
            header = response.getheader
            raise refusal(response.status, response.reason, body, what, header, more=self._more)
        begin, last = answered_range(response, what)
        if begin > self._begin or (last is not None and last < self._end):
            raise Damaged(f"{what} ends before byte {self._end}, or its server answered another range")
        self._skip(response, self._begin - begin, what)
        wanted, length = self._end - self._begin, response.length
        self._ends_here = last == self._end and length in (None, wanted)
        # A body in chunks, or one that ends with the connection, is http.client's to decode.
        self._direct = not response.chunked and length is not None and length >= wanted

    def receive(self, view: memoryview, seconds: float, what: str) -> int:
        """Fill `view`, or as much of it as comes within that time; how many bytes came.

        Raises StorageUnavailable if the server ends the body early, OSError.
        """
        assert self._response is not None, "begin_body comes first"
        if not self._direct:
            got = self._response.readinto(view)
        elif not self._drained:
            got = self._receive_first(self._response, view, seconds)
        elif isinstance(self._sock, ssl.SSLSocket):
            got = self._receive_tls(view, seconds)
        else:
            got = self._receive_plain(view, seconds)
        if got == 0:
            raise Broken(f"{what}: the server closed the connection early")
        return max(0, got)

    def finish(self) -> bool:
        """All that was asked for is here; True if the next request can go over this connection."""
        response = self._response
        if response is None or response.will_close or not self._ends_here:
            return False
        if not self._direct:
            try:
                ended = not response.read(1)
                self._sock.settimeout(self._patient)
                return ended
            except (OSError, HTTPException):
                return False
        # Whatever is in the socket now would be taken for the next answer.
        clean = not first_ready([self], 0)
        response.close()
        self._sock.settimeout(self._patient)
        return clean

    def close(self) -> None:
        """Give the connection up."""
        if self._response:
            self._response.close()
        self.connection.close()

    def _skip(self, response: HTTPResponse, count: int, what: str) -> None:
        scratch = memoryview(bytearray(min(count, _SCRATCH_BYTES)))
        while count:
            got = response.readinto(scratch[:count])
            if not got:
                raise Broken(f"{what}: the server closed the connection early")
            count -= got

    def _receive_first(self, response: HTTPResponse, view: memoryview, seconds: float) -> int:
        """What came with the head. It is all that http.client has: from here on the body is in the socket."""
        self._drained = True
        self._sock.settimeout(seconds)
        try:
            data = response.fp.read1(min(_BUFFERED_BYTES, len(view)))
        except TimeoutError:
            return -1
        if data:
            # A copy without the interpreter lock: a first touch of memory may wait for the system to find a large page.
            ctypes.memmove(ctypes.addressof(ctypes.c_char.from_buffer(view)), data, len(data))
        return len(data)

    def _receive_plain(self, view: memoryview, seconds: float) -> int:
        # A blocking socket with the kernel's own time limit: a timeout of Python's would wake us for each packet.
        self._sock.settimeout(None)
        whole = int(seconds)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(whole, int((seconds - whole) * 1e6)))
        try:
            return self._sock.recv_into(view, 0, socket.MSG_WAITALL)
        except BlockingIOError:
            return -1

    def _receive_tls(self, view: memoryview, seconds: float) -> int:
        until = time.monotonic() + seconds
        done = 0
        while done < len(view):
            left = until - time.monotonic()
            self._sock.settimeout(max(0.001, left))
            try:
                got = self._sock.recv_into(view[done:])
            except TimeoutError:
                return done or -1
            if not got:
                return done
            done += got
        return done


def first_ready(exchanges: Sequence[Exchange], seconds: float) -> list[Exchange]:
    """Those of which something can be read, as soon as there is one; empty if none is within that time."""
    for exchange in exchanges:
        if isinstance(exchange._sock, ssl.SSLSocket) and exchange._sock.pending():
            return [exchange]
    poll = select.poll()
    by_number = {exchange.fileno(): exchange for exchange in exchanges}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(1000 * seconds)]
