"""What a fleet's function is given: the model, ready to be loaded, and measured while it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from hoist.progress import Progress

if TYPE_CHECKING:
    from hoist.read.version import OpenedVersion

Tell = Callable[[dict[str, Any]], None]
_EVERY_SECONDS = 0.2


@dataclass
class Meter(Progress):
    """Adds up what an instance loads, and tells of it now and then. Safe for many threads."""

    tell: Tell
    moved: int = 0
    total: int = 0
    size: int = 0
    fetched: int = 0
    phases: dict[str, float] = field(default_factory=dict)
    _told: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def begin(self, phase: str, total_bytes: int) -> None:
        with self._lock:
            self.total += total_bytes
            self._tell(time.monotonic())

    def advance(self, count: int) -> None:
        now = time.monotonic()
        with self._lock:
            self.moved += count
            if now - self._told >= _EVERY_SECONDS:
                self._tell(now)

    def spent(self, phase: str, seconds: float) -> None:
        """So many seconds more went to a phase."""
        self.phases[phase] = self.phases.get(phase, 0.0) + seconds

    def _tell(self, now: float) -> None:
        self._told = now
        self.tell({"event": "loading", "moved": self.moved, "total": self.total})


@dataclass(frozen=True)
class Model:
    """The model that this instance serves. `number` is the instance's in its fleet, from 0."""

    location: str
    device: str
    number: int
    files: tuple[str, ...]
    _meter: Meter = field(repr=False)

    def load(self, *files: str, dtype: str | None = None) -> Any:
        """The tensors by name: of the weight file there is, of all shards of an index, or of `files` together.

        Raises what `hoist.load_file` and `hoist.load_checkpoint` do.
        """
        return self._load(files or self.files, dtype, each=False)

    def load_each(self, *files: str, dtype: str | None = None) -> dict[str, Any]:
        """The tensors of each weight file of the version, or of `files`, by the file's name: for a model of many parts.

        Raises what `load` does.
        """
        found = self._load(files or self.files, dtype, each=True)
        assert isinstance(found, dict)
        return found

    def open(self) -> OpenedVersion:
        """The version's files by name, as `hoist.open` gives them. The caller closes it."""
        from hoist.read.connect import open_location

        return open_location(self.location)

    def _load(self, files: tuple[str, ...], dtype: str | None, *, each: bool) -> Any:
        from hoist.tensors.counted import Wanted
        from hoist.tensors.timing import import_torch, load_and_time

        meter = self._meter
        meter.spent("import", import_torch(self.device))
        value, loaded = load_and_time(Wanted(self.location, files, self.device, dtype, each=each), meter)
        meter.size += loaded.size
        meter.fetched += loaded.read_bytes
        timed = loaded.timed
        meter.spent("network", timed.network_seconds)
        meter.spent("fetch+verify", timed.fetch_verify_seconds)
        meter.spent("transfer", timed.transfer_seconds)
        meter.spent("deserialize", timed.deserialize_seconds)
        return value


def load_only(model: Model) -> Any:
    """What an instance does that was given no function."""
    return model.load_each()
