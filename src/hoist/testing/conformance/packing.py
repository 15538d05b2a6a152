"""Packs beside a version: stored, found, copied to a version that shares them, and gone with the version."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from hoist.errors import Damaged, FileNotFound
from hoist.model.packs import Pack, PackIndex, lay_out, most_index_bytes
from hoist.storage.base import Publication, Storage
from hoist.testing.conformance.base import Conformance, Content, assert_holds, finish, publish, put, sample, ver

VERSION = "sd15/any:v1"
BELOW = 256 << 10


def small_files(seed: str, count: int = 20, size: int = 1000) -> Content:
    """A content of many small files, one of them larger than what is packed."""
    files = {f"part-{number % 3}/{number:03}.bin": sample(f"{seed}{number}", size + number) for number in range(count)}
    return Content(files | {"large.bin": sample(f"{seed}!", BELOW)})


def packed(content: Content, pack: Pack) -> bytes:
    """What a pack holds."""
    data = bytearray(pack.size)
    for offset, file in zip(pack.offsets, pack.files, strict=True):
        data[offset : offset + file.size] = content.files[file.path]
    return bytes(data)


def put_packs(publication: Publication, content: Content, packs: Iterable[Pack], index: PackIndex) -> None:
    """Put some packs of a content, and the index."""
    for pack in packs:
        publication.put_pack(pack, packed(content, pack))
    publication.put_packs(index)


def assert_packs(storage: Storage, version: str, content: Content) -> None:
    """The storage has the index and every byte of the packs of a version."""
    index = lay_out(content.manifest, BELOW)
    found = storage.read_packs(ver(version), content.digest, most_index_bytes(content.manifest))
    assert PackIndex.parse(found, content.manifest) == index
    for pack in index.packs:
        data = bytearray(pack.size)
        storage.read_pack_into(ver(version), pack.digest, 0, memoryview(data))
        assert data == packed(content, pack)
        storage.read_pack_into(ver(version), pack.digest, 5, memoryview(data)[5:-1])
        assert data == packed(content, pack)


class PackingConformance(Conformance):
    """`put_data`, `put_pack`, `put_packs`, `has_pack`, `adopt_pack`, `read_packs`, `read_pack_into`."""

    def test_a_version_with_packs(self, storage: Storage, tmp_path: Path) -> None:
        if not self.packs:
            pytest.skip("this storage keeps no packs (packs = False)")
        content = small_files("one")
        index = lay_out(content.manifest, BELOW)
        publication = storage.begin(ver(VERSION), content.digest)
        for path, entry in content.entries.items():
            if path == "large.bin":
                put(publication, content, tmp_path, [path])
            else:
                publication.put_data(entry, content.files[path])
        assert not publication.has_pack(index.packs[0])
        put_packs(publication, content, index.packs, index)
        assert list(storage.versions()) == []
        finish(publication, content)
        assert_holds(storage, VERSION, content)
        assert_packs(storage, VERSION, content)
        assert list(storage.versions()) == [ver(VERSION)]
        with pytest.raises(Damaged):
            storage.read_packs(ver(VERSION), content.digest, 50)
        with pytest.raises(Damaged):
            storage.read_pack_into(ver(VERSION), index.packs[0].digest, index.packs[0].size, memoryview(bytearray(1)))

    def test_a_version_without_packs(self, storage: Storage, tmp_path: Path) -> None:
        content = small_files("one")
        publish(storage, VERSION, content, tmp_path)
        index = lay_out(content.manifest, BELOW)
        with pytest.raises(FileNotFound):
            storage.read_packs(ver(VERSION), content.digest, 10_000)
        with pytest.raises(FileNotFound):
            storage.read_pack_into(ver(VERSION), index.packs[0].digest, 0, memoryview(bytearray(1)))

    def test_packs_are_resumed(self, storage: Storage, tmp_path: Path) -> None:
        if not self.packs:
            pytest.skip("this storage keeps no packs (packs = False)")
        content = small_files("one")
        index = lay_out(content.manifest, BELOW)
        put_packs(storage.begin(ver(VERSION), content.digest), content, index.packs, index)
        again = storage.begin(ver(VERSION), content.digest)
        assert again.has_pack(index.packs[0])
        put(again, content, tmp_path, content.files)
        finish(again, content)
        assert_packs(storage, VERSION, content)

    def test_packs_are_copied_from_a_version_that_has_them(self, storage: Storage, tmp_path: Path) -> None:
        if not self.packs:
            pytest.skip("this storage keeps no packs (packs = False)")
        content = small_files("shared", size=60_000)
        other = Content({**content.files, "large.bin": sample("other", BELOW)})
        index = lay_out(content.manifest, BELOW)
        first = storage.begin(ver(VERSION), content.digest)
        assert not first.adopt_pack(index.packs[0])
        put(first, content, tmp_path, content.files)
        put_packs(first, content, index.packs, index)
        finish(first, content)
        second = storage.begin(ver("sd15/any:v2"), other.digest)
        assert second.adopt_pack(index.packs[0]) == self.adopts
        put(second, other, tmp_path, other.files)
        put_packs(second, other, () if self.adopts else index.packs, lay_out(other.manifest, BELOW))
        finish(second, other)
        storage.remove(ver(VERSION))
        assert_packs(storage, "sd15/any:v2", other)
        third = storage.begin(ver("sd15/any:v3"), content.digest)
        storage.remove(ver("sd15/any:v2"))
        assert not third.adopt_pack(index.packs[0])

    def test_packs_go_with_their_version(self, storage: Storage, tmp_path: Path) -> None:
        if not self.packs:
            pytest.skip("this storage keeps no packs (packs = False)")
        content = small_files("one")
        index = lay_out(content.manifest, BELOW)
        publication = storage.begin(ver(VERSION), content.digest)
        put(publication, content, tmp_path, content.files)
        put_packs(publication, content, index.packs, index)
        finish(publication, content)
        storage.remove(ver(VERSION))
        with pytest.raises(FileNotFound):
            storage.read_packs(ver(VERSION), content.digest, 10_000)
        with pytest.raises(FileNotFound):
            storage.read_pack_into(ver(VERSION), index.packs[0].digest, 0, memoryview(bytearray(1)))
        publish(storage, VERSION, content, tmp_path)
        assert_holds(storage, VERSION, content)
