"""What this host knows of a registry: in which repositories it has put or found a blob. Private small files.

A note only spares a search: one that is missing, torn or stale costs nothing but a request that is refused.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

from blake3 import blake3

_MOST_REPOSITORIES = 8
# 200 bytes each, in blocks of 4 KiB: 16 MiB of disk.
_MOST_NOTES = 4096
_MOST_NOTE_BYTES = 1 << 16


class Notes:
    """The notes about the registry `place`, below `folder`; None keeps them for this process alone. Many threads may."""

    def __init__(self, folder: Path | None, place: str) -> None:
        self._folder = folder / "blobs" if folder else None
        self._place = place
        self._lock = Lock()
        self._known: dict[str, list[str]] = {}
        self._pruned = False

    def holders(self, digest: str) -> Sequence[str]:
        """Repositories that had this blob, the latest first."""
        with self._lock:
            return tuple(self._read(digest))

    def note(self, digest: str, repository: str) -> None:
        """This repository has the blob."""
        with self._lock:
            found = self._read(digest)
            if found and found[0] == repository:
                return
            others = [other for other in found if other != repository]
            self._known[digest] = [repository, *others][:_MOST_REPOSITORIES]
            if self._folder:
                with suppress(OSError):
                    self._write(self._folder, digest)

    def drop(self, digest: str, repository: str) -> None:
        """This repository has no such blob after all."""
        with self._lock:
            found = self._read(digest)
            if repository in found:
                self._known[digest] = [other for other in found if other != repository]
                if self._folder:
                    with suppress(OSError):
                        self._write(self._folder, digest)

    def _name(self, digest: str) -> str:
        return blake3(f"{self._place}\0{digest}".encode()).hexdigest()

    def _read(self, digest: str) -> list[str]:
        if digest not in self._known:
            if len(self._known) >= _MOST_NOTES:
                self._known.clear()
            self._known[digest] = _parse(self._folder / self._name(digest)) if self._folder else []
        return self._known[digest]

    def _write(self, folder: Path, digest: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._pruned:
            self._pruned = True
            _prune(folder)
        # Atomic, as other processes write their own.
        fd, temporary = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(fd, "w") as file:
                json.dump(self._known[digest], file)
            Path(temporary).replace(folder / self._name(digest))
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _parse(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MOST_NOTE_BYTES))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(found, list):
        return []
    return [item for item in found if isinstance(item, str)][:_MOST_REPOSITORIES]


def _prune(folder: Path) -> None:
    """Keep the newer half of too many notes."""
    entries = [(entry.stat().st_mtime, entry.path) for entry in os.scandir(folder)]
    if len(entries) > _MOST_NOTES:
        for _, path in sorted(entries)[: len(entries) // 2]:
            Path(path).unlink(missing_ok=True)
