"""Bytes of files that are there, in large requests: five calls of NFSv4 over a connection of its own.

libnfs 4.0 cannot write so: it encodes a call into 4 KiB (a fiftieth of the speed, six times the processor). And what it
reads it copies once more, from memory that is new each time; here the socket fills the caller's. These calls need no state:
RFC 7530 lets READ and WRITE name the anonymous stateid, and has the user checked as elsewhere. What was written is at rest
only when a COMMIT gives the verifier that each WRITE gave: another one means that the server has started anew and may
have lost it.
"""

from __future__ import annotations

import errno
import os
import platform
import random
import socket
import struct
from collections.abc import Sequence
from itertools import count

from hoist.storage.nfs.errors import NfsBroken, NfsStatus
from hoist.storage.nfs.place import CONNECT_SECONDS, SILENT_SECONDS, Place, resolved

_PROGRAM, _VERSION, _COMPOUND = 100003, 4, 1
_COMMIT, _GETATTR, _GETFH, _LOOKUP, _PUTFH, _PUTROOTFH, _READ, _WRITE = 5, 9, 10, 15, 22, 24, 25, 38
# maxread and maxwrite.
_LIMITS = 1 << 30 | 1 << 31
# Measured against nfs-ganesha.
_MOST_BYTES, _READS_AT_ONCE, _WRITES_AT_ONCE = 512 << 10, 2, 3
# What stands in a record before the bytes that were read.
_READ_HEAD = 60
_MOST_REPLY = 1 << 20
_PRIVILEGED = range(600, 1023)
# Those that mean something to `errors.py`; RFC 7530, section 13.
_NAMES = {
    **{1: "PERM", 2: "NOENT", 5: "IO", 13: "ACCESS", 20: "NOTDIR", 21: "ISDIR", 22: "INVAL", 27: "FBIG", 28: "NOSPC"},
    **{30: "ROFS", 69: "DQUOT", 70: "STALE", 10001: "BADHANDLE", 10006: "SERVERFAULT", 10008: "DELAY", 10012: "LOCKED"},
    **{
        10013: "GRACE",
        10014: "FHEXPIRED",
        10015: "SHARE_DENIED",
        10016: "WRONGSEC",
        10018: "RESOURCE",
        10029: "SYMLINK",
    },
}


class Bulk:
    """Reads and writes files of one place. For one thread at a time. Raises NfsStatus and NfsBroken; after that: `close`."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._numbers = count(random.getrandbits(31))
        self._credentials = _credentials(place)
        self._files: dict[str, tuple[bytes, int, int]] = {}
        self._verifiers: dict[str, set[bytes]] = {}
        self._socket = _connected(place)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def read(self, path: str, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`, two requests at once; the bytes read, fewer only at the file's end."""
        self.forget(path)
        handle, step, _ = self._find(path)
        under_way: dict[int, tuple[int, int]] = {}
        wanted = [(at, min(at + step, len(buffer))) for at in range(0, len(buffer), step)][::-1]
        end_of_file, failed = len(buffer), None
        while under_way or (wanted and not failed):
            if wanted and not failed and len(under_way) < _READS_AT_ONCE:
                begin, end = wanted.pop()
                operation = struct.pack(">IIIIIQI", _READ, 0, 0, 0, 0, offset + begin, end - begin)
                under_way[self._send([_put_handle(handle), operation])] = (begin, end)
                continue
            try:
                begin, end, got = self._receive_into(buffer, under_way)
            except NfsStatus as error:
                # The others are answered all the same.
                failed = error
                continue
            if not got:
                end_of_file, wanted = min(end_of_file, begin), []
            elif begin + got < end:
                wanted.append((begin + got, end))
        if failed:
            raise failed
        return end_of_file

    def write(self, path: str, offset: int, data: memoryview) -> None:
        """Write all of `data`, three requests at once; `commit` it."""
        handle, _, step = self._find(path)
        verifiers = self._verifiers.setdefault(path, set())
        # Answers come in any order.
        under_way: dict[int, tuple[int, int]] = {}
        wanted = [(at, min(at + step, len(data))) for at in range(0, len(data), step)][::-1]
        failed: NfsStatus | None = None
        while under_way or (wanted and not failed):
            if wanted and not failed and len(under_way) < _WRITES_AT_ONCE:
                begin, end = wanted.pop()
                operation = struct.pack(">IIIIIQII", _WRITE, 0, 0, 0, 0, offset + begin, 0, end - begin)
                number = self._send([_put_handle(handle), operation], data[begin:end])
                under_way[number] = (begin, end)
                continue
            number, answer = self._receive()
            begin, end = under_way.pop(number, (0, 0))
            try:
                answer.skip_heads(2)
            except NfsStatus as error:
                # The others are answered all the same.
                failed = error
                continue
            written = answer.uint()
            if not 0 < written <= end - begin:
                raise NfsBroken("the server sent an answer to nothing")
            if begin + written < end:
                wanted.append((begin + written, end))
            answer.uint()
            verifiers.add(answer.take(8))
        if failed:
            raise failed

    def commit(self, path: str) -> None:
        """Bring what was written to the server's disk. Raises NfsBroken if the server may have lost some of it."""
        handle, _, _ = self._find(path)
        verifier = self._ask([_put_handle(handle), struct.pack(">IQI", _COMMIT, 0, 0)], 2).take(8)
        if self._verifiers.pop(path, set()) - {verifier}:
            raise NfsBroken("the server has started anew and may have lost what was written")

    def forget(self, path: str) -> None:
        """The file will not be written any more."""
        self._files.pop(path, None)
        self._verifiers.pop(path, None)

    def _find(self, path: str) -> tuple[bytes, int, int]:
        """A file's handle, and how much one read and one write may bring."""
        if path not in self._files:
            names = [os.fsencode(name) for name in f"{self._place.path}{path}".split("/") if name]
            steps = [struct.pack(">I", _LOOKUP) + _opaque(name) for name in names]
            attribute = struct.pack(">III", _GETATTR, 1, _LIMITS)
            calls = [struct.pack(">I", _PUTROOTFH), *steps, struct.pack(">I", _GETFH), attribute]
            answer = self._ask(calls, len(names) + 2)
            handle = answer.opaque()
            answer.take(8)
            words = [answer.uint() for _ in range(answer.uint())]
            values = answer.opaque()
            told = struct.unpack(">QQ", values) if words[:1] == [_LIMITS] and len(values) == 16 else (4096, 4096)
            reads, writes = (max(4096, min(most, _MOST_BYTES)) for most in told)
            self._files[path] = (handle, min(reads, self._place.read_bytes), writes)
        return self._files[path]

    def _send(self, operations: Sequence[bytes], data: memoryview | None = None) -> int:
        number = next(self._numbers) & 0xFFFFFFFF
        head = struct.pack(">IIIIII", number, 0, 2, _PROGRAM, _VERSION, _COMPOUND) + self._credentials
        head += struct.pack(">III", 0, 0, len(operations)) + b"".join(operations)
        body: list[bytes | memoryview] = [data, bytes(-len(data) % 4)] if data is not None else []
        size = len(head) + sum(map(len, body))
        pieces: list[bytes | memoryview] = [struct.pack(">I", size | 0x80000000) + head, *body]
        parts = [memoryview(piece).cast("B") for piece in pieces if len(piece)]
        try:
            while parts:
                sent = self._socket.sendmsg(parts)
                while parts and sent >= len(parts[0]):
                    sent -= len(parts.pop(0))
                if parts:
                    parts[0] = parts[0][sent:]
        except OSError as error:
            raise NfsBroken(_words(error)) from None
        return number

    def _ask(self, operations: Sequence[bytes], heads: int) -> _Answer:
        """One call, and its answer behind the heads of its first operations."""
        number = self._send(operations)
        found, answer = self._receive()
        if found != number:
            raise NfsBroken("the server sent an answer to nothing")
        answer.skip_heads(heads)
        return answer

    def _receive(self) -> tuple[int, _Answer]:
        """The next answer, and the number of its call."""
        answer = _Answer(self._record())
        return answer.uint(), answer

    def _receive_into(self, buffer: memoryview, under_way: dict[int, tuple[int, int]]) -> tuple[int, int, int]:
        """The next answer to a READ, its bytes laid where they belong: from where, to where at most, and how many."""
        mark = struct.unpack(">I", self._exactly(4))[0]
        last, size = bool(mark & 0x80000000), mark & 0x7FFFFFFF
        head = self._exactly(min(size, _READ_HEAD))
        rest = size - len(head)
        if not last or rest > _MOST_REPLY:
            raise NfsBroken("the server sent what is no answer")
        answer = _Answer(head)
        begin, end = under_way.pop(answer.uint(), (0, 0))
        answer.skip_heads(2)
        answer.uint()
        got = answer.uint()
        # With the padding.
        if got > end - begin or rest != got + -got % 4:
            raise NfsBroken("the server sent what is no answer")
        self._fill(buffer[begin : begin + got])
        self._exactly(-got % 4)
        return begin, end, got

    def _fill(self, buffer: memoryview) -> None:
        done = 0
        try:
            while done < len(buffer):
                got = self._socket.recv_into(buffer[done:], 0, socket.MSG_WAITALL)
                if not got:
                    raise NfsBroken("the server closed the connection")
                done += got
        except OSError as error:
            raise NfsBroken(_words(error)) from None

    def _record(self) -> bytes:
        found, last = b"", False
        while not last:
            mark = struct.unpack(">I", self._exactly(4))[0]
            last, size = bool(mark & 0x80000000), mark & 0x7FFFFFFF
            if len(found) + size > _MOST_REPLY:
                raise NfsBroken("the server sent what is no answer")
            found += self._exactly(size)
        return found

    def _exactly(self, size: int) -> bytes:
        data = bytearray(size)
        self._fill(memoryview(data))
        return bytes(data)


class _Answer:
    """XDR, read from the front."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        found = self._data[self._at : self._at + size]
        if len(found) < size:
            raise NfsBroken("the server sent half an answer")
        self._at += size
        return found

    def skip_heads(self, count: int) -> None:
        """Go behind the heads of the RPC and of so many operations, none of which has a result but the last. Raises
        NfsStatus if one has failed."""
        if (self.uint(), self.uint()) != (1, 0):
            raise NfsStatus("ACCESS")
        self.uint()
        self.opaque()
        if self.uint() != 0:
            raise NfsBroken("the server does not speak NFS version 4")
        status = self.uint()
        if status:
            raise NfsStatus(_NAMES.get(status, str(status)))
        self.opaque()
        self.uint()
        self.take(8 * count)

    def uint(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def opaque(self) -> bytes:
        size = self.uint()
        found = self.take(size)
        self.take(-size % 4)
        return found


def _opaque(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


def _put_handle(handle: bytes) -> bytes:
    return struct.pack(">I", _PUTFH) + _opaque(handle)


def _credentials(place: Place) -> bytes:
    """AUTH_SYS as this user, and an empty verifier."""
    uid = os.getuid() if place.uid is None else place.uid
    gid = os.getgid() if place.gid is None else place.gid
    body = struct.pack(">I", 0) + _opaque(platform.node().encode()[:255]) + struct.pack(">III", uid, gid, 0)
    return struct.pack(">I", 1) + _opaque(body) + struct.pack(">II", 0, 0)


def _connected(place: Place) -> socket.socket:
    try:
        family, address = resolved(place)
        found = socket.socket(family, socket.SOCK_STREAM)
        try:
            found.settimeout(CONNECT_SECONDS)
            _bind_low(found, family)
            found.connect(address)
            found.settimeout(None)
            # The kernel's own limit: with Python's, it would be asked for each piece of an answer.
            for limit in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                found.setsockopt(socket.SOL_SOCKET, limit, struct.pack("ll", int(SILENT_SECONDS), 0))
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            found.close()
            raise
    except OSError as error:
        raise NfsBroken(_words(error)) from None
    return found


def _bind_low(found: socket.socket, family: int) -> None:
    """Take a port that only root has, as most exports ask; anybody else's has to be exported as `insecure`."""
    for port in random.sample(_PRIVILEGED, len(_PRIVILEGED)):
        try:
            found.bind(("::" if family == socket.AF_INET6 else "", port))
            break
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                break


def _words(error: OSError) -> str:
    return "it is silent" if isinstance(error, TimeoutError | BlockingIOError) else error.strerror or str(error)
