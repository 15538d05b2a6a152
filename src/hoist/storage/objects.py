"""The few things that a place of plain keys does: what a directory, a bucket and memory share.

A key is a relative path with '/'. Every method raises only HoistErrors; FileNotFound for a key that is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hoist.storage.base import OnBytes, Traits


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object: its key, its size in bytes, and when it was last written (seconds since the epoch)."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Stamped:
    """A small object's bytes, and the stamp that a conditional put of the next state wants."""

    data: bytes
    stamp: str | None


class Objects(Protocol):
    """A place of plain keys. All methods may be called from several threads at once."""

    address: str
    traits: Traits

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with `prefix` (empty, or ending in '/'), in order of key."""

    def head(self, key: str) -> ObjectInfo:
        """One object's size and time."""

    def get(self, key: str) -> Stamped:
        """The whole of a small object."""

    def read_into(self, key: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`; see Storage.read_into."""

    def local_path(self, key: str) -> Path | None:
        """See Storage.local_path."""

    def put(self, key: str, data: bytes) -> None:
        """Write a small object, atomically."""

    def create(self, key: str, data: bytes) -> bool:
        """Write a small object if there is none; False if there is. Exclusive where `conditional` says so."""

    def swap(self, key: str, data: bytes, expected: str | None) -> bool:
        """Write a small object if its stamp still is `expected` (None: absent); False if it is not."""

    def put_file(self, key: str, source: Path, size: int, on_bytes: OnBytes) -> None:
        """Write a file of `size` bytes, atomically."""

    def copy(self, source: str, target: str) -> bool:
        """Copy inside the place, moving no bytes through this machine if it can; False if it cannot."""

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; one that is not there is no error."""

    def conditional(self) -> bool:
        """Whether `create` and `swap` keep two writers apart here."""

    def close(self) -> None:
        """Release connections."""
