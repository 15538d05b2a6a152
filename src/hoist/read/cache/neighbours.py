"""Which cached files hold a block of some digest: two fine-tunes share a VAE, and it is fetched once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock

from hoist.read.cache.record import HEADER_BYTES, parse_header, parse_tables

# A file smaller than this costs a request at most: it is not worth looking for.
LEAST_BYTES = 1 << 20
_ENDING = ".record"


class Neighbours:
    """The block digests of all records in a folder, read once each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._seen_at = -1
        self._names: set[str] = set()
        self._where: dict[bytes, list[tuple[str, int]]] = {}

    def of(self, digests: Iterable[bytes]) -> dict[bytes, list[tuple[str, int]]]:
        """For each of the digests that some entry has (or had): the entries' names, and the block in each."""
        with self._lock, suppress(OSError):
            self._look()
            return {digest: list(self._where[digest]) for digest in digests if digest in self._where}
        return {}

    def _look(self) -> None:
        changed = self._folder.stat().st_mtime_ns
        if changed == self._seen_at:
            return
        names = {path.stem for path in self._folder.iterdir() if path.suffix == _ENDING}
        if self._names - names:
            self._names, self._where = set(), {}
        for name in names - self._names:
            with suppress(OSError):
                self._read(name)
        self._names = names
        self._seen_at = changed

    def _read(self, name: str) -> None:
        with (self._folder / (name + _ENDING)).open("rb", buffering=0) as file:
            header = parse_header(os.pread(file.fileno(), HEADER_BYTES, 0), os.fstat(file.fileno()).st_size)
            if header is None or header.size < LEAST_BYTES:
                return
            tables = os.pread(file.fileno(), header.names_at - header.tables_at, header.tables_at)
        blocks = parse_tables(header, tables)
        for index in range(len(blocks) if blocks else 0):
            assert blocks
            self._where.setdefault(blocks.digest(index), []).append((name, index))
