"""A version on its way into a tree of keys: files and documents first, the manifest last."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from threading import Lock

from hoist.errors import Conflict, FileNotFound, HoistError, StorageUnavailable
from hoist.model.manifest import FileEntry, Manifest, digest_of
from hoist.model.packs import Pack, PackIndex
from hoist.parallel import for_each
from hoist.storage import layout
from hoist.storage.base import OnBytes, Publication, Version
from hoist.storage.claim import Claimant
from hoist.storage.objects import Objects
from hoist.storage.staging import Staged

# How long a publish may go on before it looks whether its claim was taken over, in seconds.
_CLAIM_LIFE = 5.0
_MARKERS_AT_ONCE = 16
_HOLDERS_KEPT = 16


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
        # What other versions hold: a manifest of 10,000 files must not be read once for each of them.
        self._held: dict[Version, Mapping[tuple[str, int], str]] = {}
        self._packs: tuple[Pack, ...] = ()
        self._laid: set[str] = set()

    def has(self, entry: FileEntry) -> bool:
        if not self._resumed:
            return False
        try:
            return self._objects.head(self._key(entry)).size == entry.size and self._lay(entry)
        except FileNotFound:
            return False

    def adopt(self, entry: FileEntry) -> bool:
        if not layout.is_marked(entry):
            return False
        for info in self._objects.list(layout.markers(entry.digest)):
            holder = layout.version_of_tail(info.key.removeprefix(layout.markers(entry.digest)))
            source = holder and self._path_in(holder, entry)
            if holder and source and self._objects.copy(layout.file_key(holder, source), self._key(entry)):
                return self._lay(entry)
        return False

    def put_file(self, entry: FileEntry, source: Path, on_bytes: OnBytes) -> bool:
        self._check_claim()
        self._objects.put_file(self._key(entry), source, entry.size, on_bytes)
        return self._lay(entry)

    def link(self, entry: FileEntry) -> bool:
        self._check_claim()
        return self._objects.symlink(self._key(entry), entry.link) and self._lay(entry)

    def place(self, entry: FileEntry, staged: Staged) -> bool:
        if self._objects.links and self.adopt(entry):
            staged.discard()
            return True
        # Always, and not only now and then: whoever took over may have put its own file there.
        self._claimant.check()
        staged.place()
        try:
            # Also where it was gone: an attempt whose answer was lost may have placed it.
            return self._objects.head(self._key(entry)).size == entry.size and self._lay(entry)
        except FileNotFound:
            return False

    def put_blob(self, data: bytes) -> None:
        self._objects.put(layout.blob_key(self._version, digest_of(data)), data)

    def put_data(self, entry: FileEntry, data: bytes | memoryview) -> None:
        self._check_claim()
        self._objects.put(self._key(entry), data)
        self._lay(entry)

    def has_pack(self, pack: Pack) -> bool:
        if not self._resumed:
            return False
        try:
            return self._objects.head(layout.pack_key(self._version, pack.digest)).size == pack.size
        except FileNotFound:
            return False

    def adopt_pack(self, pack: Pack) -> bool:
        target = layout.pack_key(self._version, pack.digest)
        for info in self._objects.list(layout.markers(pack.digest)) if _is_marked(pack) else ():
            holder = layout.version_of_tail(info.key.removeprefix(layout.markers(pack.digest)))
            if holder and self._copied(layout.pack_key(holder, pack.digest), target, pack.size):
                return True
        return False

    def put_pack(self, pack: Pack, data: bytes | memoryview) -> None:
        self._check_claim()
        self._objects.put(layout.pack_key(self._version, pack.digest), data)

    def put_packs(self, index: PackIndex) -> None:
        self._packs = index.packs
        self._objects.put(layout.packs_key(self._version, index.manifest_digest), index.to_bytes())

    def commit(self, manifest: Manifest) -> None:
        self._claimant.seal()
        if self._objects.links:
            self._require_laid(manifest)
        key = layout.manifest_key(self._version)
        if not self._objects.create(key, manifest.data) and digest_of(self._objects.get(key).data) != manifest.digest:
            raise Conflict(f"another publish of {self._version} won in {self._address}: a version never changes")
        marked = [layout.marker_key(file.digest, self._version) for file in manifest.files if layout.is_marked(file)]
        marked += [layout.marker_key(pack.digest, self._version) for pack in self._packs if _is_marked(pack)]
        # Thousands of files are thousands of requests, or of waits for a disk: several at once.
        for_each(lambda key: self._objects.put(key, b""), marked, _MARKERS_AT_ONCE)
        self._claimant.drop()

    def _require_laid(self, manifest: Manifest) -> None:
        """Look whether what was laid is there still. A folder can lose it: it was not mounted for a while, and the files lie
        below the mount point. Raises StorageUnavailable."""
        sizes = {info.key: info.size for info in self._objects.list(layout.file_key(self._version, ""))}
        for file in manifest.files:
            found = sizes.get(self._key(file))
            if file.path in self._laid and (found is None or (found != file.size and not file.link)):
                raise StorageUnavailable(
                    f"{self._address} has lost {file.path!r} of {self._version}, which was put there just now: see that it "
                    "is mounted, and run this again"
                )

    def _lay(self, entry: FileEntry) -> bool:
        """Note that a file is in its place."""
        self._laid.add(entry.path)
        return True

    def _copied(self, source: str, target: str, size: int) -> bool:
        try:
            return self._objects.head(source).size == size and self._objects.copy(source, target)
        except FileNotFound:
            # A marker that has outlived its version.
            return False

    def _key(self, entry: FileEntry) -> str:
        return layout.file_key(self._version, entry.path)

    def _path_in(self, holder: Version, entry: FileEntry) -> str | None:
        """Where a committed version holds the entry's content; None if the marker has outlived it."""
        with self._lock:
            if holder not in self._held:
                if len(self._held) >= _HOLDERS_KEPT:
                    self._held.clear()
                self._held[holder] = self._files_of(holder)
            return self._held[holder].get((entry.digest, entry.size))

    def _files_of(self, holder: Version) -> Mapping[tuple[str, int], str]:
        try:
            files = Manifest.parse(self._objects.get(layout.manifest_key(holder)).data).files
        except HoistError:
            return {}
        # A link means another file in another version.
        return {(file.digest, file.size): file.path for file in reversed(files) if not file.link}

    def _check_claim(self) -> None:
        with self._lock:
            if time.monotonic() - self._checked < _CLAIM_LIFE:
                return
            self._checked = time.monotonic()
        self._claimant.check()


def _is_marked(pack: Pack) -> bool:
    """Whether a pack is looked up by its digest: a small one is quicker sent again."""
    return pack.size >= layout.MARKED_FROM_BYTES
