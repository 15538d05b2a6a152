"""The mount that a switch goes through, and the host cache beside it: new for each first switch."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from hoist.bench.mounters import COUNTED, COUNTED_NO_CACHE
from hoist.bench.mounting import Mounted, Place
from hoist.config import Config
from hoist.mount.live import LiveMounts, metrics_of
from hoist.storage import layout
from hoist.storage.base import Version

_FETCHED = "storage_bytes_total"


class SwitchMount:
    """A storage in a fresh `hoist mount` with a cache of its own, or without one, for the length of a `with` block."""

    def __init__(self, storage: str, config: Config, folder: Path, *, cached: bool) -> None:
        self._folder = folder
        self._place = Place(storage, config, folder / "point", folder / "scratch", 0)
        self._mounted = Mounted(COUNTED if cached else COUNTED_NO_CACHE, self._place)

    def __enter__(self) -> Self:
        shutil.rmtree(self._place.scratch, ignore_errors=True)
        self._mounted.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mounted.__exit__(kind, error, trace)
        shutil.rmtree(self._place.scratch, ignore_errors=True)

    def path(self, version: Version, file: str) -> Path:
        """Where it shows a file."""
        return self._place.point / layout.file_key(version, file)

    def fetched(self) -> int:
        """The bytes that it has brought from the storage so far."""
        live = LiveMounts(self._place.scratch / "run" / "hoist").of(self._place.point.resolve())
        assert live is not None, "the mount notes itself"
        return int(metrics_of(live).get(_FETCHED, 0))
