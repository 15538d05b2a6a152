"""Where a file that is sent is cut into parts. Pure.

A part is whole blocks. A run of blocks that the storage holds side by side is a part of its own, which is copied and not
sent; what lies between is sent in parts of the usual size. No part but the last is smaller than the storage allows, so a
run that is too short is sent with its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from blake3 import blake3

from hoist.storage.staging import Held, Part, PartLimits


@dataclass
class Cutter:
    """Takes the blocks of a file in order and gives its parts."""

    limits: PartLimits
    number: int = 1
    begin: int = 0
    end: int = 0
    held: Held | None = None
    _digest: blake3 = field(default_factory=blake3)

    @property
    def size(self) -> int:
        """Bytes of the part that is being made."""
        return self.end - self.begin

    @property
    def settled(self) -> bool:
        """Whether what is being made will be copied for sure, so that its bytes need not be kept."""
        return self.held is not None and self.size >= self.limits.smallest

    def following(self) -> Held | None:
        """Where the storage would hold the next block, if it goes on with what is being made."""
        return replace(self.held, offset=self.held.offset + self.size) if self.held else None

    def is_full(self, length: int) -> bool:
        """Whether a block of `length` bytes begins another part, whatever it holds."""
        most = self.limits.copied if self.held else self.limits.usual
        return self.size >= self.limits.smallest and self.size + length > most

    def ends_before(self, held: Held | None) -> bool:
        """Whether a block that the storage holds there, or that it does not hold, begins another part."""
        if not self.size or self.size < self.limits.smallest:
            return False
        return held != self.following()

    def add(self, length: int, digest: bytes, held: Held | None) -> None:
        """The next block belongs to the part that is being made."""
        if not self.size:
            self.held = held
        elif self.held and held != self.following():
            # A run too short to be a part of its own is sent.
            self.held = None
        self.end += length
        self._digest.update(digest)

    def cut(self) -> Part:
        """End the part, and begin the next."""
        part = Part(self.number, self.begin, self.end, self._digest.digest(), self.held)
        self.number, self.begin, self.held, self._digest = self.number + 1, self.end, None, blake3()
        return part
