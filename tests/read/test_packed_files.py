"""Reading small files by packs: the right bytes whatever the packs are worth, and few requests where they are good."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hoist.config import EngineConfig
from hoist.errors import DamagedBlock, FileNotFound, StorageUnavailable
from hoist.model.packs import PACK_BELOW, Pack, PackIndex, lay_out
from hoist.read.pack_index import runs
from hoist.read.packs import PackedFiles
from hoist.storage import layout
from hoist.storage.base import Storage, Traits, Version
from hoist.storage.tree import TreeStorage
from hoist.storage.wrap import Counting, Faulty
from makers import memory_storage, noise, opened, put_version

BLOCK = 4096
VERSION = Version("m/one", "v1")
FILES: Mapping[str, bytes] = (
    {f"a/{n:03}": noise(500 + n, n) for n in range(30)}
    | {f"b/{n:03}": noise(70_000 + n, 100 + n) for n in range(20)}
    | {"b/same": noise(500, 0), "empty": b"", "large": noise(300_000, 7)}
)
PACKED = {path: data for path, data in FILES.items() if 0 < len(data) < PACK_BELOW}


def pack_bytes(pack: Pack, files: Mapping[str, bytes]) -> bytes:
    data = bytearray(pack.size)
    for offset, file in zip(pack.offsets, pack.files, strict=True):
        data[offset : offset + file.size] = files[file.path]
    return bytes(data)


def packed_storage(files: Mapping[str, bytes] = FILES, block: int = BLOCK) -> TreeStorage:
    storage = memory_storage()
    manifest = put_version(storage, files, block)
    index = lay_out(manifest, PACK_BELOW)
    for pack in index.packs:
        storage.objects.put(layout.pack_key(VERSION, pack.digest), pack_bytes(pack, files))
    storage.objects.put(layout.packs_key(VERSION, manifest.digest), index.to_bytes())
    return storage


def only_pack(storage: Storage) -> Pack:
    packed = packs(storage)
    assert len(packed.index.packs) == 1
    return packed.index.packs[0]


def packs(storage: Storage, config: EngineConfig | None = None) -> PackedFiles:
    found = opened(storage, config=config or EngineConfig(retry_seconds=5)).small_files()
    assert found
    return found


def fetched(storage: Storage, paths: Iterable[str] = PACKED) -> dict[str, bytes]:
    return dict(packs(storage).fetch(paths))


def spoil(storage: TreeStorage, change: Mapping[int, int]) -> None:
    """Change bytes of the pack: those offsets by those masks."""
    key = layout.pack_key(VERSION, only_pack(storage).digest)
    data = bytearray(storage.objects.get(key).data)
    for at, mask in change.items():
        data[at] ^= mask
    storage.objects.put(key, bytes(data))


def test_all_come_in_one_request() -> None:
    storage = Counting(packed_storage())
    assert fetched(storage) == PACKED
    assert storage.calls == {"read_manifest": 1, "read_packs": 1, "read_blob": 1, "read_pack": 1}


def test_what_is_packed() -> None:
    found = packs(packed_storage())
    assert {path for path in FILES if path in found} == set(PACKED)
    assert "nothing" not in found
    for path in ("large", "empty", "nothing"):
        with pytest.raises(FileNotFound):
            list(found.fetch([path]))


def test_equal_files_are_both_told() -> None:
    assert fetched(packed_storage(), ["b/same", "a/000"]) == {"a/000": FILES["a/000"], "b/same": FILES["a/000"]}


def test_order_and_doubles() -> None:
    found = list(packs(packed_storage()).fetch(["b/005", "a/001", "b/005", "a/029"]))
    assert [path for path, _ in found] == ["a/001", "a/029", "b/005"]


def test_nothing_is_asked_where_files_are_few() -> None:
    storage = memory_storage()
    put_version(storage, {f"{n}": noise(9, n) for n in range(15)}, BLOCK)
    counting = Counting(storage)
    assert opened(counting).small_files() is None
    assert counting.calls == {"read_manifest": 1}


@pytest.mark.parametrize("index", [None, b"", b"HOISTPK\x02", bytes(5000)])
def test_no_index_or_a_bad_one(index: bytes | None) -> None:
    storage = packed_storage()
    key = layout.packs_key(VERSION, opened(storage).manifest.digest)
    if index is None:
        storage.objects.delete([key])
    else:
        storage.objects.put(key, index)
    version = opened(storage)
    assert version.small_files() is None
    assert all(version.read(path) == data for path, data in FILES.items())


def test_every_bit_of_the_index() -> None:
    storage = packed_storage()
    digest = opened(storage).manifest.digest
    key = layout.packs_key(VERSION, digest)
    good = storage.objects.get(key).data
    some = ["a/003", "b/007", "b/same"]
    for bit in range(len(good) * 8):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        storage.objects.put(key, bytes(data))
        found = opened(storage).small_files()
        there = [path for path in some if found and path in found]
        if found and there:
            assert dict(found.fetch(there)) == {path: FILES[path] for path in there}


def test_one_bit_of_every_byte_of_a_pack() -> None:
    files = {f"{n:02}": noise(40 + n, n) for n in range(16)} | {"aligned": noise(65_600, 3)}
    storage = packed_storage(files)
    found = opened(storage).small_files()
    assert found
    pack = found.index.packs[0]
    offsets = [*range(pack.offsets[16]), *range(pack.offsets[16], pack.size, 1009)]
    for at in offsets:
        spoil(storage, {at: 1 << at % 8})
        assert dict(found.fetch(files)) == files
        spoil(storage, {at: 1 << at % 8})


def test_damage_costs_a_request_a_file() -> None:
    storage = packed_storage()
    pack = only_pack(storage)
    spoil(storage, {pack.offsets[3]: 1, pack.offsets[40] + 17: 4, pack.offsets[40] + 60_000: 4})
    counting = Counting(storage)
    assert fetched(counting) == PACKED
    # Blocks here are smaller than files: one request for each that is wrong.
    assert (counting.calls["read_pack"], counting.calls["read_into"]) == (1, 3)


@pytest.mark.parametrize("kept", [None, 0, 1, 1000, 400_000])
def test_a_pack_that_is_missing_or_short(kept: int | None) -> None:
    storage = packed_storage()
    key = layout.pack_key(VERSION, only_pack(storage).digest)
    if kept is None:
        storage.objects.delete([key])
    else:
        storage.objects.put(key, storage.objects.get(key).data[:kept])
    counting = Counting(storage)
    found = packs(counting)
    assert dict(found.fetch(PACKED)) == PACKED
    # It is not asked for again.
    assert dict(found.fetch(PACKED)) == PACKED
    assert counting.calls["read_pack"] == 1


def test_one_of_several_packs_is_missing() -> None:
    files = {f"{n:03}": noise(200_000, n) for n in range(250)}
    storage = packed_storage(files, 1 << 20)
    index = packs(storage).index
    assert len(index.packs) > 2
    storage.objects.delete([layout.pack_key(VERSION, index.packs[1].digest)])
    counting = Counting(storage)
    assert fetched(counting, files) == files
    assert counting.calls["read_into"] == len(index.packs[1].files)


def test_a_file_that_is_wrong_everywhere_is_named() -> None:
    storage = packed_storage()
    pack = only_pack(storage)
    at = [file.path for file in pack.files].index("b/004")
    spoil(storage, {pack.offsets[at] + 5: 1})
    storage.objects.put(layout.file_key(VERSION, "b/004"), noise(len(FILES["b/004"]), 999))
    with pytest.raises(DamagedBlock, match="b/004"):
        fetched(storage)
    # Whoever does not want it is not held up by it.
    others = [path for path in PACKED if path != "b/004"]
    assert fetched(storage, others) == {path: PACKED[path] for path in others}
    storage.objects.delete([layout.file_key(VERSION, "b/004")])
    with pytest.raises(FileNotFound, match="b/004"):
        fetched(storage)
    assert fetched(storage, others) == {path: PACKED[path] for path in others}


def test_a_storage_that_lies_in_every_pack() -> None:
    storage = packed_storage()
    key = layout.pack_key(VERSION, only_pack(storage).digest)
    storage.objects.put(key, noise(only_pack(storage).size, 5))
    assert fetched(storage) == PACKED


@pytest.mark.parametrize("seed", range(5))
def test_right_under_faults(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoist.retry._FIRST_WAIT", 0.001)
    only = frozenset({"read_into", "read_pack"})
    assert fetched(Faulty(packed_storage(), fail=0.3, flip=0.2, only=only, seed=seed)) == PACKED


def test_a_storage_that_is_away_is_said() -> None:
    away = Faulty(packed_storage(), fail=1.0, only=frozenset({"read_pack"}))
    with pytest.raises(StorageUnavailable):
        list(packs(away, EngineConfig(retry_seconds=0.1)).fetch(PACKED))
    away = Faulty(packed_storage(), fail=1.0, only=frozenset({"read_packs"}))
    with pytest.raises(StorageUnavailable):
        opened(away, config=EngineConfig(retry_seconds=0.1)).small_files()


def test_reading_one_after_the_other() -> None:
    storage = Counting(packed_storage(block=1 << 20))
    version = opened(storage)
    paths = random.Random(1).sample(sorted(PACKED), len(PACKED))
    for path in paths:
        assert version.read(path) == PACKED[path]
    assert version.read("large") == FILES["large"]
    # The first two by themselves, then the index and a pack; the large one.
    assert (storage.calls["read_packs"], storage.calls["read_pack"]) == (1, 1)
    assert storage.calls["read_into"] == 3


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoist.read.packs._KEPT_BYTES", 200_000)
    monkeypatch.setattr("hoist.read.packs._WINDOW_BYTES", 100_000)
    found = packs(packed_storage())
    for path in PACKED:
        assert found.read(path) == PACKED[path]
        assert sum(map(len, found._kept.values())) == found._kept_bytes <= 200_000
    windows = [tuple(found.window(path)) for path in PACKED if path != "b/same"]
    assert sum(len(set(window)) for window in set(windows)) == len(PACKED) - 1
    assert "b/same" in found.window("b/same")


SPANS = st.lists(st.integers(0, 49), min_size=1, max_size=50, unique=True).map(sorted)
PACK = lay_out(opened(packed_storage()).manifest, PACK_BELOW).packs[0]


@settings(max_examples=200, deadline=None)
@given(SPANS, st.sampled_from([1, 70_000, 300_000, 1 << 30]), st.sampled_from([0, 10_000, 1 << 20]))
def test_runs(wanted: list[int], request_bytes: int, gap: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hoist.read.pack_index._GAP_BYTES", gap)
        found = list(runs(PACK, wanted, request_bytes))
    assert all(first <= last for first, last in found)
    covered = [at for first, last in found for at in range(first, last + 1)]
    assert covered == sorted(set(covered))
    assert set(wanted) <= set(covered)
    for first, last in found:
        assert {first, last} <= set(wanted)
        size = PACK.offsets[last] + PACK.files[last].size - PACK.offsets[first]
        assert size <= request_bytes or first == last


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_files_of_any_layout(data: st.DataObject) -> None:
    """Whatever lies in packs, whichever is damaged, whatever a request may hold: the right bytes."""
    sizes = data.draw(st.lists(st.sampled_from([100, 5000, 66_000, 150_000]), min_size=16, max_size=40))
    files = {f"d{n % 3}/{n}": noise(size, n) for n, size in enumerate(sizes)}
    storage = packed_storage(files, data.draw(st.sampled_from([512, 65_536, 1 << 20])))
    storage.traits = Traits(data.draw(st.sampled_from([1, 50_000, 1 << 20])), 3)
    found = opened(storage).small_files()
    assert found
    for pack in found.index.packs:
        key = layout.pack_key(VERSION, pack.digest)
        held = bytearray(storage.objects.get(key).data)
        for at in data.draw(st.lists(st.integers(0, pack.size - 1), max_size=6)):
            held[at] ^= 255
        storage.objects.put(key, bytes(held))
    wanted = data.draw(st.lists(st.sampled_from(sorted(files)), max_size=30))
    assert dict(found.fetch(wanted)) == {path: files[path] for path in wanted}


def test_an_index_that_lies_about_the_order() -> None:
    """Places and offsets that another publisher would have made, with packs of other bytes."""
    storage = packed_storage()
    manifest = opened(storage).manifest
    index = lay_out(manifest, PACK_BELOW)
    pack = index.packs[0]
    for n in range(len(pack.places) - 1):
        lie = Pack(
            pack.files[n:], pack.places[n:], type(pack.offsets)("I", [o - pack.offsets[n] for o in pack.offsets[n:]])
        )
        storage.objects.put(layout.pack_key(VERSION, lie.digest), pack_bytes(pack, FILES))
        data = PackIndex(manifest.digest, (lie,)).to_bytes()
        storage.objects.put(layout.packs_key(VERSION, manifest.digest), data)
        some = [file.path for file in pack.files[n : n + 3]]
        assert fetched(storage, some) == {path: FILES[path] for path in some}
