"""Sending files while they are read: each byte is read once, hashed and sent from the same memory.

One thread reads and hashes a file in order, block by block; others send its parts. All files of a publish share a bounded
number of buffers, so memory does not grow with anything.
"""

from __future__ import annotations

import hashlib
import mmap
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event, Lock
from types import TracebackType
from typing import Self

from hoist.errors import LocalError, StorageUnavailable
from hoist.model.blocks import block_digest, file_blocks
from hoist.model.manifest import FileEntry
from hoist.pace import Pace
from hoist.read.source import local_error
from hoist.retry import retrying
from hoist.storage.posix import changed, fill
from hoist.storage.staging import BeginAnew, Part, Staged, Staging
from hoist.transfer.buffers import Buffers
from hoist.transfer.moved import How, Moved
from hoist.transfer.parts import Cutter
from hoist.transfer.scan import LocalFile, ScannedFile, cut_file
from hoist.transfer.sending import Sending

_SENDERS = 8
_ATTEMPTS = 3
_MEMORY_BYTES = 192 << 20
# What goes to the storage at once: between two of them a publish can end.
_SLICE_BYTES = 1 << 20


class Stager:
    """Stages files. Use as a context manager; several threads may stage different files at once."""

    def __init__(
        self,
        staging: Staging,
        moved: Moved,
        stop: Event,
        *,
        checked: bool = True,
        retry_seconds: float = 60.0,
        pace: Pace | None = None,
    ) -> None:
        self.staging = staging
        self.moved = moved
        self.stop = stop
        self.checked = checked
        self.retry_seconds = retry_seconds
        self.sending = Sending(moved, stop, retry_seconds, pace)
        self.buffers = Buffers(_MEMORY_BYTES, stop)
        self.senders = ThreadPoolExecutor(_SENDERS, "hoist-send")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None:
            self.stop.set()
        self.senders.shutdown(wait=error is None, cancel_futures=True)

    def wants(self, file: LocalFile) -> bool:
        """Whether the file is worth staging."""
        return file.size >= self.staging.from_bytes

    def stage(self, file: LocalFile) -> tuple[ScannedFile, Staged]:
        """Read, hash and send a file. Raises InvalidFile, LocalError if it changes meanwhile, and what a storage may."""
        for _ in range(_ATTEMPTS):
            staged = retrying(
                lambda: self.staging.open(file.path, file.size, file.source), self.retry_seconds, self.stop
            )
            work = _Work(self, file, staged)
            try:
                scanned = work.run()
                staged.complete()
            except BeginAnew:
                work.end()
                work.take_back()
                staged.discard()
            except BaseException:
                work.end()
                staged.close()
                raise
            else:
                return scanned, staged
        raise StorageUnavailable(f"{file.path}: what is sent of it keeps being taken away: run the publish again")


class _Work:
    """One file being read, hashed and sent."""

    def __init__(self, stager: Stager, file: LocalFile, staged: Staged) -> None:
        self._stager = stager
        self._file = file
        self._staged = staged
        self._cutter = Cutter(staged.limits)
        self._buffer: mmap.mmap | None = None
        self._capacity = 0
        self._sending: list[Future[None]] = []
        # The last block that lies in the buffer and has to be hashed still.
        self._hashed: Future[None] | None = None
        self._ended = Event()
        self._lock = Lock()
        self._counted: Counter[How] = Counter()

    def run(self) -> ScannedFile:
        """Read the file to its end and wait until its last part is sent."""
        file = self._file
        try:
            with file.source.open("rb", buffering=0) as opened:
                lengths = cut_file(file, opened.fileno(), checked=self._stager.checked)
                limits = self._staged.limits
                self._capacity = max(limits.usual, limits.smallest + max(lengths))
                whole, digests = self._read(opened.fileno(), lengths)
        except OSError as error:
            raise local_error(error, file.source) from None
        for sent in self._sending:
            sent.result()
        if not file.unchanged():
            raise changed(file.source)
        return ScannedFile(
            file, FileEntry(file.path, file.size, whole, file.link), file_blocks(whole, lengths, digests)
        )

    def end(self) -> None:
        """Send no more, and wait for what is being sent: it uses what is closed next."""
        self._ended.set()
        wait([sent for sent in self._sending if not sent.cancel()])
        self._let_go()

    def take_back(self) -> None:
        """Uncount what was sent in vain."""
        for how, count in self._counted.items():
            self._stager.moved.count(how, -count)

    def _read(self, fd: int, lengths: list[int]) -> tuple[str, list[bytes]]:
        whole = hashlib.sha256()
        digests = []
        offset = 0
        # The file's digest is made in order by a thread of its own, which may fall behind: nothing waits for it but the
        # memory that it has to read.
        with ThreadPoolExecutor(1, "hoist-hash") as hasher:
            for length in lengths:
                if self._cutter.is_full(length):
                    self._send()
                view = self._room(length)
                if fill(fd, offset, view) != length:
                    raise LocalError(f"{self._file.source} became shorter while it was read: run the publish again")
                self._hashed = hasher.submit(whole.update, view)
                digest = block_digest(view)
                held = self._stager.staging.find(digest, self._cutter.following())
                if self._cutter.ends_before(held):
                    self._send(view)
                self._cutter.add(length, digest, held)
                digests.append(digest)
                offset += length
            if self._cutter.size:
                self._send()
        self._let_go()
        return f"sha256:{whole.hexdigest()}", digests

    def _room(self, length: int) -> memoryview:
        """Memory for the next block: behind what is kept of the part that is being made."""
        if self._buffer is None:
            self._buffer = self._stager.buffers.take(self._capacity)
        at = self._cutter.size
        if self._cutter.settled or at == 0:
            at = 0
            if self._hashed:
                self._hashed.result()
        return memoryview(self._buffer)[at : at + length]

    def _send(self, following: memoryview | None = None) -> None:
        """End the part and have it sent; `following` is a block behind it that begins the next one."""
        for sent in [sent for sent in self._sending if sent.done()]:
            sent.result()
            self._sending.remove(sent)
        part = self._cutter.cut()
        if part.held:
            # Its bytes were not kept; a block that follows it lies at the buffer's beginning already.
            self._sending.append(self._stager.senders.submit(self._move, part, None, None))
            return
        # Before another buffer is asked for: who holds one and waits for a second can wait for ever.
        spared = bytes(following) if following is not None else None
        buffer, self._buffer = self._buffer, None
        self._sending.append(self._stager.senders.submit(self._move, part, buffer, self._hashed))
        self._hashed = None
        if spared is not None:
            self._room(len(spared))[:] = spared

    def _move(self, part: Part, buffer: mmap.mmap | None, hashed: Future[None] | None) -> None:
        def views() -> Iterator[memoryview]:
            return _slices(buffer, part) if buffer is not None else self._again(part)

        try:
            how = self._stager.sending.move(self._staged, part, views, self._ended)
        finally:
            if hashed is not None:
                hashed.result()
            if buffer is not None:
                self._stager.buffers.give(buffer)
        with self._lock:
            self._counted[how] += part.size

    def _again(self, part: Part) -> Iterator[memoryview]:
        """Read once more what the storage was thought to hold, and does not."""
        memory = memoryview(bytearray(min(_SLICE_BYTES, part.size)))
        try:
            with self._file.source.open("rb", buffering=0) as opened:
                for begin in range(part.begin, part.end, _SLICE_BYTES):
                    view = memory[: min(_SLICE_BYTES, part.end - begin)]
                    if fill(opened.fileno(), begin, view) != len(view):
                        raise changed(self._file.source)
                    yield view
        except OSError as error:
            raise local_error(error, self._file.source) from None

    def _let_go(self) -> None:
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            self._stager.buffers.give(buffer)


def _slices(buffer: mmap.mmap, part: Part) -> Iterator[memoryview]:
    view = memoryview(buffer)[: part.size]
    for begin in range(0, part.size, _SLICE_BYTES):
        yield view[begin : begin + _SLICE_BYTES]
