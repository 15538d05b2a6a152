"""Behaviour put on a storage from outside, never a flag: counting, latency, throttling, faults, listings that are behind."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Lock, local

from hoist.errors import HoistError, StorageUnavailable
from hoist.storage.base import Storage, StoredFile, Tag, Version
from hoist.storage.seen import Seen
from hoist.storage.wrapper import Wrapper

__all__ = ["Counting", "EventualListing", "Faulty", "Latency", "Throttled", "Wrapper"]

_FLIPS_IN_A_ROW = 2


class Counting(Wrapper):
    """Counts operations and bytes: `calls` and `bytes` by operation."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self._lock = Lock()
        self.calls: dict[str, int] = {}
        self.bytes: dict[str, int] = {}

    def local_path(self, file: StoredFile) -> Path | None:
        """A file that is mapped is counted as read."""
        found = self.inner.local_path(file)
        if found:
            self.before("map", file.entry.size)
        return found

    def is_local(self, file: StoredFile) -> bool:
        return self.inner.is_local(file)

    def before(self, operation: str, size: int) -> None:
        with self._lock:
            self.calls[operation] = self.calls.get(operation, 0) + 1
            self.bytes[operation] = self.bytes.get(operation, 0) + size


class Latency(Wrapper):
    """Adds `seconds` before each operation, as a far storage does."""

    def __init__(self, inner: Storage, seconds: float) -> None:
        super().__init__(inner)
        self._seconds = seconds

    def before(self, operation: str, size: int) -> None:
        time.sleep(self._seconds)


class Throttled(Wrapper):
    """Lets `bytes_per_second` through, all threads together, as a storage at its ceiling does."""

    def __init__(self, inner: Storage, bytes_per_second: float) -> None:
        super().__init__(inner)
        self._rate = bytes_per_second
        self._lock = Lock()
        self._free_at = time.monotonic()

    def before(self, operation: str, size: int) -> None:
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + size / self._rate
            wait = self._free_at - time.monotonic()
        time.sleep(max(0.0, wait))


class EventualListing(Wrapper):
    """Lists what was there a while ago, as some object stores do: what is new is not listed yet, what was removed still is.
    What is asked by its name is as it is now.

    A listing is renewed when it is `seconds` old, or (None) only by `catch_up`.
    """

    def __init__(self, inner: Storage, seconds: float | None = None) -> None:
        super().__init__(inner)
        self._seconds = seconds
        self._lock = Lock()
        self.catch_up()

    def catch_up(self) -> None:
        """List from now on what there is now."""
        seen, dated = self.inner.seen_versions(), dict(self.inner.dated_versions())
        tags = [(tag.name, tag.tag) for tag in self.inner.tags()]
        with self._lock:
            self._seen, self._dated, self._tags = seen, dated, tags
            self._at = time.monotonic()

    def versions(self, name: str = "") -> Iterator[Version]:
        return (version for version, _ in self.dated_versions() if name in ("", version.name))

    def dated_versions(self) -> Iterator[tuple[Version, float]]:
        self._renew("versions")
        return iter(sorted(self._dated.items()))

    def seen_versions(self, name: str = "") -> Mapping[Version, Seen]:
        self._renew("versions")
        return {version: seen for version, seen in self._seen.items() if name in ("", version.name)}

    def tags(self, name: str = "") -> Iterator[Tag]:
        self._renew("tags")
        found = (self.inner.find_tag(*each) for each in self._tags if name in ("", each[0]))
        return (tag for tag in found if tag)

    def _renew(self, operation: str) -> None:
        self.before(operation, 0)
        if self._seconds is not None and time.monotonic() - self._at > self._seconds:
            self.catch_up()


class Faulty(Wrapper):
    """Fails or lies at random: each operation fails with chance `fail`, each read has one bit flipped with `flip`.

    `error` is what a failure raises; `only` restricts failures to some operations. The same seed gives the same run
    when one thread asks. A `flip` below 1 passes: a thread that reads again and again gets right bytes the third time at the
    latest, as what reads on gives up after some.
    """

    def __init__(
        self,
        inner: Storage,
        *,
        fail: float = 0.0,
        flip: float = 0.0,
        error: HoistError | None = None,
        only: frozenset[str] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(inner)
        self._fail, self._flip, self._only = fail, flip, only
        self._error = error or StorageUnavailable("an injected fault")
        self._lock = Lock()
        self._random = random.Random(seed)  # noqa: S311 faults need to be repeatable, not secret
        self._flips = local()

    def before(self, operation: str, size: int) -> None:
        with self._lock:
            hit = (self._only is None or operation in self._only) and self._random.random() < self._fail
        if hit:
            raise type(self._error)(*self._error.args)

    def after_read(self, buffer: memoryview) -> None:
        with self._lock:
            hit, bit = self._random.random() < self._flip, self._random.randrange(len(buffer) * 8 or 1)
        in_a_row = getattr(self._flips, "in_a_row", 0)
        hit = hit and len(buffer) > 0 and (self._flip >= 1 or in_a_row < _FLIPS_IN_A_ROW)
        self._flips.in_a_row = in_a_row + 1 if hit else 0
        if hit:
            buffer[bit // 8] ^= 1 << bit % 8
