"""Copies between storages of all kinds: the same version everywhere, nothing sent twice, nothing half-visible."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hoist.config import EngineConfig, StorageConfig
from hoist.errors import Conflict, DamagedBlock, HoistError, PermissionDenied, StorageUnavailable
from hoist.model.reference import Reference, parse_reference
from hoist.progress import Progress
from hoist.storage import layout, open_storage
from hoist.storage.base import Publication, Storage, Tag, Version
from hoist.storage.tree import TreeStorage
from hoist.storage.wrap import Counting, Faulty
from hoist.testing.servers import DockerRegistry
from hoist.transfer import feed
from hoist.transfer.copy import Copied, Options, copy_version
from hoist.transfer.copy_plan import look_ahead
from hoist.transfer.verify import verify_version
from makers import V1, directory_storage, memory_storage, noise, opened, publish, put_version, write_files
from storage_fixtures import KINDS, Opener

pytest_plugins = ["storage_fixtures"]
MIB = 1 << 20
# Empty, small, of middling size, and one that goes in parts; one content twice.
FILES = {
    "config.json": b"{}",
    "empty": b"",
    "again/config.json": b"{}",
    "middle.bin": noise(2 * MIB, 1),
    "unet/weights.bin": noise(18 * MIB, 2),
    "vae/weights.bin": noise(5 * MIB, 3),
}


def copy(
    source: Storage, *targets: Storage, reference: Reference = V1, quick: bool = False, **options: object
) -> list[Copied]:
    config = EngineConfig(retry_seconds=0.0 if quick else 20.0)
    given = Options(retry_seconds=config.retry_seconds, **options)  # type: ignore[arg-type]
    return copy_version(opened(source, reference, config), targets, given, Progress())


def right(storage: Storage, reference: Reference = V1) -> None:
    assert not verify_version(opened(storage, reference), Progress()).damaged


def versions(storage: Storage) -> list[Version]:
    return list(storage.versions())


@pytest.mark.parametrize("kind", ["directory", "radosgw", "registry"])
def test_from_any_kind_to_all_kinds_the_source_is_read_once(kind: str, place: Opener, tmp_path: Path) -> None:
    source = place(kind)
    digest = publish(write_files(tmp_path / "src", FILES), source).digest
    counted = Counting(source)
    targets = [place(other) for other in KINDS]
    done = copy(counted, *targets, tags=["stable"])
    size = sum(map(len, FILES.values()))
    for each, target in zip(done, targets, strict=True):
        assert each.error is None
        assert (each.digest, each.size, each.tags) == (digest, size, ("stable",))
        assert each.sent_bytes + each.copied_bytes == size
        right(target)
        found = opened(target, parse_reference("m/one:stable"))
        assert found.manifest.digest == digest
        assert all(found.read(path) == data for path, data in FILES.items() if len(data) < MIB)
    assert size * 0.9 < counted.bytes["read_into"] <= size * 1.02
    assert done[0].read_bytes <= size * 1.02
    assert all(each.already and not each.sent_bytes for each in copy(source, *targets))


@pytest.mark.parametrize("kind", ["registry", "layout"])
def test_an_image_goes_to_another_place_as_it_is_and_within_one_by_mounting(
    kind: str, place: Opener, docker_registry: DockerRegistry, tmp_path: Path
) -> None:
    source, other = place("registry"), place(kind)
    publish(write_files(tmp_path / "src", FILES), source)
    (done,) = copy(source, other)
    right(other)
    # The blobs, with what is around the files in them.
    size = sum(map(len, FILES.values()))
    moved = done.copied_bytes if kind == "registry" else done.sent_bytes
    assert size <= moved <= size * 1.01
    assert done.read_bytes == (0 if kind == "registry" else done.sent_bytes)


@pytest.mark.parametrize("kind", ["directory", "radosgw", "registry"])
def test_of_a_new_version_only_the_changed_file_moves(kind: str, place: Opener, tmp_path: Path) -> None:
    source, target = memory_storage(), place(kind)
    files = {f"{number:02}.bin": noise(4 * MIB, number) for number in range(6)}
    publish(write_files(tmp_path / "one", files), source, "m/one:v1")
    copy(source, target)
    files["03.bin"] = noise(4 * MIB, 99)
    publish(write_files(tmp_path / "two", files), source, "m/one:v2")
    counted = Counting(source)
    second = parse_reference("m/one:v2")
    outlook = look_ahead(opened(source, second), target, None)
    (done,) = copy(counted, target, reference=second)
    assert done.error is None
    assert done.sent_bytes == outlook.send_bytes == 4 * MIB
    assert done.copied_bytes == outlook.copy_bytes == 20 * MIB
    assert counted.bytes["read_into"] <= 4 * MIB * 1.02
    right(target, second)


def test_blocks_of_a_neighbour_version_are_copied_inside_a_bucket(place: Opener, tmp_path: Path) -> None:
    source, target = memory_storage(), place("radosgw")
    data = bytearray(noise(34 * MIB, 5))
    publish(write_files(tmp_path / "one", {"w.bin": bytes(data)}), source, "m/one:v1")
    copy(source, target)
    data[30 * MIB : 30 * MIB + 5] = b"other"
    publish(write_files(tmp_path / "two", {"w.bin": bytes(data)}), source, "m/one:v2")
    second = parse_reference("m/one:v2")
    (done,) = copy(source, target, reference=second)
    assert done.sent_bytes <= 16 * MIB
    assert done.sent_bytes + done.copied_bytes == 34 * MIB
    right(target, second)


def test_many_small_files_are_packed_in_a_bucket_and_read_from_its_packs(place: Opener, tmp_path: Path) -> None:
    files = {f"{number}.txt": noise(3000, number) for number in range(300)} | {"w.bin": noise(2 * MIB, 1)}
    first, bucket, last = place("directory"), place("radosgw"), place("directory")
    publish(write_files(tmp_path / "src", files), first)
    (done,) = copy(first, bucket)
    assert (done.packs, done.error) == (1, None)
    right(bucket)
    counted = Counting(bucket)
    assert copy(counted, last)[0].error is None
    assert counted.calls["read_pack"] < 20
    assert counted.calls["read_into"] < 20
    right(last)


def test_links_stay_links(place: Opener, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "src", {"a/weights.bin": noise(2 * MIB, 1)})
    (folder / "b.bin").symlink_to("a/weights.bin")
    first, bucket, last = place("directory"), place("radosgw"), place("directory")
    publish(folder, first)
    assert [each.error for each in copy(first, bucket, last)] == [None, None]
    right(bucket)
    assert isinstance(last, TreeStorage)
    path = last.local_path.__self__.objects.root / "m/one/v1/b.bin"  # type: ignore[attr-defined]
    assert path.is_symlink()
    assert path.read_bytes() == noise(2 * MIB, 1)


def test_a_damaged_source_is_refused_and_nothing_is_visible(place: Opener, tmp_path: Path) -> None:
    source = place("directory")
    publish(write_files(tmp_path / "src", FILES), source)
    assert isinstance(source, TreeStorage)
    path = source.objects.root / layout.file_key(Version("m/one", "v1"), "unet/weights.bin")  # type: ignore[attr-defined]
    with path.open("r+b") as file:
        file.seek(17 * MIB)
        file.write(b"damage")
    targets = [place(kind) for kind in KINDS]
    for each, target in zip(copy(source, *targets, tags=["stable"]), targets, strict=True):
        assert isinstance(each.error, DamagedBlock)
        assert versions(target) == []
        assert list(target.tags()) == []


def test_one_that_fails_holds_nobody_back(place: Opener, tmp_path: Path) -> None:
    source = memory_storage()
    publish(write_files(tmp_path / "src", FILES), source)
    other = memory_storage()
    put_version(other, {"f": b"something else"}, MIB)
    broken = Faulty(memory_storage(), fail=1.0, error=PermissionDenied("read-only"), only=frozenset({"put_part"}))
    down = Faulty(memory_storage(), fail=1.0, error=StorageUnavailable("down"), only=frozenset({"read_manifest"}))
    good = place("radosgw")
    counted = Counting(source)
    done = copy(counted, other, broken, good, down, quick=True)
    assert [type(each.error) for each in done] == [Conflict, PermissionDenied, type(None), StorageUnavailable]
    right(good)
    assert (versions(broken.inner), versions(down.inner)) == ([], [])
    assert counted.bytes["read_into"] <= sum(map(len, FILES.values())) * 1.02


def test_a_directory_goes_on_with_what_it_has(place: Opener, tmp_path: Path) -> None:
    source, target = memory_storage(), place("directory")
    publish(write_files(tmp_path / "src", FILES), source)
    with_faults = Faulty(target, fail=0.5, error=PermissionDenied("now and then"), only=frozenset({"put_part"}), seed=3)
    for _ in range(10):
        (done,) = copy(source, with_faults, quick=True)
        if done.error is None:
            break
        assert versions(target) == []
    assert done.error is None
    assert done.resumed_bytes > 0
    assert done.sent_bytes + done.resumed_bytes == sum(map(len, FILES.values()))
    right(target)


@pytest.mark.parametrize("kind", ["directory", "radosgw", "registry"])
def test_two_copies_at_once_make_one_version(kind: str, place: Opener, tmp_path: Path) -> None:
    source, target = memory_storage(), place(kind)
    publish(write_files(tmp_path / "src", FILES), source)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: copy(source, target)[0], range(2)))
    # One may find that the other ended just now; run again, it finds the version.
    assert any(each.error is None for each in both)
    assert all(each.error is None or isinstance(each.error, Conflict) for each in both), both
    assert versions(target) == [Version("m/one", "v1")]
    assert copy(source, target)[0].already
    right(target)


def test_passing_errors_of_either_side_are_tried_again(tmp_path: Path) -> None:
    source, target = memory_storage(), memory_storage()
    publish(write_files(tmp_path / "src", FILES), source)
    reads = Faulty(source, fail=0.2, flip=0.2, only=frozenset({"read_into"}), seed=1)
    writes = Faulty(target, fail=0.3, only=frozenset({"put_part", "place"}), seed=2)
    (done,) = copy(reads, writes)
    assert done.error is None
    right(target)


def test_bounded_memory_and_targets_that_go_at_their_own_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for two pieces only, and parts of all targets cut anew, nobody waits for ever."""
    source = memory_storage()
    publish(write_files(tmp_path / "src", FILES | {"more.bin": noise(34 * MIB, 7)}), source)
    monkeypatch.setattr(feed.Feed.__init__, "__defaults__", (18 * MIB,))
    slow = Faulty(memory_storage(), fail=0.3, only=frozenset({"put_part"}), seed=5)
    layout_target = open_storage(StorageConfig("l", f"oci-layout://{tmp_path / 'l'}"), {"HOME": str(tmp_path)})
    targets = [memory_storage(), slow, directory_storage(tmp_path / "d"), layout_target]
    assert [each.error for each in copy(source, *targets)] == [None] * 4
    for target in targets:
        right(target)


def test_tags_come_last_and_a_tag_in_the_way_is_told(tmp_path: Path) -> None:
    source, target = memory_storage(), memory_storage()
    publish(write_files(tmp_path / "src", {"a": b"1"}), source, "m/one:v1")
    publish(write_files(tmp_path / "other", {"a": b"2"}), target, "m/one:v0")
    target.set_tag(Tag("m/one", "v1", "v0", opened(target, parse_reference("m/one:v0")).manifest.digest))
    (done,) = copy(source, target)
    assert isinstance(done.error, Conflict)
    with pytest.raises(HoistError, match="is a tag"):
        look_ahead(opened(source), target, None)
    assert versions(target) == [Version("m/one", "v0")]


def test_a_storage_that_only_takes_files_gets_them_by_a_temporary_one(tmp_path: Path) -> None:
    source, target = memory_storage(), memory_storage()
    publish(write_files(tmp_path / "src", FILES), source)
    target.objects.staged_from = None  # type: ignore[misc]
    (done,) = copy(source, target)
    assert (done.error, done.sent_bytes) == (None, sum(map(len, FILES.values())))
    right(target)


def test_a_version_that_appears_meanwhile_with_other_content_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = memory_storage(), memory_storage()
    publish(write_files(tmp_path / "src", {"a": b"1"}), source)
    begin = TreeStorage.begin

    def late(self: TreeStorage, version: Version, digest: str, *, replace_unfinished: bool = False) -> Publication:
        if self is target:
            monkeypatch.setattr(TreeStorage, "begin", begin)
            put_version(target, {"a": b"2"}, MIB)
        return begin(self, version, digest, replace_unfinished=replace_unfinished)

    monkeypatch.setattr(TreeStorage, "begin", late)
    (done,) = copy(source, target)
    assert isinstance(done.error, Conflict)
    assert opened(target).read("a") == b"2"
