"""Members that can be lost: storages in memory behind a wrapper that hangs, fails or lies when it is told to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event

from hoist.errors import HoistError, StorageUnavailable
from hoist.storage.any.storage import AnyStorage
from hoist.storage.base import Storage, Version
from hoist.storage.wrap import Wrapper
from hoist.testing.conformance.base import Content, publish, sample
from makers import memory_storage

FILE = "weights.bin"
ONE = Content({FILE: sample("any", 300_007), "config.json": b"{}"})
TWO = Content({FILE: sample("other", 300_007), "config.json": b"{}"})


class Losable(Wrapper):
    """Well until something is said: `error` is raised by each operation, `hangs` makes each wait, `flips` spoils reads."""

    def __init__(self, inner: Storage, name: str) -> None:
        super().__init__(inner)
        self.address = name
        self.error: HoistError | None = None
        self.only: frozenset[str] | None = None
        self.flips = False
        self.calls: list[str] = []
        self._goes_on = Event()
        self._goes_on.set()

    def before(self, operation: str, size: int) -> None:
        self.calls.append(operation)
        if self.only is not None and operation not in self.only:
            return
        self._goes_on.wait()
        if self.error is not None:
            raise type(self.error)(*self.error.args)

    def after_read(self, buffer: memoryview) -> None:
        if self.flips and buffer:
            buffer[0] ^= 1

    def hang(self) -> None:
        """From now on nothing is answered."""
        self._goes_on.clear()

    def be_well(self) -> None:
        """From now on all is."""
        self.error = None
        self._goes_on.set()

    def reads(self) -> int:
        """How many reads of bytes have been asked of it."""
        return sum(call == "read_into" for call in self.calls)


def member(name: str, *contents: tuple[str, Content], folder: Path, gives_up: bool = False) -> Losable:
    """A storage in memory with these versions. `gives_up`: it is read in the caller's own thread."""
    inner = memory_storage()
    for version, content in contents:
        publish(inner, version, content, folder)
    found = Losable(inner, name)
    found.traits = type(found.traits)(gives_up=gives_up)
    return found


def any_of(members: Sequence[Storage]) -> AnyStorage:
    """A logical storage of them, in order."""
    return AnyStorage("models", [(each.address, lambda each=each: each) for each in members])  # type: ignore[misc]


V1 = Version("m/one", "v1")
DOWN = StorageUnavailable("the region is down")
