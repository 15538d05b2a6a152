"""The logical storage with members that fail, hang, lie, lack versions, or hold others of the same name."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from any_members import DOWN, FILE, ONE, TWO, V1, Losable, any_of, member

from hoist.errors import (
    Damaged,
    FileNotFound,
    HoistError,
    HoistWarning,
    LocalError,
    PermissionDenied,
    StorageNotFound,
    StorageUnavailable,
    VersionNotFound,
)
from hoist.read.engine import Engine
from hoist.read.version import open_version
from hoist.storage.any.storage import AnyStorage
from hoist.storage.base import StoredFile, Tag
from hoist.testing.conformance.base import publish, read_file, ref
from makers import QUICK, directory_storage

STORED = StoredFile(V1, ONE.entries[FILE])
DATA = ONE.files[FILE]
Pair = tuple[AnyStorage, Losable, Losable]


@pytest.fixture(params=[True, False], ids=["in the caller's thread", "in a thread of its own"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    """Two members that hold the same version, read in either way."""
    eu, us = (member(name, ("m/one:v1", ONE), folder=tmp_path, gives_up=request.param) for name in ("eu", "us"))
    storage = any_of([eu, us])
    yield storage, eu, us
    for each in (eu, us):
        each.be_well()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is silent is found out sooner, for tests whose members are all silent or well."""
    monkeypatch.setattr("hoist.storage.any.asking.UNKNOWN_SECONDS", 0.4)
    monkeypatch.setattr("hoist.storage.any.member.UNKNOWN_SECONDS", 0.4)
    monkeypatch.setattr("hoist.storage.any.usual.LEAST_SECONDS", 0.4)
    monkeypatch.setattr("hoist.storage.any.breaker.FIRST_REST_SECONDS", 0.2)


def read(storage: AnyStorage) -> bytes:
    return read_file(storage, V1, ONE.entries[FILE])


def until(condition: object, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_first_is_read_while_it_is_well(pair: Pair) -> None:
    storage, eu, us = pair
    assert [read(storage) for _ in range(5)] == [DATA] * 5
    assert (eu.reads(), us.reads()) == (5, 0)


@pytest.mark.parametrize(
    "error",
    [
        DOWN,
        FileNotFound("gone"),
        PermissionDenied("no"),
        Damaged("short"),
        StorageNotFound("no bucket"),
        LocalError("?"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_member_raises_the_next_one_is_read(pair: Pair, error: HoistError) -> None:
    storage, eu, us = pair
    assert read(storage) == DATA
    eu.error = error
    assert [read(storage) for _ in range(6)] == [DATA] * 6
    assert us.reads() == 6
    assert eu.reads() <= 1 + 3


def test_the_first_is_read_again_when_it_is_back(pair: Pair) -> None:
    storage, eu, us = pair
    assert read(storage) == DATA
    eu.error = DOWN
    until(lambda: read(storage) == DATA and storage.health()[0].state != "closed")
    assert storage.health()[0].problem == "the region is down"
    eu.be_well()
    until(lambda: read(storage) == DATA and storage.health()[0].state == "closed")
    before = us.reads()
    assert read(storage) == DATA
    assert us.reads() == before


def test_all_are_lost(pair: Pair) -> None:
    storage, eu, us = pair
    assert read(storage) == DATA
    eu.error = us.error = DOWN
    for _ in range(8):
        with pytest.raises(StorageUnavailable, match=r"eu.*us"):
            read(storage)
    us.be_well()
    # Where nobody is well, those that are left alone are asked all the same.
    assert read(storage) == DATA


def test_a_member_that_hangs_holds_neither_the_reader_nor_its_memory(hurried: None, tmp_path: Path) -> None:
    eu, us = (member(name, ("m/one:v1", ONE), folder=tmp_path) for name in ("eu", "us"))
    storage = any_of([eu, us])
    for _ in range(8):
        assert read(storage) == DATA
    eu.hang()
    buffer = bytearray(len(DATA))
    storage.read_into(STORED, 0, memoryview(buffer))
    assert buffer == DATA
    assert storage.health()[0].state == "open"
    buffer[:] = bytes(len(DATA))
    # A bytearray that somebody still refers to cannot be resized.
    buffer.extend(b"more")
    eu.be_well()
    until(lambda: read(storage) == DATA and storage.health()[0].state == "closed")
    assert not any(buffer[: len(DATA)])


def test_what_hangs_for_ever_keeps_few_threads(hurried: None, tmp_path: Path) -> None:
    eu, us = (member(name, ("m/one:v1", ONE), folder=tmp_path) for name in ("eu", "us"))
    storage = any_of([eu, us])
    for _ in range(8):
        assert read(storage) == DATA
    eu.hang()
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert read(storage) == DATA
    hanging = [each for each in threading.enumerate() if each.name.startswith("hoist-any-eu")]
    # The read that found it, and one probe.
    assert len(hanging) <= 2
    storage.close()
    eu.be_well()


def test_a_silent_member_does_not_hold_what_is_small(hurried: None, pair: Pair) -> None:
    storage, eu, _ = pair
    eu.hang()
    found, manifest = storage.resolve(ref("m/one:v1"))
    assert (found, manifest.digest) == (V1, ONE.digest)
    assert storage.health()[0].state == "open"
    # From now on nobody waits for it.
    before = len(eu.calls)
    for _ in range(3):
        assert storage.read_blob(V1, manifest.blocks.digest, manifest.blocks.size) == ONE.table
    assert len(eu.calls) <= before + 1


@pytest.mark.parametrize("flipping", ["eu", "us"])
def test_flipped_bits_are_never_handed_out(pair: Pair, flipping: str) -> None:
    storage, eu, us = pair
    (eu if flipping == "eu" else us).flips = True
    opened = open_version(storage, ref("m/one:v1"), Engine(QUICK))
    assert opened.read(FILE) == DATA
    assert opened.read(FILE) == DATA


def test_the_one_good_member_serves_what_the_others_have_wrong(tmp_path: Path) -> None:
    bad = [member(name, ("m/one:v1", ONE), folder=tmp_path, gives_up=True) for name in ("eu", "us")]
    for each in bad:
        each.flips = True
    good = member("ap", ("m/one:v1", ONE), folder=tmp_path, gives_up=True)
    opened = open_version(any_of([*bad, good]), ref("m/one:v1"), Engine(QUICK))
    assert opened.read(FILE) == DATA


def test_versions_of_one_name_are_never_mixed(tmp_path: Path) -> None:
    eu = member("eu", ("m/one:v1", ONE), folder=tmp_path)
    us = member("us", ("m/one:v1", TWO), folder=tmp_path)
    storage = any_of([eu, us])
    version, manifest = storage.resolve(ref("m/one:v1"))
    assert manifest.digest == ONE.digest
    eu.error = DOWN
    with pytest.raises(StorageUnavailable, match="eu"):
        read(storage)
    assert us.reads() == 0
    # Whoever asks for the other by its digest has it.
    assert storage.resolve(ref(f"m/one@{TWO.digest}"))[1].digest == TWO.digest
    assert read_file(storage, version, TWO.entries[FILE]) == TWO.files[FILE]


def test_a_version_that_only_the_second_has(tmp_path: Path) -> None:
    eu, us = member("eu", folder=tmp_path), member("us", ("m/one:v1", ONE), folder=tmp_path)
    storage = any_of([eu, us])
    assert storage.resolve(ref("m/one:v1"))[1].digest == ONE.digest
    assert read(storage) == DATA
    eu.error = DOWN
    assert read(storage) == DATA
    with pytest.raises(StorageUnavailable, match="eu"):
        storage.read_manifest(type(V1)("m/one", "v2"))
    eu.be_well()
    with pytest.raises(VersionNotFound, match="v1"):
        storage.resolve(ref("m/one:v2"))


def test_a_version_that_comes_to_a_member_later(tmp_path: Path) -> None:
    eu, us = member("eu", folder=tmp_path), member("us", ("m/one:v1", ONE), folder=tmp_path)
    storage = any_of([eu, us])
    assert read(storage) == DATA
    publish(storage, "m/one:v1", ONE, tmp_path)
    before = us.reads()
    assert read(storage) == DATA
    assert us.reads() == before
    assert eu.reads() == 1


def test_a_tag_means_what_the_first_that_answers_says(tmp_path: Path) -> None:
    both = (("m/one:v1", ONE), ("m/one:v2", TWO))
    eu, us = member("eu", *both, folder=tmp_path), member("us", *both, folder=tmp_path)
    eu.set_tag(Tag("m/one", "stable", "v2", TWO.digest))
    us.set_tag(Tag("m/one", "stable", "v1", ONE.digest))
    storage = any_of([eu, us])
    assert storage.resolve(ref("m/one:stable"))[0].label == "v2"
    eu.error = DOWN
    assert storage.resolve(ref("m/one:stable"))[0].label == "v1"
    assert storage.find_tag("m/one", "stable") == Tag("m/one", "stable", "v1", ONE.digest)


def test_a_tag_is_found_while_another_member_is_down(tmp_path: Path) -> None:
    eu, us = (member(name, ("m/one:v1", ONE), folder=tmp_path) for name in ("eu", "us"))
    eu.set_tag(Tag("m/one", "stable", "v1", ONE.digest))
    us.error = DOWN
    assert any_of([eu, us]).resolve(ref("m/one:stable"))[1].digest == ONE.digest


def test_lists_are_of_all_that_answer_and_say_who_does_not(tmp_path: Path) -> None:
    eu = member("eu", ("m/one:v1", ONE), ("m/a:v1", TWO), folder=tmp_path)
    us = member("us", ("m/one:v1", ONE), ("m/b:v1", TWO), folder=tmp_path)
    us.set_tag(Tag("m/one", "stable", "v1", ONE.digest))
    storage = any_of([eu, us])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [str(version) for version in storage.versions()] == ["m/a:v1", "m/b:v1", "m/one:v1"]
        assert [version for version, _ in storage.dated_versions()] == list(storage.versions())
        assert [tag.tag for tag in storage.tags()] == ["stable"]
    seen, tags = storage.survey()
    assert (list(seen), [tag.tag for tag in tags]) == (list(storage.versions()), ["stable"])
    us.error = DOWN
    with pytest.raises(StorageUnavailable, match="us: the region is down"):
        storage.survey()
    with pytest.warns(HoistWarning, match="without us.*the region is down"):
        assert [str(version) for version in storage.versions()] == ["m/a:v1", "m/one:v1"]
    eu.error = DOWN
    with pytest.raises(StorageUnavailable, match="eu"):
        list(storage.versions())


def test_a_list_does_not_wait_for_who_is_silent(hurried: None, tmp_path: Path) -> None:
    eu, us = (member(name, ("m/one:v1", ONE), folder=tmp_path) for name in ("eu", "us"))
    storage = any_of([eu, us])
    us.hang()
    with pytest.warns(HoistWarning, match="without us"):
        assert list(storage.versions()) == [V1]
    us.be_well()


def test_a_list_that_takes_long_is_waited_for(hurried: None, tmp_path: Path) -> None:
    eu, us = (member(name, ("m/one:v1", ONE), folder=tmp_path) for name in ("eu", "us"))
    storage = any_of([eu, us])
    us.only = frozenset(["versions"])
    us.hang()
    threading.Timer(1.0, us.be_well).start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(storage.versions()) == [V1]


def test_writing_goes_to_the_first_and_says_so_when_that_is_down(tmp_path: Path) -> None:
    eu, us = member("eu", folder=tmp_path), member("us", folder=tmp_path)
    storage = any_of([eu, us])
    publish(storage, "m/one:v1", ONE, tmp_path)
    storage.set_tag(Tag("m/one", "stable", "v1", ONE.digest))
    assert list(eu.versions()) == [V1]
    assert [*us.versions(), *us.tags()] == []
    eu.error = DOWN
    with pytest.raises(StorageUnavailable, match=r"publishing goes to its first member, eu.*hoist copy"):
        storage.begin(V1, ONE.digest)
    with pytest.raises(StorageUnavailable, match="tagging goes to its first member, eu"):
        storage.set_tag(Tag("m/one", "stable", "v1", ONE.digest))


def test_removing_is_from_all_that_have_it(tmp_path: Path) -> None:
    eu, us = member("eu", folder=tmp_path), member("us", ("m/one:v1", ONE), folder=tmp_path)
    us.set_tag(Tag("m/one", "stable", "v1", ONE.digest))
    storage = any_of([eu, us])
    storage.remove_tag("m/one", "stable")
    storage.remove(V1)
    assert [*us.versions(), *us.tags()] == []
    with pytest.raises(VersionNotFound):
        storage.remove(V1)
    with pytest.raises(VersionNotFound):
        storage.remove_tag("m/one", "stable")
    publish(storage, "m/one:v1", ONE, tmp_path)
    us.error = DOWN
    with pytest.raises(StorageUnavailable, match=r"not removed everywhere: us"):
        storage.remove(V1)
    assert list(eu.versions()) == []


def test_a_member_that_cannot_be_opened_is_down(tmp_path: Path) -> None:
    us = member("us", ("m/one:v1", ONE), folder=tmp_path)

    def no() -> Losable:
        raise LocalError("no library for it")

    storage = AnyStorage("models", [("eu", no), ("us", lambda: us)])
    assert storage.resolve(ref("m/one:v1"))[1].digest == ONE.digest
    assert read(storage) == DATA
    assert storage.health()[0].problem == "eu cannot be opened: no library for it"
    with pytest.raises(StorageUnavailable, match="no library for it"):
        AnyStorage("models", [("eu", no)])


def test_a_local_member_is_mapped_while_it_is_the_nearest(tmp_path: Path) -> None:
    near = directory_storage(tmp_path / "near")
    publish(near, "m/one:v1", ONE, tmp_path)
    far = member("far", ("m/one:v1", ONE), folder=tmp_path)
    storage = any_of([near, far])
    storage.resolve(ref("m/one:v1"))
    assert storage.local_path(STORED) == near.local_path(STORED)
    assert storage.is_local(STORED)
    (tmp_path / "near/m/one/v1" / FILE).unlink()
    assert read(storage) == DATA
    assert storage.local_path(STORED) is None
    other = any_of([far, near])
    other.resolve(ref("m/one:v1"))
    assert not other.is_local(STORED)


def test_threads_that_fail_over_at_once_look_once(pair: Pair) -> None:
    storage, eu, us = pair
    assert read(storage) == DATA
    eu.error = DOWN
    wrong: list[bytes] = []

    def work() -> None:
        for _ in range(10):
            data = read(storage)
            if data != DATA:
                wrong.append(data)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong
    assert us.calls.count("read_manifest") == 1
