"""The bytes of a blob on its way out: in order, from any offset on, hashed and counted the first time only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from hoist.errors import Damaged, LocalError
from hoist.storage.base import OnBytes
from hoist.storage.oci.repositories import Chunks

# `sendall` counts its timeout over a whole slice.
_SLICE = 1 << 20


class Source:
    """`size` bytes that `chunks` gives; `whole` is what hashes them, `on_bytes` is told of those that were sent.

    Raises Damaged where there are fewer, LocalError where they cannot be read, and what `chunks` raises.
    """

    def __init__(self, chunks: Chunks, size: int, whole: hashlib._Hash | None, on_bytes: OnBytes, what: str) -> None:
        self._chunks, self._size, self._whole, self._on_bytes, self._what = chunks, size, whole, on_bytes, what
        self._slices: Iterator[memoryview] = iter(())
        self._rest = memoryview(b"")
        self._at = -1
        self._hashed = self._told = 0

    def hash_up_to(self, end: int) -> None:
        """Hash the bytes before `end` that have not been hashed, without sending them."""
        if self._whole is not None and self._hashed < end:
            for _ in self._take(self._hashed, end):
                continue

    def skip(self, offset: int) -> None:
        """The registry has the bytes before `offset` from an earlier run."""
        self.hash_up_to(offset)
        self._told = max(self._told, offset)

    def take(self, begin: int, end: int) -> Iterator[memoryview]:
        """The bytes from `begin` to `end`, for sending."""
        at = begin
        for view in self._take(begin, end):
            yield view
            at += len(view)
            if at > self._told:
                self._on_bytes(at - self._told)
                self._told = at

    def _take(self, begin: int, end: int) -> Iterator[memoryview]:
        if begin != self._at:
            self._slices, self._rest, self._at = self._chunks(begin), memoryview(b""), begin
        while self._at < end:
            if not self._rest:
                self._rest = self._following()
                continue
            view = self._rest[: min(_SLICE, end - self._at)]
            after = self._at + len(view)
            if self._whole is not None and after > self._hashed:
                self._whole.update(view[max(0, self._hashed - self._at) :])
                self._hashed = after
            self._rest, self._at = self._rest[len(view) :], after
            yield view

    def _following(self) -> memoryview:
        try:
            found = next(self._slices, None)
        except OSError as error:
            # Not to be taken for the network's.
            raise LocalError(f"{self._what}: its source cannot be read: {error.strerror or error}") from None
        if found is None:
            raise Damaged(f"{self._what}: its source ends at byte {self._at} of {self._size}")
        return found.cast("B")
