"""A publication into a tree of keys: what thousands of files must not cost."""

from __future__ import annotations

from hoist.model.blocks import BlockTable
from hoist.model.manifest import FileEntry, Manifest, digest_of
from hoist.storage import layout
from hoist.storage.base import Version
from hoist.storage.memory import MemoryObjects
from hoist.storage.objects import Stamped
from hoist.storage.tree import TreeStorage

FILES = 40
SIZE = layout.MARKED_FROM_BYTES


class Counting(MemoryObjects):
    """Counts how often each object is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: dict[str, int] = {}

    def get(self, key: str) -> Stamped:
        self.reads[key] = self.reads.get(key, 0) + 1
        return super().get(key)


def test_a_version_of_the_same_files_reads_the_other_one_s_manifest_once() -> None:
    objects = Counting()
    storage = TreeStorage(objects, "nas")
    entries = [FileEntry(f"w{n}.bin", SIZE, digest_of(bytes([n]))) for n in range(FILES)]
    manifest, _ = Manifest.build(entries, BlockTable.build([]).to_bytes())
    first, second = Version("m/one", "v1"), Version("m/one", "v2")
    publication = storage.begin(first, manifest.digest)
    for number, entry in enumerate(entries):
        objects.put(layout.file_key(first, entry.path), bytes([number]) * SIZE)
    publication.commit(manifest)
    objects.reads.clear()
    publication = storage.begin(second, manifest.digest)
    assert all(publication.adopt(entry) for entry in entries)
    assert objects.reads[layout.manifest_key(first)] == 1
    for number, entry in enumerate(entries):
        assert objects.get(layout.file_key(second, entry.path)).data == bytes([number]) * SIZE
