"""What a storage says it has: listing, resolving, and what it says of what is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from hoist.errors import FileNotFound, VersionNotFound
from hoist.model.manifest import FileEntry, digest_of
from hoist.storage.base import Storage, StoredFile, Tag
from hoist.storage.seen import md5_of
from hoist.testing.conformance.base import Conformance, assert_holds, publish, ref, small, ver


class ListingConformance(Conformance):
    """`versions`, `tags`, `find_tag`, `resolve`, `read_manifest`."""

    def test_says_what_it_is(self, storage: Storage) -> None:
        assert storage.address
        assert storage.kind in ("image", "nas", "oss", "accl", "any")
        assert storage.traits.request_bytes > 0
        assert storage.traits.connections > 0

    def test_empty_lists_nothing(self, storage: Storage) -> None:
        assert list(storage.versions()) == []
        assert list(storage.versions("sd15/any")) == []
        assert list(storage.tags()) == []
        assert list(storage.tags("sd15/any")) == []
        assert storage.find_tag("sd15/any", "latest") is None
        with pytest.raises(VersionNotFound):
            storage.read_manifest(ver("sd15/any:v1"))

    def test_versions_in_order_and_by_name(self, storage: Storage, tmp_path: Path) -> None:
        names = ["sd15/any:v1", "sd15/any:v1-b", "sd15/any:v10", "sd15/any:v2", "sd15/any:V1", "sd15/any:v1.5"]
        names += ["sd15/anything:v1", "sd15/any-x:v1", "sd15/any.x:v1", "sd15/other/deep:v1", "sd15:any2", "any:v1"]
        for name in names:
            publish(storage, name, small("one"), tmp_path)
        assert list(storage.versions()) == sorted(ver(name) for name in names)
        for name in ("sd15/any", "sd15/anything", "sd15/any-x", "sd15", "any", "sd15/other/deep"):
            assert list(storage.versions(name)) == sorted(ver(each) for each in names if ver(each).name == name)
        for name in ("sd15/an", "sd15/other", "thing", "deep", "v1"):
            assert list(storage.versions(name)) == []

    def test_versions_are_known_again_by_what_a_listing_tells(self, storage: Storage, tmp_path: Path) -> None:
        one, two = small("one"), small("two")
        publish(storage, "sd15/any:v1", one, tmp_path)
        publish(storage, "sd15/any:v2", two, tmp_path)
        publish(storage, "sd15/any-x:v1", one, tmp_path)
        storage.set_tag(Tag("sd15/any", "latest", "v2", two.digest))
        seen = storage.seen_versions()
        assert sorted(seen) == list(storage.versions())
        assert storage.seen_versions("sd15/any").keys() == {ver("sd15/any:v1"), ver("sd15/any:v2")}
        assert storage.seen_versions("sd15/an") == {}
        assert {version: each.published for version, each in seen.items()} == dict(storage.dated_versions())
        for version, each in seen.items():
            data = storage.read_manifest(version)
            assert each.digest or each.md5
            assert each.digest in ("", digest_of(data))
            assert each.md5 in ("", md5_of(data))
        assert seen[ver("sd15/any:v1")].same(seen[ver("sd15/any-x:v1")])
        assert not seen[ver("sd15/any:v1")].same(seen[ver("sd15/any:v2")])

    def test_tags_in_order_and_by_name(self, storage: Storage, tmp_path: Path) -> None:
        content = small("one")
        expected = []
        for name in ("sd15/any-x", "sd15/any", "sd15/anything", "sd15/other/deep"):
            publish(storage, f"{name}:v1", content, tmp_path)
            for tag in ("stable", "latest", "latest-b", "Latest"):
                expected.append(Tag(name, tag, "v1", content.digest))
                storage.set_tag(expected[-1])
        expected.sort(key=lambda tag: (tag.name, tag.tag))
        assert list(storage.tags()) == expected
        assert list(storage.tags("sd15/any")) == [tag for tag in expected if tag.name == "sd15/any"]
        assert list(storage.tags("sd15/an")) == []
        assert list(storage.tags("sd15/other")) == []
        assert storage.find_tag("sd15/any", "stable") == Tag("sd15/any", "stable", "v1", content.digest)

    def test_resolve_by_label_tag_and_digest(self, storage: Storage, tmp_path: Path) -> None:
        one, two = small("one"), small("two")
        first = publish(storage, "sd15/any:v1", one, tmp_path)
        second = publish(storage, "sd15/any:v2", two, tmp_path)
        storage.set_tag(Tag("sd15/any", "latest", "v2", two.digest))
        assert storage.resolve(ref("sd15/any:v1"))[0] == first
        assert storage.resolve(ref("sd15/any"))[0] == second
        assert storage.resolve(ref(f"sd15/any@{one.digest}")) == (first, one.manifest)
        assert storage.resolve(ref(f"sd15/any@{two.digest}")) == (second, two.manifest)

    def test_digest_is_sought_under_its_own_name(self, storage: Storage, tmp_path: Path) -> None:
        publish(storage, "sd15/any:v1", small("one"), tmp_path)
        publish(storage, "sd15/anything:v1", small("two"), tmp_path)
        with pytest.raises(VersionNotFound):
            storage.resolve(ref(f"sd15/any@{small('two').digest}"))

    def test_absent_version_names_the_nearest(self, storage: Storage, tmp_path: Path) -> None:
        with pytest.raises(VersionNotFound, match="sd15/any:v5"):
            storage.resolve(ref("sd15/any:v5"))
        publish(storage, "sd15/anything:v5", small("one"), tmp_path)
        with pytest.raises(VersionNotFound, match="v5"):
            storage.resolve(ref("sd15/anything:v55"))
        with pytest.raises(VersionNotFound, match="sd15/anything"):
            storage.resolve(ref("sd15/anythin:v5"))
        with pytest.raises(VersionNotFound):
            storage.resolve(ref(f"sd15/anything@{digest_of(b'never')}"))

    def test_absent_file_and_blob(self, storage: Storage, tmp_path: Path) -> None:
        content = small("one")
        version = publish(storage, "sd15/any:v1", content, tmp_path)
        with pytest.raises(FileNotFound):
            storage.read_into(
                StoredFile(version, FileEntry("none.bin", 4, digest_of(b""))), 0, memoryview(bytearray(4))
            )
        with pytest.raises(FileNotFound):
            entry = content.entries["config.json"]
            storage.read_into(StoredFile(ver("sd15/any:v2"), entry), 0, memoryview(bytearray(4)))
        with pytest.raises(FileNotFound):
            storage.read_blob(version, digest_of(b"never"), 5)

    def test_one_content_under_many_names(self, storage: Storage, tmp_path: Path) -> None:
        content = small("one")
        for name in ("sd15/any:v1", "sd15/any:v2", "other:v1"):
            publish(storage, name, content, tmp_path)
        for name in ("sd15/any:v1", "sd15/any:v2", "other:v1"):
            assert_holds(storage, name, content)
        assert storage.resolve(ref(f"sd15/any@{content.digest}"))[0] == ver("sd15/any:v1")
