"""The wrappers: each does its one thing, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hoist.errors import HoistError, PermissionDenied, StorageUnavailable
from hoist.storage.base import Storage, StoredFile, Tag
from hoist.storage.memory import MemoryObjects
from hoist.storage.tree import TreeStorage
from hoist.storage.wrap import Counting, EventualListing, Faulty, Latency, Throttled, Wrapper
from hoist.testing.conformance.base import publish, read_file, ref, small, ver

CONTENT = small("one")
FILE = StoredFile(ver("a:v1"), CONTENT.entries["unet/weights.bin"])


@pytest.fixture
def inner(tmp_path: Path) -> Storage:
    storage = TreeStorage(MemoryObjects("inner"), "accl")
    publish(storage, "a:v1", CONTENT, tmp_path)
    return storage


def read(storage: Storage, size: int = 1000) -> bytes:
    data = bytearray(size)
    storage.read_into(FILE, 0, memoryview(data))
    return bytes(data)


def test_wrapper_looks_like_what_it_wraps(inner: Storage) -> None:
    for wrapped in (Wrapper(inner), Counting(inner), Latency(inner, 0), Throttled(inner, 1e9), Faulty(inner)):
        assert (wrapped.address, wrapped.kind, wrapped.traits) == (inner.address, inner.kind, inner.traits)
        assert wrapped.exclusive() is inner.exclusive()


def test_every_abstract_method_is_passed_on() -> None:
    assert all(name in vars(Wrapper) for name in Storage.__abstractmethods__)


def test_a_listing_that_is_behind(inner: Storage, tmp_path: Path) -> None:
    behind = EventualListing(inner)
    publish(inner, "b:v1", CONTENT, tmp_path)
    inner.set_tag(Tag("b", "latest", "v1", CONTENT.digest))
    # Not listed, and there for who asks by name.
    assert list(behind.versions()) == [*behind.seen_versions()] == [ver("a:v1")]
    assert [*behind.versions("b"), *behind.tags(), *behind.seen_versions("b")] == []
    assert behind.resolve(ref("b:latest"))[0] == ver("b:v1")
    inner.remove(ver("a:v1"))
    assert [version for version, _ in behind.dated_versions()] == [ver("a:v1")]
    behind.catch_up()
    assert list(behind.versions()) == [ver("b:v1")]
    assert [tag.tag for tag in behind.tags("b")] == ["latest"]
    inner.remove_tag("b", "latest")
    assert list(behind.tags()) == []
    soon = EventualListing(inner, 0.0)
    publish(inner, "c:v1", CONTENT, tmp_path)
    assert ver("c:v1") in soon.seen_versions()


def test_counting(inner: Storage, tmp_path: Path) -> None:
    counted = Counting(inner)
    read(counted)
    read(counted, 10)
    list(counted.versions())
    counted.resolve(ref("a:v1"))
    publish(counted, "b:v1", CONTENT, tmp_path)
    counted.set_tag(Tag("b", "latest", "v1", CONTENT.digest))
    assert counted.calls["read_into"] == 2
    assert counted.bytes["read_into"] == 1010
    assert counted.calls["versions"] == counted.calls["read_manifest"] == counted.calls["begin"] == 1
    assert counted.calls["put_file"] == counted.calls["has"] == 2
    assert counted.bytes["put_file"] == 1064
    assert counted.bytes["put_blob"] == len(CONTENT.config) + len(CONTENT.table)
    assert counted.bytes["commit"] == len(CONTENT.manifest.data)
    assert counted.calls["set_tag"] == 1


def test_latency_is_added_to_each_operation(inner: Storage) -> None:
    slow = Latency(inner, 0.02)
    began = time.monotonic()
    for _ in range(3):
        read(slow)
    assert time.monotonic() - began >= 0.06


def test_throttle_holds_all_bytes_back(inner: Storage) -> None:
    slow = Throttled(inner, 50_000)
    began = time.monotonic()
    for _ in range(5):
        read(slow)
    assert time.monotonic() - began >= 5000 / 50_000


def test_faults_by_chance_and_seed(inner: Storage) -> None:
    def run(seed: int) -> list[bool]:
        faulty = Faulty(inner, fail=0.5, seed=seed)
        ended = []
        for _ in range(40):
            try:
                read(faulty)
                ended.append(True)
            except StorageUnavailable:
                ended.append(False)
        return ended

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert 5 < sum(run(1)) < 35


def test_faults_of_some_operations_and_of_a_kind(inner: Storage) -> None:
    faulty = Faulty(inner, fail=1.0, error=PermissionDenied("no"), only=frozenset({"versions"}))
    assert read(faulty) == CONTENT.files["unet/weights.bin"]
    with pytest.raises(PermissionDenied, match="no") as first:
        faulty.versions()
    with pytest.raises(PermissionDenied) as second:
        faulty.versions()
    assert first.value is not second.value
    with pytest.raises(HoistError, match="injected"):
        read(Faulty(inner, fail=1.0))


def test_faults_of_a_publication(inner: Storage, tmp_path: Path) -> None:
    faulty = Faulty(inner, fail=1.0, only=frozenset({"put_file"}))
    with pytest.raises(StorageUnavailable):
        publish(faulty, "b:v1", CONTENT, tmp_path)
    assert list(inner.versions("b")) == []


def test_flip_damages_one_bit(inner: Storage) -> None:
    right = int.from_bytes(CONTENT.files["unet/weights.bin"], "big")
    for seed in range(5):
        wrong = int.from_bytes(read(Faulty(inner, flip=1.0, seed=seed)), "big")
        assert (right ^ wrong).bit_count() == 1
    Faulty(inner, flip=1.0).read_into(FILE, 0, memoryview(bytearray()))
    assert read_file(inner, FILE.version, FILE.entry) == CONTENT.files["unet/weights.bin"]


def test_flips_by_chance_pass(inner: Storage) -> None:
    faulty, right = Faulty(inner, flip=0.9), CONTENT.files["unet/weights.bin"]
    rights = [read(faulty) == right for _ in range(60)]
    assert 20 <= sum(rights) < 40
    assert all(any(rights[at : at + 3]) for at in range(58))
