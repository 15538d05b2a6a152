"""Publishing: invisible before the commit, whole after it; every legal file name; removing."""

from __future__ import annotations

from pathlib import Path

import pytest

from hoist.errors import Cancelled, Conflict, FileNotFound, HoistError, VersionNotFound
from hoist.storage.base import Storage, StoredFile, Tag
from hoist.testing.conformance.base import (
    Conformance,
    Content,
    assert_holds,
    finish,
    publish,
    put,
    ref,
    sample,
    small,
    source_of,
    ver,
)

ODD_PATHS = (
    "with space.bin",
    " leading and trailing ",
    "a#b%20c%c.bin",
    "what?really&yes=1+2.bin",
    "[brackets]{braces}(parens).bin",
    "~tilde@at!bang$dollar,comma;semi:colon.bin",
    "'single'\"double\"`back`.bin",
    "<angle>|pipe^caret*star.bin",
    "nfc-\u00e9.bin",
    "nfd-e\u0301.bin",
    "汉字/模型 \U0001f600.bin",
    "/".join("abcdefghijklmnopqrst") + "/deep.bin",
    ".hidden",
    ".git/config",
    "folder/.hoist/inner",
    "manifest.json",
    "...",
    "n" * 200 + ".bin",
)


class PublishingConformance(Conformance):
    """`begin`, `put_file`, `put_blob`, `commit`, `adopt`, `remove`."""

    def test_invisible_before_commit_and_whole_after(self, storage: Storage, tmp_path: Path) -> None:
        content = small("one")
        publication = storage.begin(ver("sd15/any:v1"), content.digest)
        put(publication, content, tmp_path, content.files)
        publication.put_blob(content.config)
        publication.put_blob(content.table)
        assert list(storage.versions()) == []
        assert list(storage.versions("sd15/any")) == []
        assert list(storage.tags()) == []
        assert storage.find_tag("sd15/any", "v1") is None
        with pytest.raises(VersionNotFound):
            storage.read_manifest(ver("sd15/any:v1"))
        with pytest.raises(VersionNotFound):
            storage.resolve(ref("sd15/any:v1"))
        with pytest.raises(VersionNotFound):
            storage.resolve(ref(f"sd15/any@{content.digest}"))
        publication.commit(content.manifest)
        assert list(storage.versions()) == [ver("sd15/any:v1")]
        assert_holds(storage, "sd15/any:v1", content)

    def test_odd_file_names(self, storage: Storage, tmp_path: Path) -> None:
        content = Content({path: sample(path, 100 + at) for at, path in enumerate(ODD_PATHS)})
        version = publish(storage, "sd15/any:v1", content, tmp_path)
        assert_holds(storage, "sd15/any:v1", content)
        assert list(storage.versions()) == [version]
        # Whatever the removal would leave would be in the way of the next one under this label.
        storage.remove(version)
        publish(storage, "sd15/any:v1", small("two"), tmp_path)
        assert_holds(storage, "sd15/any:v1", small("two"))

    def test_empty_file(self, storage: Storage, tmp_path: Path) -> None:
        content = Content({"empty": b"", "folder/empty.bin": b"", "one": b"1"})
        version = publish(storage, "sd15/any:v1", content, tmp_path)
        assert_holds(storage, "sd15/any:v1", content)
        storage.read_into(StoredFile(version, content.entries["one"]), 1, memoryview(bytearray()))

    def test_on_bytes_counts_every_byte(self, storage: Storage, tmp_path: Path) -> None:
        content = Content({"big.bin": sample("big", 3_000_001), "small.bin": b"x", "empty": b""})
        told: list[int] = []
        publication = storage.begin(ver("sd15/any:v1"), content.digest)
        put(publication, content, tmp_path, content.files, told.append)
        assert sum(told) == 3_000_002

    def test_cancelled_put_leaves_no_file(self, storage: Storage, tmp_path: Path) -> None:
        content = Content({"big.bin": sample("big", 3_000_001)})

        def cancel(count: int) -> None:
            raise Cancelled("enough")

        publication = storage.begin(ver("sd15/any:v1"), content.digest)
        with pytest.raises(Cancelled):
            put(publication, content, tmp_path, content.files, cancel)
        assert not storage.begin(ver("sd15/any:v1"), content.digest).has(content.entries["big.bin"])

    def test_source_of_another_size_is_refused(self, storage: Storage, tmp_path: Path) -> None:
        content = small("one")
        publication = storage.begin(ver("sd15/any:v1"), content.digest)
        entry = content.entries["config.json"]
        for data in (b"", content.files["config.json"][:-1], content.files["config.json"] + b"!"):
            with pytest.raises(HoistError, match="changed"):
                publication.put_file(entry, source_of(data, tmp_path), lambda count: None)
            assert not storage.begin(ver("sd15/any:v1"), content.digest).has(entry)

    def test_absent_source_is_this_machines_error(self, storage: Storage, tmp_path: Path) -> None:
        content = small("one")
        publication = storage.begin(ver("sd15/any:v1"), content.digest)
        with pytest.raises(HoistError, match="gone") as caught:
            publication.put_file(content.entries["config.json"], tmp_path / "gone", lambda count: None)
        assert not isinstance(caught.value, FileNotFound)

    def test_other_content_under_an_existing_label(self, storage: Storage, tmp_path: Path) -> None:
        publish(storage, "sd15/any:v1", small("one"), tmp_path)
        for replace in (False, True):
            with pytest.raises(Conflict):
                storage.begin(ver("sd15/any:v1"), small("two").digest, replace_unfinished=replace)
        assert_holds(storage, "sd15/any:v1", small("one"))

    def test_adopt_copies_by_digest(self, storage: Storage, tmp_path: Path) -> None:
        if not self.adopts:
            pytest.skip("this storage adopts no files (adopts = False)")
        shared = sample("vae", self.adopted_bytes)
        first = Content({"vae/vae + 1.bin": shared, "config.json": b"1"})
        second = Content({"other/place.bin": shared, "config.json": b"2"})
        holder = publish(storage, "sd15/any:v1", first, tmp_path)
        other, another = ("sd15/thing:v1", "third:v1") if self.adopts_across else ("sd15/any:v2", "sd15/any:v3")
        publication = storage.begin(ver(other), second.digest)
        assert publication.adopt(second.entries["other/place.bin"])
        put(publication, second, tmp_path, ["config.json"])
        finish(publication, second)
        assert_holds(storage, other, second)
        # The copy lives on its own.
        storage.remove(holder)
        assert_holds(storage, other, second)
        third = Content({"third.bin": shared})
        publication = storage.begin(ver(another), third.digest)
        assert publication.adopt(third.entries["third.bin"])
        finish(publication, third)
        assert_holds(storage, another, third)

    def test_adopt_from_nobody(self, storage: Storage, tmp_path: Path) -> None:
        content = Content({"vae.bin": sample("vae", self.adopted_bytes)})
        entry = content.entries["vae.bin"]
        names = ("a:v1", "b:v1", "c:v1") if self.adopts_across else ("a:v1", "a:v2", "a:v3")
        assert not storage.begin(ver(names[0]), content.digest).adopt(entry)
        # A version that is not committed holds nothing.
        put(storage.begin(ver(names[1]), content.digest), content, tmp_path, content.files)
        assert not storage.begin(ver(names[0]), content.digest).adopt(entry)
        holder = publish(storage, names[2], content, tmp_path)
        storage.remove(holder)
        assert not storage.begin(ver(names[0]), content.digest).adopt(entry)

    def test_remove(self, storage: Storage, tmp_path: Path) -> None:
        content = small("one")
        version = publish(storage, "sd15/any:v1", content, tmp_path)
        kept = publish(storage, "sd15/any:v10", content, tmp_path)
        storage.set_tag(Tag("sd15/any", "latest", "v1", content.digest))
        storage.remove(version)
        assert list(storage.versions()) == [kept]
        with pytest.raises(VersionNotFound):
            storage.resolve(ref("sd15/any:v1"))
        # The tag is the caller's affair, where it is left; it points at nothing now.
        assert (storage.find_tag("sd15/any", "latest") is not None) == self.loose_tags
        with pytest.raises(VersionNotFound):
            storage.resolve(ref("sd15/any:latest"))
        with pytest.raises(FileNotFound):
            storage.read_into(StoredFile(version, content.entries["config.json"]), 0, memoryview(bytearray(1)))
        with pytest.raises(FileNotFound):
            storage.read_blob(version, content.manifest.blocks.digest, content.manifest.blocks.size)
        with pytest.raises(VersionNotFound):
            storage.remove(version)
        assert_holds(storage, "sd15/any:v10", content)

    def test_removed_label_can_be_published_again(self, storage: Storage, tmp_path: Path) -> None:
        version = publish(storage, "sd15/any:v1", small("one"), tmp_path)
        storage.set_tag(Tag("sd15/any", "latest", "v1", small("one").digest))
        storage.remove(version)
        publish(storage, "sd15/any:v1", small("two"), tmp_path)
        assert_holds(storage, "sd15/any:v1", small("two"))
        # A tag vouches for the content that it was set on.
        with pytest.raises(VersionNotFound):
            storage.resolve(ref("sd15/any:latest"))
