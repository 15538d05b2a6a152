"""Memory for reads that may hang: each has its own, and what hangs keeps only that."""

from __future__ import annotations

import ctypes
from threading import Lock

_STEP_BYTES = 1 << 20
# As many as a load usually has requests under way; more are made and not kept.
_MOST_IDLE = 16


class Own:
    """Memory for one read, given back once both who asked for it and who fills it are done with it."""

    def __init__(self, pool: Buffers, whole: bytearray, size: int) -> None:
        self.view = memoryview(whole)[:size]
        self._pool, self._whole = pool, whole
        self._lock = Lock()
        self._users = 2

    def copy_to(self, buffer: memoryview) -> None:
        """Fill the caller's memory, without the interpreter lock."""
        if buffer:
            target, source = (ctypes.c_char.from_buffer(each) for each in (buffer, self._whole))
            ctypes.memmove(ctypes.addressof(target), ctypes.addressof(source), len(buffer))

    def done(self) -> None:
        """One of the two needs it no longer."""
        with self._lock:
            self._users -= 1
            if self._users:
                return
        self._pool.give(self._whole)


class Buffers:
    """Idle memory, kept because new memory has to be cleared and brought in by the system first."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: list[bytearray] = []

    def take(self, size: int) -> Own:
        """Memory of at least that many bytes, of which the first are the view."""
        with self._lock:
            # By place: to compare would compare megabytes.
            at = next((at for at, each in enumerate(self._idle) if len(each) >= size), None)
            fit = None if at is None else self._idle.pop(at)
        return Own(self, fit if fit is not None else bytearray(-(-max(1, size) // _STEP_BYTES) * _STEP_BYTES), size)

    def give(self, whole: bytearray) -> None:
        """Keep it for the next."""
        with self._lock:
            self._idle.append(whole)
            # The smallest goes: the others serve every request that it does.
            if len(self._idle) > _MOST_IDLE:
                self._idle.sort(key=len)
                del self._idle[0]
