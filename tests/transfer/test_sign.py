"""Signed versions in storages of all kinds: opened only if they are signed where that is required, copied with their
signatures, and nothing left of those when they go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hoist.config import EngineConfig
from hoist.errors import HoistWarning, InvalidConfig, StorageUnavailable, Unsigned, UsageError
from hoist.model.reference import Reference, parse_reference
from hoist.progress import Progress
from hoist.read.signed import find_signatures, signed_by
from hoist.read.version import OpenedVersion, open_version
from hoist.storage import layout
from hoist.storage.base import Storage, Version
from hoist.storage.memory import MemoryObjects
from hoist.storage.objects import ObjectInfo, Stamped
from hoist.storage.tree import TreeStorage
from hoist.storage.wrap import Faulty, Wrapper
from hoist.transfer.collect import collect_storage
from hoist.transfer.copy import Options, copy_version
from hoist.transfer.sign import find_signature, sign_version
from hoist.transfer.verify import verify_version
from makers import V1, directory_storage, memory_storage, noise, opened, publish, write_files
from signing_making import Pair, make_pair
from storage_fixtures import KINDS, Opener

pytest_plugins = ["storage_fixtures"]
FILES = {"config.json": b"{}", "weights.bin": noise(70_000, 1)}
ONE = Version("m/one", "v1")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Pair]:
    folder = tmp_path_factory.mktemp("keys")
    return make_pair(folder, "release"), make_pair(folder, "other")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_files(tmp_path / "source", FILES)


def unchecked(storage: Storage, reference: Reference = V1) -> OpenedVersion:
    return open_version(storage, reference, check=False)


def requiring(storage: Storage, *pairs: Pair) -> Storage:
    """The storage, set to require a signature by one of these keys."""
    storage.required_signers = (tuple(str(pair.public) for pair in pairs),)
    return storage


class Told(Wrapper):
    """Notes what is written, in order."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.told: list[str] = []

    def before(self, operation: str, size: int) -> None:
        if operation in ("commit", "add_signature", "set_tag"):
            self.told.append(operation)


@pytest.mark.parametrize("kind", KINDS)
def test_published_signed_copied_everywhere_and_removed(
    kind: str, place: Opener, keys: tuple[Pair, Pair], source: Path
) -> None:
    good, other = keys
    storage = place(kind)
    told = Told(storage)
    done = publish(source, told, signer=good.signer(), tags=["stable"])
    assert done.signed_by == str(good.private)
    # A signature of a version that is not there vouches for nothing; a tag of one that is not signed leads to nothing.
    assert told.told == ["commit", "add_signature", "set_tag"]
    version = opened(requiring(storage, good, other))
    assert verify_version(version, Progress(), storage.required_signers).signed_by == str(good.public)
    assert verify_version(version, Progress(), [[str(good.public)]]).signed_by == str(good.public)
    with pytest.raises(Unsigned, match="it is by another key"):
        verify_version(version, Progress(), [[str(other.public)]])
    again = publish(source, storage, signer=good.signer())
    assert (again.already, again.signed_by, len(storage.signatures(ONE))) == (True, str(good.private), 1)

    targets = [Told(place(each)) for each in KINDS]
    copied = copy_version(version, targets, Options(tags=["stable"], retry_seconds=20.0), Progress())
    for each, target in zip(copied, targets, strict=True):
        assert (each.error, each.signatures) == (None, 1)
        assert target.told[-2:] == ["add_signature", "set_tag"]
        assert opened(requiring(target.inner, good), parse_reference("m/one:stable")).version == ONE
    # Signed since: a copy brings it to where the version is already.
    sign_version(storage, ONE, version.manifest, other.signer())
    copied = copy_version(version, targets, Options(retry_seconds=20.0), Progress())
    assert [(each.error, each.already, each.signatures) for each in copied] == [(None, True, 1)] * len(KINDS)
    for target in targets:
        assert sorted(target.signatures(ONE)) == sorted(storage.signatures(ONE))
        target.remove_tag("m/one", "stable")
        target.remove(ONE)
        publish(source, target)
        assert not target.signatures(ONE)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unsigned_version_is_not_opened_where_signatures_are_required(
    kind: str, place: Opener, keys: tuple[Pair, Pair], source: Path
) -> None:
    good, other = keys
    storage = requiring(place(kind), good)
    with pytest.warns(HoistWarning, match="does not open it"):
        publish(source, storage)
    with pytest.raises(Unsigned, match="it has none by them"):
        opened(storage)
    manifest = unchecked(storage).manifest
    sign_version(storage, ONE, manifest, other.signer())
    with pytest.raises(Unsigned, match="it is by another key"):
        opened(storage)
    (found,) = find_signatures(storage, ONE, manifest)
    assert (found.trusted, found.problem, len(found.key)) == ("", "", 64)
    assert not sign_version(storage, ONE, manifest, good.signer()).already
    assert sign_version(storage, ONE, manifest, good.signer()).already
    assert opened(storage).read("config.json") == b"{}"
    found_by = {each.trusted for each in find_signatures(storage, ONE, manifest)}
    assert found_by == {"", str(good.public)}


class Asked(MemoryObjects):
    """Notes which keys are asked for, and what is listed."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def get(self, key: str) -> Stamped:
        self.asked.append(key)
        return super().get(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self.asked.append(f"list {prefix}")
        return super().list(prefix)


def test_it_costs_a_load_one_request_for_each_key(keys: tuple[Pair, Pair], source: Path) -> None:
    objects = Asked()
    storage = TreeStorage(objects, "nas")
    publish(source, storage, signer=keys[0].signer())
    objects.asked.clear()
    opened(storage)
    plain = list(objects.asked)
    objects.asked.clear()
    opened(requiring(storage, keys[0]))
    assert objects.asked[: len(plain)] == plain
    (more,) = objects.asked[len(plain) :]
    assert layout.is_signature(more)


def test_what_lies_in_a_signatures_place_is_not_believed(keys: tuple[Pair, Pair], source: Path) -> None:
    good, other = keys
    storage = memory_storage()
    publish(source, storage, signer=good.signer())
    manifest = opened(storage).manifest
    (right,) = storage.signatures(ONE)
    (info,) = [each for each in storage.objects.list(layout.VERSIONS) if layout.is_signature(each.key)]
    elsewhere = other.signer().sign(str(ONE), manifest)
    another = good.signer().sign("m/one:v2", manifest)
    for data in (b"", right[:-10], elsewhere, another, b"x" * 100):
        storage.objects.put(info.key, data)
        with pytest.raises(Unsigned):
            opened(requiring(storage, good))
        storage.required_signers = ()
    # A good one at another place is found all the same.
    storage.objects.put(layout.signature_key(ONE, "f" * 64), right)
    assert signed_by(storage, ONE, manifest, [str(good.public)]) == str(good.public)


def test_all_groups_have_to_have_signed(keys: tuple[Pair, Pair], source: Path) -> None:
    good, other = keys
    storage = memory_storage()
    publish(source, storage, signer=good.signer())
    storage.required_signers = ((str(good.public),), (str(other.public),))
    with pytest.raises(Unsigned, match=r"other\.pub"):
        opened(storage)
    sign_version(storage, ONE, unchecked(storage).manifest, other.signer())
    opened(storage)


def test_a_storage_that_is_down_and_a_key_that_is_gone_open_nothing(keys: tuple[Pair, Pair], source: Path) -> None:
    class Down(Wrapper):
        def before(self, operation: str, size: int) -> None:
            if operation == "signatures":
                raise StorageUnavailable("down")

    storage = memory_storage()
    publish(source, storage, signer=keys[0].signer())
    with pytest.raises(StorageUnavailable):
        opened(requiring(Down(storage), keys[0]), config=EngineConfig(retry_seconds=0.0))
    storage.required_signers = (("/nowhere/release.pub",),)
    with pytest.raises(InvalidConfig, match=r"/nowhere/release\.pub"):
        opened(storage)


def test_which_signature_is_given_out(keys: tuple[Pair, Pair], source: Path) -> None:
    good, other = keys
    storage = memory_storage()
    publish(source, storage)
    manifest = opened(storage).manifest
    with pytest.raises(Unsigned, match="has no signature"):
        find_signature(storage, ONE, manifest, [])
    sign_version(storage, ONE, manifest, good.signer())
    mine = find_signature(storage, ONE, manifest, [])
    with pytest.raises(Unsigned):
        find_signature(storage, ONE, manifest, [str(other.public)])
    sign_version(storage, ONE, manifest, other.signer())
    with pytest.raises(UsageError, match="--signed-by"):
        find_signature(storage, ONE, manifest, [])
    assert find_signature(storage, ONE, manifest, [str(good.public)]) == mine
    assert find_signature(storage, ONE, manifest, [str(other.public)]) != mine


def test_collecting_spares_signatures_of_versions_and_takes_those_of_none(
    keys: tuple[Pair, Pair], source: Path, tmp_path: Path
) -> None:
    storage = directory_storage(tmp_path / "root")
    publish(source, storage, signer=keys[0].signer())
    sign_version(storage, ONE, opened(storage).manifest, keys[1].signer())
    (gone, _) = storage.signatures(ONE)
    storage.objects.put(layout.signature_key(Version("m/one", "v0"), "a" * 64), gone)
    found = collect_storage(storage, grace_seconds=-10.0, delete=True)
    assert [each.name for each in found.deleted] == [layout.signature_key(Version("m/one", "v0"), "a" * 64)]
    assert len(found.found) == 1
    assert len(storage.signatures(ONE)) == 2
    opened(requiring(storage, keys[0]))
    assert not storage.leftovers(float("inf"))


def failing(storage: Storage) -> Faulty:
    """The storage, where no signature can be kept."""
    return Faulty(storage, fail=1.0, only=frozenset({"add_signature"}), error=StorageUnavailable("lost in the middle"))


def test_a_publish_that_ends_before_its_signature_is_signed_by_the_next_run(
    keys: tuple[Pair, Pair], source: Path
) -> None:
    storage = memory_storage()
    for again in (False, True):
        with pytest.raises(StorageUnavailable, match="in the middle"):
            publish(source, failing(storage), signer=keys[0].signer(), tags=["stable"])
        assert list(storage.versions()) == [ONE]
        assert not storage.signatures(ONE)
        assert list(storage.tags()) == [], again
    done = publish(source, storage, signer=keys[0].signer(), tags=["stable"])
    assert done.already
    assert [tag.tag for tag in storage.tags()] == ["stable"]
    opened(requiring(storage, keys[0]))


@pytest.mark.parametrize("kind", ["directory", "layout"])
def test_a_copy_that_ends_before_its_signature_moves_no_tag(
    kind: str, place: Opener, keys: tuple[Pair, Pair], source: Path
) -> None:
    storage, target = memory_storage(), place(kind)
    publish(source, storage, signer=keys[0].signer())
    version = opened(storage)
    options = Options(tags=["stable"], retry_seconds=0.0)
    (lost,) = copy_version(version, [failing(target)], options, Progress())
    assert isinstance(lost.error, StorageUnavailable)
    assert list(target.tags()) == []
    (done,) = copy_version(version, [target], options, Progress())
    assert (done.error, done.already, done.signatures, done.tags) == (None, True, 1, ("stable",))
    opened(requiring(target, keys[0]))


def test_a_source_whose_signatures_cannot_be_read_is_not_copied_without_them(
    keys: tuple[Pair, Pair], source: Path
) -> None:
    storage, target = memory_storage(), memory_storage()
    publish(source, storage, signer=keys[0].signer())
    blind = Faulty(storage, fail=1.0, only=frozenset({"signatures"}), error=StorageUnavailable("not now"))
    with pytest.raises(StorageUnavailable, match="not now"):
        copy_version(opened(blind), [target], Options(retry_seconds=0.0), Progress())
    assert list(target.versions()) == []
