"""Files filled through the cache: each block once for all threads and processes, right whatever happens to it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from hoist.errors import Cancelled, HoistError, StorageUnavailable
from hoist.model.reference import parse_reference
from hoist.read.cache import folder as folder_module
from hoist.read.cache.fill import Filled
from hoist.read.cache.host import HostCache
from hoist.read.engine import Engine
from hoist.read.source import Source
from hoist.storage.base import Storage
from hoist.storage.tree import TreeStorage
from hoist.storage.wrap import Counting, Faulty, Latency
from makers import ENGINE_BLOCK as BLOCK
from makers import ENGINE_DATA as DATA
from makers import QUICK, engine_storage, memory_storage, noise, opened, put_version

MIB = 1 << 20


@pytest.fixture
def stored() -> TreeStorage:
    found = engine_storage()
    found.address = "memory://cache"  # what these tests teach the governor is not for other tests
    return found


@pytest.fixture
def cache(tmp_path: Path) -> HostCache:
    return HostCache(tmp_path / "cache", 1 << 30)


def fill(cache: HostCache, storage: Storage, *ranges: tuple[int, int]) -> Filled:
    source = source_of(storage)
    with cache.file(source.blocks, source.seen_as) as cached:
        filled = cached.fill(source, Engine(QUICK), ranges or [(0, source.size)])
        for begin, end in ranges or [(0, source.size)]:
            data = memoryview(bytearray(end - begin))
            cached.read_into(begin, data)
            assert data == DATA[begin:end]
        return filled


def source_of(storage: Storage) -> Source:
    return opened(storage).source("w.bin")


def test_filled_once_and_found_again(cache: HostCache, stored: TreeStorage) -> None:
    counting = Counting(stored)
    assert fill(cache, counting).fetched_bytes == len(DATA)
    again = fill(cache, counting)
    assert (again.fetched_bytes, again.here_bytes) == (0, len(DATA))
    assert counting.bytes["read_into"] == len(DATA)
    source = source_of(stored)
    with HostCache(cache.folder).file(source.blocks) as cached:
        assert cached.complete
        assert cached.missing(0, len(source.blocks)) == []
        assert cached.path.read_bytes() == DATA


def test_only_the_blocks_of_the_ranges(cache: HostCache, stored: TreeStorage) -> None:
    counting = Counting(stored)
    source = source_of(counting)
    first, last = source.blocks.span(3), source.blocks.span(11)
    fill(cache, counting, (first[0] + 5, first[0] + 6), (last[0], last[1]))
    assert counting.bytes["read_into"] == first[1] - first[0] + last[1] - last[0]
    with cache.file(source.blocks) as cached:
        assert [index for index in range(len(source.blocks)) if cached.has(index)] == [3, 11]
        assert not cached.complete


@pytest.mark.parametrize("handles", ["one", "each"])
def test_threads_that_want_the_same_cost_it_once(cache: HostCache, stored: TreeStorage, handles: str) -> None:
    counting = Counting(Latency(stored, 0.002))
    source = source_of(counting)
    results: list[Filled] = []
    with cache.file(source.blocks) as shared:

        def work() -> None:
            if handles == "one":
                results.append(shared.fill(source, Engine(QUICK), [(0, source.size)]))
            else:
                results.append(fill(cache, counting))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert shared.complete
    assert len(results) == 8
    assert sum(each.fetched_bytes for each in results) == len(DATA) == counting.bytes["read_into"]
    assert all(sum(getattr(each, name) for name in Filled.__slots__) == len(DATA) for each in results)


def test_who_waits_takes_over_from_who_fails(cache: HostCache, stored: TreeStorage) -> None:
    source = source_of(stored)
    with cache.file(source.blocks) as mine, cache.file(source.blocks) as theirs:
        assert mine.claims.take(0, 4)
        done = threading.Event()

        def work() -> None:
            theirs.fill(source, Engine(QUICK), [(0, source.size)])
            done.set()

        thread = threading.Thread(target=work)
        thread.start()
        assert not done.wait(0.3)
        assert theirs.missing(0, len(source.blocks)) == [0, 1, 2, 3]
        mine.claims.give(0, 4)
        assert done.wait(10)
        thread.join()
        assert mine.complete


def test_a_wait_can_be_cancelled(cache: HostCache, stored: TreeStorage) -> None:
    source = source_of(stored)
    with cache.file(source.blocks) as mine, cache.file(source.blocks) as theirs:
        assert mine.claims.take(0, 1)
        stop = threading.Event()
        threading.Timer(0.1, stop.set).start()
        with pytest.raises(Cancelled):
            theirs.fill(source, Engine(QUICK), [(0, source.size)], stop=stop)


def test_a_failed_fill_leaves_what_came(cache: HostCache, stored: TreeStorage) -> None:
    failing = Faulty(stored, fail=0.2, only=frozenset({"read_into"}), error=HoistError("gone"), seed=2)
    for _ in range(200):
        try:
            fill(cache, failing)
            break
        except HoistError:
            continue
    counting = Counting(stored)
    assert fill(cache, counting).here_bytes == len(DATA)
    assert "read_into" not in counting.calls


def test_flips_on_the_way_never_reach_the_cache(cache: HostCache, stored: TreeStorage) -> None:
    flipping = Faulty(stored, flip=0.2, only=frozenset({"read_into"}), seed=1)
    fill(cache, flipping)
    with cache.file(source_of(stored).blocks) as cached:
        assert cached.path.read_bytes() == DATA


def reboot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "boot_digest", lambda: b"another start!!!")


def test_after_a_reboot_blocks_are_hashed_before_they_count(
    cache: HostCache, stored: TreeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cache, stored)
    blocks = source_of(stored).blocks
    with cache.file(blocks) as cached:
        spoil(cached.path, blocks.starts[7] + 5)
    reboot(monkeypatch)
    with cache.file(blocks) as cached:
        assert not any(cached.has(index) for index in range(len(blocks)))
    counting = Counting(stored)
    filled = fill(cache, counting)
    size = blocks.starts[8] - blocks.starts[7]
    assert (filled.fetched_bytes, filled.rechecked_bytes) == (size, len(DATA) - size)
    assert counting.bytes["read_into"] == size
    assert fill(cache, counting).here_bytes == len(DATA)


def test_a_recheck_finds_what_rots(cache: HostCache, stored: TreeStorage) -> None:
    fill(cache, stored)
    with cache.file(source_of(stored).blocks) as cached:
        spoil(cached.path, 12345)
    counting = Counting(stored)
    checking = HostCache(cache.folder, recheck=True)
    assert fill(checking, counting).fetched_bytes == BLOCK
    assert fill(checking, counting).rechecked_bytes == len(DATA)
    assert fill(cache, counting).here_bytes == len(DATA)


def spoil(path: Path, offset: int) -> None:
    with path.open("r+b", buffering=0) as file:
        byte = os.pread(file.fileno(), 1, offset)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 16]), offset)


SHARED = [noise(MIB, n) for n in range(6)]


def family() -> TreeStorage:
    """Two files that share three of four blocks of a MiB, at other places."""
    storage = memory_storage()
    for number, parts in enumerate(((0, 1, 2, 3), (4, 0, 1, 2))):
        data = {"w.bin": b"".join(SHARED[part] for part in parts)}
        put_version(storage, data, MIB, parse_reference(f"m/one:v{number}"))
    return storage


def version(storage: Storage, label: str) -> Source:
    return opened(storage, parse_reference(f"m/one:{label}")).source("w.bin")


@pytest.mark.parametrize("spoiled", [False, True])
def test_blocks_of_another_file_are_copied(cache: HostCache, spoiled: bool) -> None:
    counting = Counting(family())
    first, second = version(counting, "v0"), version(counting, "v1")
    with cache.file(first.blocks) as cached:
        cached.fill(first, Engine(QUICK), [(0, first.size)])
        if spoiled:
            spoil(cached.path, MIB + 3)
    with cache.file(second.blocks) as cached:
        filled = cached.fill(second, Engine(QUICK), [(0, second.size)])
        assert filled.copied_bytes == (2 if spoiled else 3) * MIB
        assert filled.fetched_bytes == (2 if spoiled else 1) * MIB
        assert cached.path.read_bytes() == b"".join(SHARED[part] for part in (4, 0, 1, 2))


def test_a_file_larger_than_the_limit_is_kept_in_part(tmp_path: Path) -> None:
    storage = family()
    cache = HostCache(tmp_path / "cache", 2 * MIB + 100_000)
    source = version(storage, "v0")
    with cache.file(source.blocks) as cached:
        filled = cached.fill(source, Engine(QUICK), [(0, source.size)])
        assert (filled.fetched_bytes, filled.left_out_bytes) == (2 * MIB, 2 * MIB)
        assert cached.missing(0, 4) == [2, 3]
    assert cache.room.scan() <= 2 * MIB + 100_000


def test_what_was_not_used_for_longest_goes(tmp_path: Path) -> None:
    storage = memory_storage()
    sources = []
    for number in range(4):
        put_version(storage, {"w.bin": noise(MIB, 50 + number)}, MIB // 4, parse_reference(f"m/one:v{number}"))
        sources.append(version(storage, f"v{number}"))
    cache = HostCache(tmp_path / "cache", 2 * MIB + 100_000)

    def use(number: int) -> None:
        with cache.file(sources[number].blocks, f"v{number}") as cached:
            cached.fill(sources[number], Engine(QUICK), [(0, MIB)])
            os.utime(cache.record_path(cached.name), (number, number))

    def names() -> set[str]:
        return {name for entry in cache.entries() for name in entry.seen_as}

    use(0)
    use(1)
    use(2)
    assert names() == {"v1", "v2"}
    (entry,) = [entry for entry in cache.entries() if entry.seen_as == ("v1",)]
    cache.pin(entry.name)
    use(3)
    assert names() == {"v1", "v3"}
    cache.unpin(entry.name)
    with cache.file(sources[3].blocks) as held:
        os.utime(cache.record_path(held.name), (0, 0))
        use(2)
        assert names() == {"v2", "v3"}


def test_a_version_published_anew_under_another_cut(cache: HostCache) -> None:
    """The same file in other blocks is another entry; its bytes are not fetched twice where blocks are the same."""
    data = b"".join(SHARED)
    storage = memory_storage()
    put_version(storage, {"w.bin": data}, MIB)
    put_version(storage, {"w.bin": data}, 2 * MIB, parse_reference("m/one:v2"))
    for label in ("v1", "v2"):
        source = version(storage, label)
        with cache.file(source.blocks) as cached:
            cached.fill(source, Engine(QUICK), [(0, source.size)])
            assert cached.path.read_bytes() == data
    assert len(cache.entries()) == 2


def test_an_empty_file(cache: HostCache) -> None:
    storage = memory_storage()
    put_version(storage, {"w.bin": b""}, MIB)
    source = version(storage, "v1")
    with cache.file(source.blocks) as cached:
        assert cached.complete
        assert cached.fill(source, Engine(QUICK), [(0, 0)]) == Filled()


def test_a_storage_that_is_away_serves_what_is_here(cache: HostCache, stored: TreeStorage) -> None:
    fill(cache, stored)
    away = Faulty(stored, fail=1.0, only=frozenset({"read_into"}), error=StorageUnavailable("away"))
    assert fill(cache, away).here_bytes == len(DATA)
