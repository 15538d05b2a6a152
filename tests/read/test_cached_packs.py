"""Small files in the host cache: a pack is one cached file, and what comes from there is right or comes from the storage."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_packed_files import BLOCK, PACKED, packed_storage

from hoist.model.packs import FEWEST_FILES
from hoist.progress import Progress
from hoist.read.cache.host import HostCache
from hoist.read.engine import Engine
from hoist.read.packs import PackedFiles
from hoist.read.version import OpenedVersion, open_version
from hoist.storage.wrap import Counting, Latency
from hoist.transfer.cached import verify_cache
from hoist.transfer.pull import pull_version
from makers import QUICK, V1, directory_storage, files_below, publish, write_files
from places import small_file_system


@pytest.fixture
def cache(tmp_path: Path) -> HostCache:
    return HostCache(tmp_path / "cache", 1 << 30)


@pytest.fixture
def storage() -> Counting:
    return Counting(packed_storage())


def version(storage: Counting, cache: HostCache) -> OpenedVersion:
    return open_version(storage, V1, Engine(QUICK), cache)


def packed(storage: Counting, cache: HostCache) -> PackedFiles:
    found = version(storage, cache).small_files()
    assert found
    return found


def asked(storage: Counting) -> dict[str, int]:
    """The requests since the last look, without those for the manifest."""
    found = {name: count for name, count in storage.calls.items() if name != "read_manifest"}
    storage.calls.clear()
    return found


def test_the_second_reader_asks_the_storage_for_nothing(storage: Counting, cache: HostCache) -> None:
    assert dict(packed(storage, cache).fetch(PACKED)) == PACKED
    assert asked(storage) == {"read_packs": 1, "read_blob": 1, "read_pack": 1}
    came: list[int] = []
    found: dict[str, bytes] = {}
    packed(storage, HostCache(cache.folder)).each(
        PACKED, lambda path, view: found.update({path: bytes(view)}), on_bytes=came.append
    )
    assert (found, came, asked(storage)) == (PACKED, [], {})
    (entry,) = cache.entries()
    assert entry.complete
    assert entry.seen_as == (f"{storage.address}//m/one:v1/(small files, pack {entry.digest[7:19]})",)


def test_what_is_not_there_yet_is_asked_for_alone(storage: Counting, cache: HostCache) -> None:
    first = sorted(PACKED)[:5]
    assert dict(packed(storage, cache).fetch(first)) == {path: PACKED[path] for path in first}
    (entry,) = cache.entries()
    assert 0 < entry.held_blocks < entry.blocks
    storage.bytes.clear()
    came: list[int] = []
    packed(storage, cache).each(PACKED, lambda path, view: None, on_bytes=came.append)
    # The second of two files that are equal is not read for itself.
    assert sum(came) == sum(len(PACKED[path]) for path in PACKED if path not in first and path != "b/same")
    assert dict(packed(storage, cache).fetch(PACKED)) == PACKED


def test_bytes_that_rot_in_the_cache_come_from_the_storage(storage: Counting, cache: HostCache) -> None:
    assert dict(packed(storage, cache).fetch(PACKED)) == PACKED
    (entry,) = cache.entries()
    with cache.data_path(entry.name).open("r+b") as file:
        for at in (3, 200_000, 901_200):
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))
    asked(storage)
    assert dict(packed(storage, cache).fetch(PACKED)) == PACKED
    assert 1 <= asked(storage)["read_pack"] <= 3
    # They are mended there.
    assert dict(packed(storage, cache).fetch(PACKED)) == PACKED
    assert asked(storage) == {}
    assert not verify_cache(cache, cache.entries(), Progress()).damaged


def test_verify_and_drop_know_packs(storage: Counting, cache: HostCache) -> None:
    assert dict(packed(storage, cache).fetch(PACKED)) == PACKED
    (entry,) = cache.entries()
    with cache.data_path(entry.name).open("r+b") as file:
        file.write(b"\0" * 10)
    checked = verify_cache(cache, cache.entries(), Progress())
    assert [damage.file for damage in checked.damaged] == [entry.seen_as[0]]
    assert cache.drop(entry.name)
    assert cache.entries() == []
    assert dict(packed(storage, cache).fetch(PACKED)) == PACKED


def test_after_the_machine_was_started_anew_all_is_hashed_and_kept(
    storage: Counting, cache: HostCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dict(packed(storage, cache).fetch(PACKED)) == PACKED
    asked(storage)
    monkeypatch.setattr("hoist.read.cache.folder.boot_digest", lambda: b"another start...")
    assert dict(packed(storage, cache).fetch(PACKED)) == PACKED
    assert asked(storage) == {}


def test_the_limit_holds_and_costs_only_requests(storage: Counting, tmp_path: Path) -> None:
    cache = HostCache(tmp_path / "cache", 200_000)
    for _ in range(2):
        assert dict(packed(storage, cache).fetch(PACKED)) == PACKED
    assert sum(entry.held_bytes for entry in cache.entries()) <= 200_000


def test_a_full_disk_is_a_warning(storage: Counting, tmp_path: Path) -> None:
    with small_file_system(tmp_path / "small", "256k", "700") as folder:
        cache = HostCache(folder / "cache", 1 << 30)
        with pytest.warns(match="going on without"):
            assert dict(packed(storage, cache).fetch(PACKED)) == PACKED
        assert dict(packed(storage, cache).fetch(PACKED)) == PACKED


@pytest.mark.parametrize("data", [b"", b"nonsense", b"HOISTPK\x01" + bytes(200)])
def test_a_kept_index_that_is_none_is_read_again(storage: Counting, cache: HostCache, data: bytes) -> None:
    assert dict(packed(storage, cache).fetch(PACKED)) == PACKED
    (kept,) = (path for path in (cache.folder / "documents").iterdir() if path.name.startswith("packs-"))
    kept.write_bytes(data)
    asked(storage)
    assert dict(packed(storage, cache).fetch(PACKED)) == PACKED
    assert asked(storage) == {"read_packs": 1}


def test_pull_fetches_small_files_once(storage: Counting, cache: HostCache, tmp_path: Path) -> None:
    files = {path: data for path, data in PACKED.items() if path != "b/same"}
    assert len(files) >= FEWEST_FILES
    first = pull_version(version(storage, cache), tmp_path / "one", Progress(), include=["[ab]/*"])
    second = pull_version(version(storage, cache), tmp_path / "two", Progress(), include=["[ab]/*"])
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two") == PACKED
    assert (first.fetched_bytes, second.fetched_bytes) == (sum(map(len, files.values())), 0)


def test_files_of_a_local_disk_are_not_kept(tmp_path: Path, cache: HostCache) -> None:
    storage = directory_storage(tmp_path / "models")
    publish(write_files(tmp_path / "source", PACKED), storage, pack_below=256 << 10)
    assert dict(packed(Counting(storage), cache).fetch(PACKED)) == PACKED
    assert cache.entries() == []


def test_threads_and_another_cache_handle_keep_one_copy(storage: Counting, cache: HostCache) -> None:
    from concurrent.futures import ThreadPoolExecutor

    slow = Counting(Latency(storage, 0.002))
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: dict(packed(slow, HostCache(cache.folder, 1 << 30)).fetch(PACKED)), range(6)))
    assert found == [PACKED] * 6
    (entry,) = cache.entries()
    assert entry.complete
    assert not verify_cache(cache, [entry], Progress()).damaged
    assert cache.data_path(entry.name).stat().st_blocks * 512 <= entry.size + 2 * BLOCK
