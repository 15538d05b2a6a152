"""Models that a cache keeps, as far as there is room: what was used least recently goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container


class Kept:
    """Models by number, with their bytes, in `room` bytes."""

    __slots__ = ("_room", "_sizes", "_used")

    def __init__(self, room: float) -> None:
        self._room = room
        self._sizes: OrderedDict[int, float] = OrderedDict()
        self._used = 0.0

    def use(self, model: int) -> bool:
        """Whether it is there; it then counts as used last."""
        if model not in self._sizes:
            return False
        self._sizes.move_to_end(model)
        return True

    def add(self, model: int, size: float) -> None:
        """It is there now."""
        self._sizes[model] = size
        self._used += size

    def trim(self, used: Container[int] = ()) -> list[int]:
        """Let go of what there is no room for, but for those in use; what has gone."""
        gone: list[int] = []
        while self._used > self._room:
            old = next((model for model in self._sizes if model not in used), None)
            if old is None:
                break
            self._used -= self._sizes.pop(old)
            gone.append(old)
        return gone
