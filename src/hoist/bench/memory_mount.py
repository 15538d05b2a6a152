"""The least that a FUSE daemon can do: one file, served from memory. What it reaches, no mount of this kind surpasses here.

`python -m hoist.bench.memory_mount MOUNTPOINT SIZE`: the file is `weights`; its bytes are the same 256 MiB again and again,
so that they come from memory and not from the processor's caches.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
from pathlib import Path
from threading import Event, Thread

from hoist.memory import allocate
from hoist.mount import protocol, replies
from hoist.mount.device import Device, open_device, unmount
from hoist.mount.protocol import Opcode, Request
from hoist.mount.replies import Attributes, Entry

FILE = "weights"
_ROOT, _FILE = 1, 2
_PERIOD = 256 << 20
_THREADS, _BACKGROUND = 4, 64
_READ_AHEAD = 4 << 20
_FOREVER = 3600.0
_EMPTY = frozenset(
    (Opcode.RELEASE, Opcode.FLUSH, Opcode.RELEASEDIR, Opcode.READDIR, Opcode.READDIRPLUS, Opcode.DESTROY)
)


class MemoryMount:
    """Serves one file of `size` bytes."""

    def __init__(self, device: Device, size: int) -> None:
        self._device = device
        self._size = size
        self._period = min(size, _PERIOD)
        self._memory = memoryview(allocate(self._period + (1 << 20)))
        page = os.urandom(1 << 20)
        for at in range(0, len(self._memory) - len(page) + 1, len(page)):
            self._memory[at : at + len(page)] = page

    def greet(self) -> None:
        """Answer the kernel's first request."""
        buffer = memoryview(bytearray(protocol.REQUEST_BYTES))
        request = protocol.parse_request(buffer[: os.readv(self._device.fd, [buffer])])
        init = protocol.parse_init(request.body)
        self._send(self._device.fd, request.unique, replies.pack_init(init, background=_BACKGROUND, passthrough=0))

    def start(self) -> None:
        """Serve."""
        for number in range(_THREADS):
            fd = self._device.clone() if number else self._device.fd
            Thread(target=self._loop, args=(fd,), daemon=True).start()

    def _loop(self, fd: int) -> None:
        buffer = memoryview(bytearray(protocol.REQUEST_BYTES))
        while True:
            try:
                size = os.readv(fd, [buffer])
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return
            request = protocol.parse_request(buffer[:size])
            if request.opcode in protocol.UNANSWERED:
                continue
            if request.opcode == Opcode.READ:
                asked = protocol.parse_read(request.body)
                begin = asked.offset % self._period
                self._send(fd, request.unique, self._memory[begin : begin + min(asked.size, self._size - asked.offset)])
                continue
            answer = self._answer(request)
            self._send(fd, request.unique, answer or b"", errno.ENOSYS if answer is None else 0)

    def _answer(self, request: Request) -> bytes | None:
        if request.opcode == Opcode.LOOKUP:
            if protocol.parse_name(request.body) != FILE.encode():
                return replies.pack_absent(_FOREVER)
            return replies.pack_entry(Entry(_FILE, self._attributes(_FILE), _FOREVER, _FOREVER))
        if request.opcode == Opcode.GETATTR:
            return replies.pack_attributes(self._attributes(request.node), _FOREVER)
        if request.opcode in (Opcode.OPEN, Opcode.OPENDIR):
            return replies.pack_opened(request.node, protocol.OPEN_KEEP_CACHE)
        if request.opcode == Opcode.STATFS:
            return replies.pack_statfs(self._size, 1)
        return b"" if request.opcode in _EMPTY else None

    def _attributes(self, node: int) -> Attributes:
        folder = node == _ROOT
        mode = stat.S_IFDIR | 0o555 if folder else stat.S_IFREG | 0o444
        return Attributes(node, mode, 0 if folder else self._size, 0, 1, os.getuid(), os.getgid())

    def _send(self, fd: int, unique: int, payload: bytes | memoryview, error: int = 0) -> None:
        try:
            os.writev(fd, (replies.reply_header(unique, len(payload), error), payload))
        except OSError as failure:
            if failure.errno != errno.ENOENT:
                raise


def main() -> None:
    """Serve until ended."""
    stop = Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    point = Path(sys.argv[1])
    device = open_device(str(point), "memory", allow_other=False)
    try:
        served = MemoryMount(device, int(sys.argv[2]))
        served.greet()
        served.start()
        device.read_ahead(_READ_AHEAD)
        stop.wait()
    finally:
        unmount(point.resolve(), lazy=True)
    os._exit(0)


if __name__ == "__main__":
    main()
