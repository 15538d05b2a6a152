"""One memory: which units are in it, for whom, and what has been let go of and is held by somebody all the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch.multiprocessing.reductions import StorageWeakRef


@dataclass(slots=True)
class _Allocation:
    """Memory that units lie in: one of them, or those of a mapped file."""

    alive: StorageWeakRef
    units: int = 0
    size: int = 0


class Tier:
    """Units by key, each for as long as a model holds it. The caller has a lock."""

    def __init__(self) -> None:
        self._memory: dict[bytes, torch.Tensor] = {}
        self._holders: dict[bytes, set[str]] = {}
        self._allocations: dict[bytes, _Allocation] = {}
        self._let_go: list[_Allocation] = []
        self._by_place: dict[int, _Allocation] = {}

    def __contains__(self, key: bytes) -> bool:
        return key in self._memory

    def get(self, key: bytes) -> torch.Tensor | None:
        """The unit's bytes, or None."""
        return self._memory.get(key)

    def put(self, key: bytes, memory: torch.Tensor, size: int) -> None:
        """A unit is here now; somebody has to `hold` it. One that is here already stays as it is."""
        if key in self._memory:
            return
        storage = memory.untyped_storage()
        found = self._by_place.get(storage.data_ptr())
        if found is None or found.alive.expired():  # type: ignore[no-untyped-call]
            found = self._by_place[storage.data_ptr()] = _Allocation(StorageWeakRef(storage))  # type: ignore[no-untyped-call]
        found.units += 1
        found.size += size
        self._allocations[key] = found
        self._memory[key] = memory
        self._holders[key] = set()

    def hold(self, keys: Iterable[bytes], name: str) -> None:
        """The model holds these, which are here."""
        for key in keys:
            self._holders[key].add(name)

    def held(self, name: str) -> list[bytes]:
        """What the model holds."""
        return [key for key, names in self._holders.items() if name in names]

    def let_go(self, keys: Iterable[bytes], name: str) -> list[torch.Tensor]:
        """The model holds these no more: the memory that nobody else holds either, to be freed by forgetting it."""
        freed = []
        for key in keys:
            self._holders[key].discard(name)
            if self._holders[key]:
                continue
            del self._holders[key]
            freed.append(self._memory.pop(key))
            allocation = self._allocations.pop(key)
            allocation.units -= 1
            if not allocation.units:
                self._by_place = {at: each for at, each in self._by_place.items() if each is not allocation}
                self._let_go.append(allocation)
        return freed

    @property
    def size(self) -> int:
        """Bytes of what is here."""
        return sum(memory.numel() for memory in self._memory.values())

    def leaked(self) -> int:
        """Bytes that no model holds, and that somebody has not let go of."""
        self._let_go = [each for each in self._let_go if not each.alive.expired()]  # type: ignore[no-untyped-call]
        return sum(each.size for each in self._let_go)
