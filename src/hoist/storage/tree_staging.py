"""Where the files of a version wait beside a tree of keys, and which blocks the tree holds already."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from threading import Lock

from hoist.errors import HoistError
from hoist.model.blocks import BlockTable
from hoist.model.manifest import Manifest, digest_of
from hoist.parallel import SMALL_AT_ONCE, for_each
from hoist.storage import layout
from hoist.storage.base import Version
from hoist.storage.known import MOST_BLOCKS, KnownBlocks, KnownFile
from hoist.storage.objects import Objects
from hoist.storage.staging import Held, Staged, Staging

# How many versions are looked at, newest first: of the same model, whose blocks are likely, and of others, which count if
# they have a file of the very size of one of ours.
_OF_THIS_MODEL = 16
_OF_OTHERS = 48
_LARGEST_TABLE = 40 * MOST_BLOCKS


class TreeStaging(Staging):
    """See Staging."""

    def __init__(self, objects: Objects, version: Version, sizes: Collection[int], journals: Path | None) -> None:
        assert objects.staged_from is not None
        self.from_bytes = objects.staged_from
        self._objects = objects
        self._version = version
        self._sizes = frozenset(size for size in sizes if size >= self.from_bytes)
        self._journals = journals
        self._lock = Lock()
        self._known: KnownBlocks | None = None

    def open(self, path: str, size: int, source: Path) -> Staged:
        return self._objects.stage(layout.file_key(self._version, path), size, source, self._journals)

    def find(self, digest: bytes, following: Held | None) -> Held | None:
        with self._lock:
            if self._known is None:
                self._known = KnownBlocks(self._files())
        return self._known.find(digest, following)

    def _files(self) -> list[KnownFile]:
        newest: list[tuple[float, Version]] = []
        for info in self._objects.list(layout.VERSIONS):
            version = layout.version_of_manifest(info.key)
            if version and version != self._version:
                newest.append((info.modified, version))
        newest.sort(reverse=True)
        mine = [version for _, version in newest if version.name == self._version.name][:_OF_THIS_MODEL]
        others = [version for _, version in newest if version.name != self._version.name][:_OF_OTHERS]
        wanted = [*mine, *others]
        found: list[KnownFile] = []
        while wanted and sum(len(file.blocks) for file in found) < MOST_BLOCKS:
            some, wanted = wanted[:SMALL_AT_ONCE], wanted[SMALL_AT_ONCE:]
            found += [file for files in for_each(self._files_of, some, SMALL_AT_ONCE) for file in files]
        return found

    def _files_of(self, version: Version) -> list[KnownFile]:
        """The large files of a version and their blocks; none of one that cannot be read, or that cannot help."""
        try:
            manifest = Manifest.parse(self._objects.get(layout.manifest_key(version)).data)
            if version.name != self._version.name and self._sizes.isdisjoint(file.size for file in manifest.files):
                return []
            if manifest.blocks.size > _LARGEST_TABLE:
                return []
            data = bytearray(manifest.blocks.size)
            self._objects.read_into(layout.blob_key(version, manifest.blocks.digest), 0, memoryview(data))
            if digest_of(bytes(data)) != manifest.blocks.digest:
                return []
            table = BlockTable.parse(bytes(data))
            large = [file for file in manifest.files if layout.is_marked(file)]
            return [KnownFile(layout.file_key(version, file.path), table.of(file.digest, file.size)) for file in large]
        except HoistError:
            return []
