"""Races of publishers, made to happen at their worst moments by a place of keys that lets the other one in."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hoist.errors import Conflict, StorageUnavailable
from hoist.storage import layout, publication
from hoist.storage.base import Storage
from hoist.storage.memory import MemoryObjects
from hoist.storage.tree import TreeStorage
from hoist.testing.conformance.base import Content, assert_holds, finish, publish, put, sample, small, ver

VERSION = ver("sd15/any:v1")


class Interrupted(MemoryObjects):
    """Memory that calls `before[operation, key]` once, right before that operation on that key."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[tuple[str, str], Callable[[], object]] = {}

    def create(self, key: str, data: bytes) -> bool:
        self._interrupt("create", key)
        return super().create(key, data)

    def swap(self, key: str, data: bytes, expected: str | None) -> bool:
        if expected is not None:
            self._interrupt("swap", key)
        return super().swap(key, data, expected)

    def delete(self, keys: object) -> None:
        assert isinstance(keys, list)
        for key in keys:
            self._interrupt("delete", key)
        super().delete(keys)

    def _interrupt(self, operation: str, key: str) -> None:
        action = self.before.pop((operation, key), None)
        if action:
            action()


@pytest.fixture
def objects() -> Interrupted:
    return Interrupted()


@pytest.fixture
def storage(objects: Interrupted) -> Storage:
    return TreeStorage(objects, "nas")


def test_other_content_committed_just_before_the_claim(objects: Interrupted, storage: Storage, tmp_path: Path) -> None:
    objects.before["create", layout.claim_key(VERSION)] = lambda: publish(
        storage, str(VERSION), small("first"), tmp_path
    )
    with pytest.raises(Conflict, match="other content"):
        storage.begin(VERSION, small("second").digest)
    assert_holds(storage, str(VERSION), small("first"))
    assert list(objects.list(layout.CLAIMS)) == []


@pytest.mark.parametrize("replace", [False, True])
def test_same_content_committed_just_before_the_claim(
    objects: Interrupted, storage: Storage, tmp_path: Path, replace: bool
) -> None:
    content = small("same")
    objects.before["create", layout.claim_key(VERSION)] = lambda: publish(storage, str(VERSION), content, tmp_path)
    begun = storage.begin(VERSION, content.digest, replace_unfinished=replace)
    assert all(begun.has(entry) for entry in content.entries.values())
    assert list(objects.list(layout.CLAIMS)) == []
    finish(begun, content)
    assert_holds(storage, str(VERSION), content)


def test_nested_name_committed_just_before_the_claim(objects: Interrupted, storage: Storage, tmp_path: Path) -> None:
    objects.before["create", layout.claim_key(VERSION)] = lambda: publish(storage, "sd15:any", small("x"), tmp_path)
    with pytest.raises(Conflict):
        storage.begin(VERSION, small("y").digest)
    assert list(objects.list(layout.CLAIMS)) == []


def test_manifest_that_another_one_created_first(objects: Interrupted, storage: Storage, tmp_path: Path) -> None:
    winner, loser = small("winner"), small("loser")
    begun = storage.begin(VERSION, loser.digest)
    put(begun, loser, tmp_path, loser.files)
    key = layout.manifest_key(VERSION)
    objects.before["create", key] = lambda: objects.put(key, winner.manifest.data)
    with pytest.raises(Conflict, match="won"):
        finish(begun, loser)
    assert storage.read_manifest(VERSION) == winner.manifest.data


def test_take_over_that_another_one_took_first(objects: Interrupted, storage: Storage, tmp_path: Path) -> None:
    storage.begin(VERSION, small("dead").digest)
    objects.before["swap", layout.claim_key(VERSION)] = lambda: storage.begin(
        VERSION, small("first").digest, replace_unfinished=True
    )
    with pytest.raises(Conflict, match="took over"):
        storage.begin(VERSION, small("second").digest, replace_unfinished=True)
    publish(storage, str(VERSION), small("first"), tmp_path)
    assert_holds(storage, str(VERSION), small("first"))


def test_killed_while_clearing_what_a_dead_publish_left(objects: Interrupted, storage: Storage, tmp_path: Path) -> None:
    dead, content = small("dead"), small("one")
    put(storage.begin(VERSION, dead.digest), dead, tmp_path, dead.files)

    def die() -> None:
        raise StorageUnavailable("killed")

    objects.before["delete", layout.file_key(VERSION, "config.json")] = die
    with pytest.raises(StorageUnavailable):
        storage.begin(VERSION, content.digest, replace_unfinished=True)
    # The dead one's files have this content's paths and sizes: they must not be taken for its own.
    again = storage.begin(VERSION, content.digest)
    assert not any(again.has(entry) for entry in content.entries.values())
    put(again, content, tmp_path, content.files)
    finish(again, content)
    assert_holds(storage, str(VERSION), content)


def test_files_of_no_version_are_in_the_way(objects: Interrupted, storage: Storage, tmp_path: Path) -> None:
    objects.put(layout.file_key(VERSION, "stray.bin"), b"stray")
    with pytest.raises(Conflict, match="replace-unfinished"):
        storage.begin(VERSION, small("one").digest)
    assert list(objects.list(layout.CLAIMS)) == []
    publish(storage, str(VERSION), small("one"), tmp_path, replace_unfinished=True)
    assert_holds(storage, str(VERSION), small("one"))
    assert [info.key for info in objects.list(layout.file_key(VERSION, ""))] == [
        layout.file_key(VERSION, path) for path in sorted(small("one").files)
    ]


def test_slow_publisher_looks_at_its_claim_again(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "_CLAIM_LIFE", 0.01)
    slow, quick = small("slow"), small("quick")
    begun = storage.begin(VERSION, slow.digest)
    put(begun, slow, tmp_path, ["config.json"])
    winner = storage.begin(VERSION, quick.digest, replace_unfinished=True)
    put(winner, quick, tmp_path, quick.files)
    time.sleep(0.02)
    with pytest.raises(Conflict, match="took over"):
        put(begun, slow, tmp_path, ["config.json"])
    finish(winner, quick)
    assert_holds(storage, str(VERSION), quick)


def test_tag_moved_meanwhile(objects: Interrupted, storage: Storage, tmp_path: Path) -> None:
    from hoist.storage.base import Tag

    tags = [Tag("sd15/any", "latest", label, small("one").digest) for label in ("v1", "v2", "v3")]
    for label in ("v1", "v2", "v3"):
        publish(storage, f"sd15/any:{label}", small("one"), tmp_path)
    storage.set_tag(tags[0])
    objects.before["swap", layout.tag_key("sd15/any", "latest")] = lambda: storage.set_tag(tags[1])
    with pytest.raises(Conflict, match="moved"):
        storage.set_tag(tags[2])
    assert storage.find_tag("sd15/any", "latest") == tags[1]


def test_broken_small_documents(objects: Interrupted, storage: Storage, tmp_path: Path) -> None:
    for data in (b"", b"[1]", b"\xff\xfe", b'{"digest": 5, "started": "x"}'):
        objects.put(layout.claim_key(VERSION), data)
        with pytest.raises(Conflict, match="unfinished"):
            storage.begin(VERSION, small("one").digest)
        objects.put(layout.tag_key("b", "latest"), data)
        assert storage.find_tag("b", "latest") is not None
    publish(storage, str(VERSION), small("one"), tmp_path, replace_unfinished=True)
    assert_holds(storage, str(VERSION), small("one"))


def test_marker_that_outlived_its_version(objects: Interrupted, storage: Storage, tmp_path: Path) -> None:
    content = Content({"large.bin": sample("large", layout.MARKED_FROM_BYTES)})
    entry = content.entries["large.bin"]
    objects.put(layout.marker_key(entry.digest, ver("gone:v1")), b"")
    objects.put(layout.marker_key(entry.digest, ver("other:v1")), b"")
    publish(storage, "other:v1", small("other"), tmp_path)
    assert not storage.begin(VERSION, content.digest).adopt(entry)
    objects.put(layout.manifest_key(ver("gone:v1")), content.manifest.data)
    # The holder's manifest is there, its file is not.
    assert not storage.begin(VERSION, content.digest).adopt(entry)
