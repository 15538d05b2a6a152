"""Files on their way into a storage before the version that they belong to has claimed its label.

A file is read once: while its digests are made, its parts are sent from the same memory. Until it is placed it is
nobody's: no reader sees it, and no other publish stumbles over it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

Body = Callable[[], Iterator[memoryview]]
"""Gives a part's bytes, slice by slice; asked anew each time that they are sent."""


class BeginAnew(Exception):
    """What an earlier run, or an attempt, has left of a staged file is in the way: discard it and stage it anew."""


@dataclass(frozen=True, slots=True)
class Held:
    """Where a storage has the bytes of a block: from `offset` of the object at `key`, which has `size` bytes."""

    key: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Part:
    """A half-open range of a file, by its number from 1. `digest` tells its content: the BLAKE3 of its blocks' digests.

    `held`: where the storage has these bytes already.
    """

    number: int
    begin: int
    end: int
    digest: bytes
    held: Held | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class PartLimits:
    """Bytes of the smallest part (but for a file's last), of a usual one, and of the largest that is copied."""

    smallest: int
    usual: int
    copied: int


class Staged(ABC):
    """One file on its way. Several threads may put different parts at once, in any order."""

    limits: PartLimits

    @abstractmethod
    def has(self, part: Part) -> bool:
        """Whether an earlier run has put this very part, with this content."""

    def has_blocks(self, part: Part, lengths: Sequence[int]) -> bool:
        """As `has`, by who knows the lengths in bytes of the part's blocks: then what lies there can be looked at."""
        return self.has(part)

    @abstractmethod
    def copy(self, part: Part) -> bool:
        """Make the part of what the storage holds; False if it cannot."""

    @abstractmethod
    def put(self, part: Part, body: Body) -> bool:
        """Send the part; False if it turned out to be there.

        Raises StorageUnavailable if it is worth trying again, BeginAnew.
        """

    @abstractmethod
    def complete(self) -> None:
        """All parts have been put. Raises BeginAnew."""

    @abstractmethod
    def place(self) -> bool:
        """Make it the file that it is to be, atomically; False if it is gone meanwhile: put the file by itself."""

    @abstractmethod
    def discard(self) -> None:
        """Give it up, and leave nothing of it."""

    @abstractmethod
    def close(self) -> None:
        """Let go of it; what is not placed waits for the next run."""


class Staging(ABC):
    """The files of one version on their way into a storage."""

    from_bytes: int
    """Smaller files are not worth it: they are read again when they are sent."""

    @abstractmethod
    def open(self, path: str, size: int, source: Path) -> Staged:
        """Begin a file of the version, or go on with what an earlier run of it has left."""

    @abstractmethod
    def find(self, digest: bytes, following: Held | None) -> Held | None:
        """Where the storage has a block of this digest; `following` if it is there, so that ranges grow."""
