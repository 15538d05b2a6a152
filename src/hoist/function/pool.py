"""Bytes in one memory, with what models share counted once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Units = Mapping[bytes, int]
"""What a model's weights are made of: bytes by identity."""


class Pool:
    """The units that are in a memory of at most `limit` bytes (None: no limit), by how many models hold each.

    `leaked` are bytes that nobody should hold any more, and somebody does: they take room too.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.total = 0
        self.leaked = 0
        self._holders: dict[bytes, int] = {}

    def add(self, units: Units) -> None:
        """One more model holds these."""
        for key, size in units.items():
            count = self._holders.get(key, 0)
            self.total += 0 if count else size
            self._holders[key] = count + 1

    def remove(self, units: Units) -> None:
        """One of the models lets go of these."""
        for key, size in units.items():
            count = self._holders.pop(key) - 1
            if count:
                self._holders[key] = count
            else:
                self.total -= size

    def own(self, units: Units) -> int:
        """Bytes of those that one model alone holds."""
        return sum(size for key, size in units.items() if self._holders.get(key) == 1)

    def fits(self, units: Units) -> bool:
        """Whether these would fit if nothing else were here."""
        return self.limit is None or sum(units.values()) <= self.limit

    def short(self, units: Units, without: Iterable[Units] = ()) -> int:
        """Bytes that are missing for `units` to come in once those of `without` have gone; 0 or less: there is room."""
        if self.limit is None:
            return 0
        need = sum(size for key, size in units.items() if key not in self._holders)
        gone: dict[bytes, int] = {}
        freed = 0
        for other in without:
            for key, size in other.items():
                gone[key] = gone.get(key, 0) + 1
                if gone[key] == self._holders.get(key) and key not in units:
                    freed += size
        return need + self.total + self.leaked - freed - self.limit
