"""A storage's ceiling shared by several processes of this machine, where links cannot be shaped."""

from __future__ import annotations

import fcntl
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from hoist.storage.base import Storage
from hoist.storage.wrap import Wrapper

_MOMENT = struct.Struct("d")


class SharedRate:
    """Lets `bytes_per_second` through, all processes together that have one on the same file. Safe for threads.

    A process that is killed in the middle takes nothing with it: the kernel gives its lock back.
    """

    def __init__(self, file: Path, bytes_per_second: float) -> None:
        self._file = file.open("a+b", buffering=0)
        self._rate = bytes_per_second
        self._lock = Lock()

    def reserve(self, size: int) -> float:
        """Take the next place in the queue; when its bytes have passed, as `time.monotonic` says it everywhere."""
        with self._lock:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                self._file.seek(0)
                data = self._file.read(_MOMENT.size)
                free_at = _MOMENT.unpack(data)[0] if len(data) == _MOMENT.size else 0.0
                passed = max(free_at, time.monotonic()) + size / self._rate
                self._file.truncate(0)
                self._file.write(_MOMENT.pack(passed))
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        return passed

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Shared(Wrapper):
    """A storage whose bytes pass all of `rates`: the instance's own link, and the storage's, which others use too."""

    def __init__(self, inner: Storage, rates: Sequence[SharedRate]) -> None:
        super().__init__(inner)
        self._rates = tuple(rates)

    def before(self, operation: str, size: int) -> None:
        if size:
            passed = max((rate.reserve(size) for rate in self._rates), default=0.0)
            time.sleep(max(0.0, passed - time.monotonic()))

    def close(self) -> None:
        self.inner.close()
        for rate in self._rates:
            rate.close()
