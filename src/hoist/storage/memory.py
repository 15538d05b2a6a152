"""A storage in this process's memory: for tests, examples and the conformance suite's own check."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock

from hoist.errors import Damaged, FileNotFound
from hoist.storage.base import OnBytes, Traits
from hoist.storage.objects import ObjectInfo, Stamped, Unfinished
from hoist.storage.posix import changed, open_source
from hoist.storage.staging import Body, Part, PartLimits, Staged


class MemoryObjects:
    """Keys in a dict; stamps are write counters."""

    traits = Traits(gives_up=True)
    staged_from: int | None = 16 << 20
    links = False

    def __init__(self, address: str = "memory://") -> None:
        self.address = address
        self._lock = Lock()
        self._writes = 0
        self._held: dict[str, tuple[bytes, str, float]] = {}

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._lock:
            found = sorted(item for item in self._held.items() if item[0].startswith(prefix))
        for key, (data, _, modified) in found:
            yield ObjectInfo(key, len(data), modified)

    def head(self, key: str) -> ObjectInfo:
        data, _, modified = self._find(key)
        return ObjectInfo(key, len(data), modified)

    def get(self, key: str) -> Stamped:
        data, stamp, _ = self._find(key)
        return Stamped(data, stamp)

    def read_into(self, key: str, offset: int, buffer: memoryview) -> None:
        data = self._find(key)[0][offset : offset + len(buffer)]
        if len(data) != len(buffer):
            raise Damaged(f"{key} in {self.address} ends before byte {offset + len(buffer)}")
        buffer[:] = data

    def first_byte_seconds(self) -> float | None:
        return None

    def throttled(self) -> int:
        return 0

    def local_path(self, key: str) -> Path | None:
        return None

    def put(self, key: str, data: bytes | memoryview) -> None:
        with self._lock:
            self._write(key, data)

    def create(self, key: str, data: bytes) -> bool:
        return self.swap(key, data, None)

    def swap(self, key: str, data: bytes, expected: str | None) -> bool:
        with self._lock:
            if (self._held[key][1] if key in self._held else None) != expected:
                return False
            self._write(key, data)
            return True

    def put_file(self, key: str, source: Path, size: int, on_bytes: OnBytes) -> None:
        with open_source(source) as file:
            data = file.read()
        if len(data) != size:
            raise changed(source)
        on_bytes(size)
        self.put(key, data)

    def stage(self, key: str, size: int, source: Path, journals: Path | None) -> Staged:
        return _StagedBytes(self, key, size)

    def unfinished(self) -> Iterator[Unfinished]:
        return iter(())

    def drop_unfinished(self, item: Unfinished) -> None:
        """There is never one."""

    def copy(self, source: str, target: str) -> bool:
        try:
            self.put(target, self._find(source)[0])
        except FileNotFound:
            return False
        return True

    def copy_over(self, source: str, target: str) -> bool:
        return self.copy(source, target)

    def symlink(self, key: str, target: str) -> bool:
        return False

    def delete(self, keys: Sequence[str]) -> None:
        with self._lock:
            for key in keys:
                self._held.pop(key, None)

    def conditional(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing to release."""

    def _find(self, key: str) -> tuple[bytes, str, float]:
        with self._lock:
            if key not in self._held:
                raise FileNotFound(f"{self.address} has no object {key!r}")
            return self._held[key]

    def _write(self, key: str, data: bytes | memoryview) -> None:
        self._writes += 1
        self._held[key] = (bytes(data), str(self._writes), time.time())


class _StagedBytes(Staged):
    """A file on its way into memory."""

    limits = PartLimits(smallest=1, usual=16 << 20, copied=1 << 62)

    def __init__(self, objects: MemoryObjects, key: str, size: int) -> None:
        self._objects = objects
        self._key = key
        self._data = bytearray(size)

    def has(self, part: Part) -> bool:
        return False

    def copy(self, part: Part) -> bool:
        held = part.held
        if held is None:
            return False
        try:
            self._objects.read_into(held.key, held.offset, memoryview(self._data)[part.begin : part.end])
        except (FileNotFound, Damaged):
            return False
        return True

    def put(self, part: Part, body: Body) -> bool:
        at = part.begin
        for view in body():
            self._data[at : at + len(view)] = view
            at += len(view)
        return True

    def complete(self) -> None:
        """Nothing is written before it is placed."""

    def place(self) -> bool:
        self._objects.put(self._key, bytes(self._data))
        return True

    def discard(self) -> None:
        self._data = bytearray()

    def close(self) -> None:
        """Nothing is kept open."""
