"""Where the engine's bytes go. The engine asks a sink for memory, fills and verifies it, and hands it back.

`acquire` may block until memory is free: that is what bounds the bytes in flight. Exactly one of `commit` (the bytes
are verified) and `release` (they are not, and must not be used) follows each `acquire`.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Protocol

from hoist.read.plan import Request


class Sink(Protocol):
    """Memory for one file's requests. Called from several threads at once."""

    def acquire(self, request: Request) -> memoryview | None:
        """Writable memory of exactly the request's size; None: the request is not wanted now, and is left out."""

    def commit(self, request: Request, view: memoryview) -> None:
        """Take the verified bytes; the engine no longer touches `view`."""

    def release(self, view: memoryview) -> None:
        """Take back memory whose bytes are not to be used."""


class BufferSink:
    """One destination buffer, filled in place; the caller owns it."""

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer

    def acquire(self, request: Request) -> memoryview:
        return self._buffer[request.at : request.at + request.size]

    def commit(self, request: Request, view: memoryview) -> None:
        """The bytes are where they belong already."""

    def release(self, view: memoryview) -> None:
        """The buffer is the caller's."""


class CallbackSink:
    """Hands each verified request to `consume(request, view)`, then uses the memory again.

    It holds at most one request's memory for each thread of the engine.
    """

    def __init__(self, consume: Callable[[Request, memoryview], None]) -> None:
        self._consume = consume
        self._lock = Lock()
        self._free: list[memoryview] = []

    def acquire(self, request: Request) -> memoryview:
        with self._lock:
            whole = self._free.pop() if self._free else None
        if whole is None or len(whole) < request.size:
            whole = memoryview(bytearray(request.size))
        return whole[: request.size]

    def commit(self, request: Request, view: memoryview) -> None:
        try:
            self._consume(request, view)
        finally:
            self.release(view)

    def release(self, view: memoryview) -> None:
        whole = memoryview(view.obj)
        with self._lock:
            self._free.append(whole)


def verifying_sink() -> CallbackSink:
    """For bytes that shall only be verified: the engine has done that when it hands them over, and they are let go."""
    return CallbackSink(lambda request, view: None)
