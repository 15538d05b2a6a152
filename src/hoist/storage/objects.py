"""The few things that a place of plain keys does: what a directory, a bucket and memory share.

A key is a relative path with '/'. Every method raises only HoistErrors; FileNotFound for a key that is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hoist.errors import FileNotFound
from hoist.storage.base import OnBytes, Traits
from hoist.storage.staging import Staged


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object: its key, its size in bytes, when it was last written (seconds since the epoch), and what a listing
    tells of its content (an ETag, or nothing)."""

    key: str
    size: int
    modified: float
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Stamped:
    """A small object's bytes, and the stamp that a conditional put of the next state wants."""

    data: bytes
    stamp: str | None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Bytes on their way that nobody sees: the key that they were for (or their own name), an id, size and time."""

    key: str
    token: str
    size: int
    modified: float


class Objects(Protocol):
    """A place of plain keys. All methods may be called from several threads at once."""

    address: str
    traits: Traits
    links: bool
    """Whether a copy takes no room."""

    @property
    def staged_from(self) -> int | None:
        """Files from this size can be staged; None where nothing can be kept private."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with `prefix` (empty, or ending in '/'), in order of key."""

    def head(self, key: str) -> ObjectInfo:
        """One object's size and time."""

    def get(self, key: str) -> Stamped:
        """The whole of a small object."""

    def read_into(self, key: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`; see Storage.read_into."""

    def first_byte_seconds(self) -> float | None:
        """How long the first byte of a ranged read usually takes, of late; None where that is not known."""

    def throttled(self) -> int:
        """See Storage.throttled."""

    def local_path(self, key: str) -> Path | None:
        """See Storage.local_path."""

    def put(self, key: str, data: bytes | memoryview) -> None:
        """Write a small object, atomically."""

    def create(self, key: str, data: bytes) -> bool:
        """Write a small object if there is none; False if there is. Exclusive where `conditional` says so."""

    def swap(self, key: str, data: bytes, expected: str | None) -> bool:
        """Write a small object if its stamp still is `expected` (None: absent); False if it is not."""

    def put_file(self, key: str, source: Path, size: int, on_bytes: OnBytes) -> None:
        """Write a file of `size` bytes, atomically."""

    def stage(self, key: str, size: int, source: Path, journals: Path | None) -> Staged:
        """Begin a file that shall lie at `key`, or go on with it; `journals` is where this host notes what it sent."""

    def unfinished(self) -> Iterator[Unfinished]:
        """What killed writers have left that no key shows, and what is being written now."""

    def drop_unfinished(self, item: Unfinished) -> None:
        """Delete that; it is no error if it is gone. Raises Conflict if somebody is at it."""

    def copy(self, source: str, target: str) -> bool:
        """Copy inside the place, moving no bytes through this machine if it can; False if it cannot."""

    def copy_over(self, source: str, target: str) -> bool:
        """As `copy`, over what lies at `target`, atomically."""

    def symlink(self, key: str, target: str) -> bool:
        """Lay a symbolic link with this text in the place of a file; False where there are none."""

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; one that is not there is no error."""

    def conditional(self) -> bool:
        """Whether `create` and `swap` keep two writers apart here."""

    def close(self) -> None:
        """Release connections."""


def exists(objects: Objects, key: str) -> bool:
    """Whether there is an object of that key. Raises what `head` does, but for FileNotFound."""
    try:
        objects.head(key)
    except FileNotFound:
        return False
    return True
