"""A storage whose requests are counted and timed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hoist.mount.metrics import Metrics
from hoist.storage.base import Storage, StoredFile, Tag, Version
from hoist.storage.wrap import Wrapper


class Metered(Wrapper):
    """Tells `metrics` of each read of the storage."""

    def __init__(self, inner: Storage, metrics: Metrics) -> None:
        super().__init__(inner)
        self._metrics = metrics

    def local_path(self, file: StoredFile) -> Path | None:
        return self.inner.local_path(file)

    def dated_versions(self) -> Iterator[tuple[Version, float]]:
        with self._timed("list"):
            return iter([*self.inner.dated_versions()])

    def tags(self, name: str = "") -> Iterator[Tag]:
        with self._timed("tags"):
            return iter([*self.inner.tags(name)])

    def read_manifest(self, version: Version) -> bytes:
        with self._timed("manifest"):
            return self.inner.read_manifest(version)

    def read_blob(self, version: Version, digest: str, size: int) -> bytes:
        with self._timed("blob"):
            return self.inner.read_blob(version, digest, size)

    def read_into(self, file: StoredFile, offset: int, buffer: memoryview) -> None:
        with self._timed("read"):
            self.inner.read_into(file, offset, buffer)

    def read_packs(self, version: Version, digest: str, most: int) -> bytes:
        with self._timed("packs"):
            return self.inner.read_packs(version, digest, most)

    def read_pack_into(self, version: Version, digest: str, offset: int, buffer: memoryview) -> None:
        with self._timed("pack"):
            self.inner.read_pack_into(version, digest, offset, buffer)

    @contextmanager
    def _timed(self, operation: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._metrics.asked_storage(operation, time.monotonic() - began)
