"""What a storage can give at most, measured beside every benchmark: a minimal client, no hashing, best of a few depths.

A directory's cold limit is direct I/O, its warm limit plain reads from the page cache; a bucket's is `recv_into` into
memory that is there already. Nothing that Hoist does can be faster; how near it comes is the figure that counts.
"""

from __future__ import annotations

import http.client
import mmap
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import obstore

from hoist.bench.peers.base import Subject
from hoist.errors import LocalError, StorageUnavailable
from hoist.memory import allocate
from hoist.storage import layout
from hoist.storage.bucket import BucketObjects

_STEP = 8 << 20
_PART = 16 << 20
# Enough for a rate, and not too much for a store in memory, which clears away late.
_PUT_BYTES = 512 << 20
_HEADER_BYTES = 16384
DEPTHS = (1, 4, 8)
ALL_DEPTHS = {"direct": (1, 2, 4, 8, 16, 32), "cached": (1, 2, 4), "get": (1, 2, 4, 8, 16), "put": (1, 2, 4, 8, 16)}

Reader = Callable[[int, memoryview], None]
OpenReader = Callable[[], AbstractContextManager[Reader]]


def limit_of(size: int, open_reader: OpenReader, depths: tuple[int, ...] = DEPTHS) -> tuple[float, int]:
    """The best bytes per second of reading `size` bytes in steps, and the number of readers that gave it."""
    return max((rate, depth) for depth, rate in rates_of(size, open_reader, depths).items())


def rates_of(
    size: int, open_reader: OpenReader, depths: tuple[int, ...] = DEPTHS, step: int = _STEP
) -> dict[int, float]:
    """Bytes per second of reading `size` bytes in steps, by the number of readers at once.

    `open_reader` makes each thread a reader of its own: `read(offset, buffer)`.
    """
    memory = allocate(size + mmap.PAGESIZE)
    # Pages that are there already: the limit is the storage's, not that of the first touch.
    memory[:: mmap.PAGESIZE] = bytes(len(range(0, len(memory), mmap.PAGESIZE)))
    return {depth: _rate(size, open_reader, memoryview(memory), depth, step) for depth in depths}


def raw_limit(subject: Subject, limit: str) -> dict[str, Any]:
    """The raw limit of where a subject lies: the best depth, its rate, and the rates of all that were tried.

    `limit` is `direct` or `cached` for a file, `get` for an object, `put` for parts of as many bytes beside it.
    """
    if limit == "put":
        return best_rate(put_rates(subject))
    if limit == "get":
        from hoist.read.connect import open_location
        from hoist.storage.tree import TreeStorage

        with open_location(subject.location) as opened:
            storage = opened.storage
            assert isinstance(storage, TreeStorage) and isinstance(storage.objects, BucketObjects)
            reader = url_reader(storage.objects.url(layout.file_key(opened.version, subject.file)))
    else:
        reader = (direct_reader if limit == "direct" else cached_reader)(Path(subject.local))
    return best_rate(rates_of(subject.size, reader, ALL_DEPTHS[limit]))


def best_rate(rates: Mapping[int, float]) -> dict[str, Any]:
    """The best rate and the depth that gave it, with the rates of all depths, for a record."""
    depth = max(rates, key=lambda depth: rates[depth])
    return {"bytes_per_second": rates[depth], "depth": depth, "rates": {str(key): rate for key, rate in rates.items()}}


def put_rates(subject: Subject) -> dict[int, float]:
    """Bytes per second of PUTs of parts from memory to signed URLs, by the number of connections at once.

    The parts are objects beside the subject's own, removed again.
    """
    from hoist.read.connect import connect
    from hoist.storage.tree import TreeStorage

    storage, _ = connect(subject.location.partition("//")[0])
    with storage:
        objects = storage.objects if isinstance(storage, TreeStorage) else None
        assert isinstance(objects, BucketObjects), "a limit of PUTs was asked of no bucket"
        size = min(subject.size, _PUT_BYTES)
        prefix = f"{layout.TMP}limit-{uuid4().hex}/"
        keys = {offset: f"{prefix}{offset}" for offset in range(0, size, _PART)}
        urls = {offset: obstore.sign(objects.store, "PUT", key, timedelta(hours=1)) for offset, key in keys.items()}
        try:
            return rates_of(size, lambda: _putter(urls), ALL_DEPTHS["put"], _PART)
        finally:
            objects.delete(list(keys.values()))


@contextmanager
def _putter(urls: Mapping[int, str]) -> Iterator[Reader]:
    """Puts each step's memory where its URL says, over one connection."""
    first = urlsplit(next(iter(urls.values())))
    kind = http.client.HTTPSConnection if first.scheme == "https" else http.client.HTTPConnection
    connection = kind(first.netloc, timeout=60)

    def put(offset: int, buffer: memoryview) -> None:
        parts = urlsplit(urls[offset])
        connection.request("PUT", f"{parts.path}?{parts.query}", buffer)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise StorageUnavailable(f"the server answered {answer.status} while its limit was measured")

    try:
        yield put
    finally:
        connection.close()


def direct_reader(path: Path) -> OpenReader:
    """Readers of a local file by O_DIRECT, past the page cache."""
    return lambda: _file_reader(path, os.O_DIRECT)


def cached_reader(path: Path) -> OpenReader:
    """Readers of a local file through the page cache."""
    return lambda: _file_reader(path, 0)


def url_reader(url: str, ca_bundle: str | None = None) -> OpenReader:
    """Readers of an HTTP URL: a socket each, ranged GETs, `recv_into`, nothing else."""
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path

    @contextmanager
    def open_reader() -> Iterator[Reader]:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        sock = socket.create_connection((parts.hostname or "", port), 10)

        def read(offset: int, buffer: memoryview) -> None:
            last = offset + len(buffer) - 1
            request = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nRange: bytes={offset}-{last}\r\n\r\n"
            sock.sendall(request.encode())
            _receive_body(sock, buffer)

        try:
            if parts.scheme == "https":
                sock = ssl.create_default_context(cafile=ca_bundle).wrap_socket(sock, server_hostname=parts.hostname)
            yield read
        finally:
            # A thread that waits for the server wakes up.
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    return open_reader


def _rate(size: int, open_reader: OpenReader, memory: memoryview, depth: int, step: int) -> float:
    steps = iter(range(0, size, step))
    lock = Lock()

    def work(read: Reader) -> None:
        for offset in _shared(steps, lock):
            read(offset, memory[offset : min(offset + step, size)])

    pool = ThreadPoolExecutor(depth, "hoist-limit")
    with ExitStack() as stack:
        # Last in, first out: by Ctrl-C no step is begun any more, the readers are closed, and then the threads end.
        stack.callback(pool.shutdown)
        readers = [stack.enter_context(open_reader()) for _ in range(depth)]
        stack.callback(_exhaust, steps, lock)
        began = time.perf_counter()
        for done in [pool.submit(work, reader) for reader in readers]:
            done.result()
        return size / (time.perf_counter() - began)


def _exhaust(steps: Iterator[int], lock: Lock) -> None:
    with lock:
        for _ in steps:
            pass


def _shared(steps: Iterator[int], lock: Lock) -> Iterator[int]:
    while True:
        with lock:
            step = next(steps, None)
        if step is None:
            return
        yield step


@contextmanager
def _file_reader(path: Path, flags: int) -> Iterator[Reader]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)

    def read(offset: int, buffer: memoryview) -> None:
        # Direct I/O wants whole pages; a file's last step may not be one.
        got = os.preadv(fd, [buffer], offset) if len(buffer) % mmap.PAGESIZE == 0 else _read_tail(fd, offset, buffer)
        if got < len(buffer):
            raise LocalError(f"a read of {len(buffer)} bytes gave {got}: the file changed, or is on a strange disk")

    try:
        yield read
    finally:
        os.close(fd)


def _read_tail(fd: int, offset: int, buffer: memoryview) -> int:
    """The last step of a file that does not end with a page, through memory of its own that does."""
    pages = mmap.mmap(-1, -(-len(buffer) // mmap.PAGESIZE) * mmap.PAGESIZE)
    got = os.preadv(fd, [pages], offset)
    buffer[:] = pages[: len(buffer)]
    return got


def _receive_body(sock: socket.socket, buffer: memoryview) -> None:
    head = bytearray(_HEADER_BYTES)
    have = 0
    while (end := head.find(b"\r\n\r\n", 0, have)) < 0:
        got = sock.recv_into(memoryview(head)[have:])
        if not got:
            raise StorageUnavailable("the server closed the connection while its limit was measured")
        have += got
    if bytes(head[9:12]) not in (b"200", b"206"):
        raise StorageUnavailable(f"the server answered {head[9:12].decode(errors='replace')} while it was measured")
    done = have - end - 4
    buffer[:done] = head[end + 4 : have]
    while done < len(buffer):
        got = sock.recv_into(buffer[done:])
        if not got:
            raise StorageUnavailable("the server closed the connection while its limit was measured")
        done += got
