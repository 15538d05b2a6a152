"""The conversation with the kernel: threads that read requests, answers written once, and what may wait.

A thread that reads the device never waits for a storage: a read that misses is answered by whoever brings its blocks, and
other requests are asked again by threads of their own. Whatever happens, each request gets an answer within the time limit,
as a reader that gets none hangs for ever.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Lock, Thread

from hoist.errors import HoistError
from hoist.mount import protocol, replies
from hoist.mount.content import Content
from hoist.mount.device import Device
from hoist.mount.filesystem import FileSystem, NeedsStorage, OpenFile, errno_of
from hoist.mount.metrics import Metrics
from hoist.mount.operations import Operations
from hoist.mount.protocol import Malformed, Opcode, Request
from hoist.mount.workers import Workers

_LOG = logging.getLogger(__name__)
_PATIENT_THREADS = 32
_BACKGROUND = 64
_TICK_SECONDS = 0.1
# Answers that say nothing has gone wrong.
_USUAL = (errno.ENOENT, errno.ENOSYS, errno.EROFS, errno.EINTR, errno.ENODATA)


@dataclass(eq=False, slots=True)
class _Asked:
    """A request that waits: where its answer goes, since when, until when, and what to do if nobody waits any more."""

    fd: int
    unique: int
    opcode: int
    began: float
    until: float
    give_up: Callable[[], None]


class Session:
    """Serves one mount until it is unmounted or closed."""

    def __init__(self, device: Device, files: FileSystem, metrics: Metrics, *, stack_depth: int) -> None:
        self.ready = Event()
        self.ended = Event()
        self.passthrough = False
        self._device = device
        self._files = files
        self._operations = Operations(files)
        self._metrics = metrics
        self._stack_depth = stack_depth
        self._timeout = files.options.timeout_seconds
        self._lock = Lock()
        self._asked: dict[int, _Asked] = {}
        self._workers = Workers("hoist-patient", _PATIENT_THREADS)
        self._readers = 0
        metrics.gauge("waiting", lambda: float(len(self._asked)))

    def start(self, threads: int) -> None:
        """Serve with so many threads reading; `ready` is set when the kernel has been greeted, `ended` at the end."""
        self._readers = 1
        Thread(target=self._first, args=(threads,), name="hoist-fuse-1", daemon=True).start()
        Thread(target=self._tick, name="hoist-fuse-tick", daemon=True).start()

    def notify(self, parent: int, name: str) -> None:
        """Have the kernel look a name up again."""
        with suppress(OSError):
            os.write(self._device.fd, replies.pack_invalidate(parent, name.encode(errors="surrogateescape")))

    def give(self, node: int, data: memoryview) -> None:
        """Put a whole small file into the kernel's page cache, so that reading it asks nobody.

        It may wait for a page that a reader waits for: not for a thread that the reader's answer depends on.
        """
        with suppress(OSError):
            os.writev(self._device.fd, (replies.pack_store(node, len(data)), data))

    @property
    def waiting(self) -> int:
        """How many requests wait for a storage."""
        return len(self._asked)

    def _first(self, threads: int) -> None:
        """Greet the kernel; then the other threads can start."""
        buffer = bytearray(protocol.REQUEST_BYTES)
        with suppress(OSError):
            while not self.ready.is_set():
                size = os.readv(self._device.fd, [buffer])
                self._greet(memoryview(buffer)[:size])
            for number in range(2, threads + 1):
                fd = self._device.clone()
                with self._lock:
                    self._readers += 1
                Thread(target=self._loop, args=(fd,), name=f"hoist-fuse-{number}", daemon=True).start()
        self._loop(self._device.fd)

    def _greet(self, data: memoryview) -> None:
        request = protocol.parse_request(data)
        if request.opcode != Opcode.INIT:
            self._send(self._device.fd, request.unique, (), errno.EIO)
            return
        init = protocol.parse_init(request.body)
        if init.major < protocol.KERNEL_MAJOR or (
            init.major == protocol.KERNEL_MAJOR and init.minor < protocol.OLDEST_MINOR
        ):
            _LOG.error("this kernel's FUSE is too old: Linux 4.20 or newer is needed")
            self._send(self._device.fd, request.unique, (), errno.EPROTO)
            return
        if init.major > protocol.KERNEL_MAJOR:
            self._send(self._device.fd, request.unique, (replies.pack_version(),))
            return
        depth = self._stack_depth if init.flags & protocol.PASSTHROUGH else 0
        self.passthrough = depth > 0
        self._send(
            self._device.fd, request.unique, (replies.pack_init(init, background=_BACKGROUND, passthrough=depth),)
        )
        self.ready.set()

    def _loop(self, fd: int) -> None:
        buffer = bytearray(protocol.REQUEST_BYTES)
        view = memoryview(buffer)
        while True:
            try:
                size = os.readv(fd, (buffer,))
            except OSError as error:
                # Interrupted before it was read; anything else is the end.
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                break
            if not size:
                break
            try:
                self._serve(fd, view[:size])
            except Malformed as error:
                _LOG.warning("a malformed request of the kernel: %s", error)
            except OSError as error:
                _LOG.warning("an answer could not be sent: %s", error)
        with self._lock:
            self._readers -= 1
            over = self._readers == 0
        if over:
            self.ended.set()

    def _serve(self, fd: int, data: memoryview) -> None:
        began = time.monotonic()
        request = protocol.parse_request(data)
        opcode = request.opcode
        try:
            if opcode == Opcode.READ:
                self._read(fd, request, began)
                return
            if opcode in protocol.UNANSWERED:
                self._hear(fd, request)
                return
            payload = self._operations.answer(request, patient=False)
        except NeedsStorage:
            self._ask_patiently(fd, request, began)
        except Malformed as error:
            _LOG.warning("a malformed request of the kernel: %s", error)
            if opcode not in protocol.UNANSWERED:
                self._fail(fd, request.unique, opcode, began, errno.EINVAL)
        except Exception as error:  # noqa: BLE001 a reader without an answer hangs for ever
            self._fail(fd, request.unique, opcode, began, self._number(error))
        else:
            self._send(fd, request.unique, (payload,))
            self._count(opcode, began)

    def _read(self, fd: int, request: Request, began: float) -> None:
        asked = protocol.parse_read(request.body)
        opened = self._files.handle(asked.handle)
        if not isinstance(opened, OpenFile):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        end = asked.offset + asked.size
        content = opened.content
        views = content.ready(asked.offset, end)
        if views is not None:
            self._send(fd, request.unique, views)
            self._metrics.operation("read", time.monotonic() - began)
            self._metrics.read(sum(map(len, views)), hit=True)
            return
        assert isinstance(content, Content), "what is whole waits for nothing"
        waiting = self._note(fd, request, began, lambda: content.give_up(answer))

        def answer(views: Sequence[memoryview] | None, error: BaseException | None) -> None:
            if not self._take(waiting):
                return
            if error is not None or views is None:
                self._fail(fd, waiting.unique, Opcode.READ, began, self._number(error) if error else errno.EIO)
                return
            try:
                self._send(fd, waiting.unique, views)
            except OSError as failure:
                _LOG.warning("an answer could not be sent: %s", failure)
            self._count(Opcode.READ, began)
            self._metrics.read(sum(map(len, views)), hit=False)

        self._files.read(content, asked.offset, end, answer)

    def _hear(self, fd: int, request: Request) -> None:
        if request.opcode != Opcode.INTERRUPT:
            self._operations.forget(request)
            return
        asked = self._asked.get(protocol.parse_interrupt(request.body))
        if asked is not None and self._take(asked):
            asked.give_up()
            self._fail(asked.fd, asked.unique, asked.opcode, asked.began, errno.EINTR)
        elif asked is None:
            # It is being answered, or will wait in a moment: have the kernel say it again. It does not if it has its answer.
            time.sleep(0.001)
            self._send(fd, request.unique, (), errno.EAGAIN)

    def _ask_patiently(self, fd: int, request: Request, began: float) -> None:
        """Answer from a thread that may wait."""
        kept = Request(request.opcode, request.unique, request.node, memoryview(bytes(request.body)))
        waiting = self._note(fd, kept, began, lambda: None)

        def ask() -> None:
            payload, number = b"", 0
            try:
                payload = self._operations.answer(kept, patient=True)
            except Exception as error:  # noqa: BLE001 a reader without an answer hangs for ever
                number = self._number(error)
            if not self._take(waiting):
                self._undo(kept, payload)
            elif number:
                self._fail(fd, kept.unique, kept.opcode, began, number)
            else:
                self._send(fd, kept.unique, (payload,))
                self._count(kept.opcode, began)

        self._workers.submit(ask)

    def _undo(self, request: Request, payload: bytes) -> None:
        """Nobody hears of what was opened: close it."""
        if payload and request.opcode in (Opcode.OPEN, Opcode.OPENDIR):
            self._files.release(protocol.parse_handle(memoryview(payload)))

    def _note(self, fd: int, request: Request, began: float, give_up: Callable[[], None]) -> _Asked:
        asked = _Asked(fd, request.unique, request.opcode, began, began + self._timeout, give_up)
        with self._lock:
            self._asked[request.unique] = asked
        return asked

    def _take(self, asked: _Asked) -> bool:
        """Whether the request is still to be answered; from now on by the caller alone."""
        with self._lock:
            if self._asked.get(asked.unique) is not asked:
                return False
            del self._asked[asked.unique]
            return True

    def _tick(self) -> None:
        """Answer what has waited for too long."""
        while not self.ended.wait(_TICK_SECONDS):
            now = time.monotonic()
            with self._lock:
                late = [asked for asked in self._asked.values() if now >= asked.until]
            for asked in late:
                if self._take(asked):
                    asked.give_up()
                    _LOG.warning("no answer of the storage within %g s: a reader gets an error", self._timeout)
                    self._fail(asked.fd, asked.unique, asked.opcode, asked.began, errno.EIO)

    def _number(self, error: BaseException) -> int:
        if not isinstance(error, OSError | HoistError | NeedsStorage):
            _LOG.error("an internal error", exc_info=error)
        elif isinstance(error, HoistError):
            _LOG.warning("%s", error)
        return errno_of(error)

    def _send(self, fd: int, unique: int, parts: Sequence[bytes | memoryview], error: int = 0) -> None:
        header = replies.reply_header(unique, sum(map(len, parts)), error)
        try:
            os.writev(fd, (header, *parts))
        except OSError as failure:
            # The reader was killed meanwhile, or the mount is gone.
            if failure.errno in (errno.ENOENT, errno.ENODEV):
                return
            if error:
                raise
            os.writev(fd, (replies.reply_header(unique, 0, errno.EIO),))
            raise

    def _fail(self, fd: int, unique: int, opcode: int, began: float, number: int) -> None:
        try:
            self._send(fd, unique, (), number)
        except OSError as error:
            _LOG.warning("an answer could not be sent: %s", error)
        self._metrics.operation(_name(opcode), time.monotonic() - began, failed=number not in _USUAL)

    def _count(self, opcode: int, began: float) -> None:
        self._metrics.operation(_name(opcode), time.monotonic() - began)


def _name(opcode: int) -> str:
    try:
        return Opcode(opcode).name.lower()
    except ValueError:
        return "other"
