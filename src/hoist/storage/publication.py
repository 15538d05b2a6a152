"""A version on its way into a tree of keys: files and documents first, the manifest last."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Lock

from hoist.errors import Conflict, FileNotFound, HoistError
from hoist.model.manifest import FileEntry, Manifest, digest_of
from hoist.storage import layout
from hoist.storage.base import OnBytes, Publication, Version
from hoist.storage.claim import Claimant
from hoist.storage.objects import Objects

# How long a publish may go on before it looks whether its claim was taken over, in seconds.
_CLAIM_LIFE = 5.0


class TreePublication(Publication):
    """See Publication. `resumed`: an earlier run of the same content left its files here."""

    def __init__(self, objects: Objects, address: str, version: Version, digest: str, *, resumed: bool) -> None:
        self._objects = objects
        self._address = address
        self._version = version
        self._claimant = Claimant(objects, version, digest)
        self._resumed = resumed
        self._checked = time.monotonic()
        self._lock = Lock()

    def has(self, entry: FileEntry) -> bool:
        if not self._resumed:
            return False
        try:
            return self._objects.head(self._key(entry)).size == entry.size
        except FileNotFound:
            return False

    def adopt(self, entry: FileEntry) -> bool:
        if not layout.is_marked(entry):
            return False
        for info in self._objects.list(layout.markers(entry.digest)):
            holder = layout.version_of_tail(info.key.removeprefix(layout.markers(entry.digest)))
            source = holder and self._path_in(holder, entry)
            if holder and source and self._objects.copy(layout.file_key(holder, source), self._key(entry)):
                return True
        return False

    def put_file(self, entry: FileEntry, source: Path, on_bytes: OnBytes) -> None:
        self._check_claim()
        self._objects.put_file(self._key(entry), source, entry.size, on_bytes)

    def put_blob(self, data: bytes) -> None:
        self._objects.put(layout.blob_key(self._version, digest_of(data)), data)

    def commit(self, manifest: Manifest) -> None:
        self._claimant.check()
        key = layout.manifest_key(self._version)
        if not self._objects.create(key, manifest.data) and digest_of(self._objects.get(key).data) != manifest.digest:
            raise Conflict(f"another publish of {self._version} won in {self._address}: a version never changes")
        for file in manifest.files:
            if layout.is_marked(file):
                self._objects.put(layout.marker_key(file.digest, self._version), b"")
        self._claimant.drop()

    def _key(self, entry: FileEntry) -> str:
        return layout.file_key(self._version, entry.path)

    def _path_in(self, holder: Version, entry: FileEntry) -> str | None:
        """Where a committed version holds the entry's content; None if the marker has outlived it."""
        try:
            files = Manifest.parse(self._objects.get(layout.manifest_key(holder)).data).files
        except HoistError:
            return None
        return next((file.path for file in files if (file.digest, file.size) == (entry.digest, entry.size)), None)

    def _check_claim(self) -> None:
        with self._lock:
            if time.monotonic() - self._checked < _CLAIM_LIFE:
                return
            self._checked = time.monotonic()
        self._claimant.check()
