"""verify tells every damaged range, exactly."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoist.config import EngineConfig
from hoist.errors import InvalidManifest, StorageUnavailable
from hoist.progress import Progress
from hoist.storage import layout
from hoist.storage.base import Storage, Traits, Version
from hoist.storage.tree import TreeStorage
from hoist.storage.wrap import Faulty
from hoist.transfer.verify import DamagedRange, Verified, verify_version
from makers import directory_storage, memory_storage, noise, opened, put_version

BLOCK = 4096
FILES = {"a.bin": noise(10 * BLOCK, 1), "sub/b.bin": noise(3 * BLOCK + 7, 2), "empty": b"", "tiny": b"t"}
VERSION = Version("m/one", "v1")


def stored() -> TreeStorage:
    storage = memory_storage()
    put_version(storage, FILES, BLOCK)
    storage.traits = Traits(3 * BLOCK, 3)
    return storage


def verify(storage: Storage) -> Verified:
    return verify_version(opened(storage), Progress())


def spoil(storage: TreeStorage, path: str, *offsets: int) -> None:
    data = bytearray(FILES[path])
    for offset in offsets:
        data[offset] ^= 1
    storage.objects.put(layout.file_key(VERSION, path), bytes(data))


def ranges(*pairs: tuple[int, int], path: str = "a.bin") -> tuple[DamagedRange, ...]:
    return tuple(DamagedRange(path, begin * BLOCK, end * BLOCK) for begin, end in pairs)


def test_nothing_is_damaged() -> None:
    found = verify(stored())
    assert found.damaged == ()
    assert (found.files, found.blocks, found.bytes_read) == (4, 15, sum(map(len, FILES.values())))


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        ([0], [(0, 1)]),
        ([BLOCK - 1], [(0, 1)]),
        ([BLOCK], [(1, 2)]),
        ([10 * BLOCK - 1], [(9, 10)]),
        ([2 * BLOCK, 3 * BLOCK, 4 * BLOCK], [(2, 5)]),
        ([0, 5 * BLOCK, 6 * BLOCK, 9 * BLOCK], [(0, 1), (5, 7), (9, 10)]),
    ],
)
def test_flips_at_known_places(offsets: list[int], expected: list[tuple[int, int]]) -> None:
    storage = stored()
    spoil(storage, "a.bin", *offsets)
    assert verify(storage).damaged == ranges(*expected)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 10 * BLOCK - 1), max_size=5))
def test_flips_anywhere(offsets: set[int]) -> None:
    storage = stored()
    spoil(storage, "a.bin", *offsets)
    found = verify(storage).damaged
    told = {block for item in found for block in range(item.begin // BLOCK, item.end // BLOCK)}
    assert told == {offset // BLOCK for offset in offsets}
    assert all(first.end < second.begin for first, second in pairwise(found))


@pytest.mark.parametrize("left", [0, 1, 3 * BLOCK, 3 * BLOCK + 1])
def test_a_truncated_file(left: int) -> None:
    storage = stored()
    storage.objects.put(layout.file_key(VERSION, "a.bin"), FILES["a.bin"][:left])
    assert verify(storage).damaged == ranges((left // BLOCK, 10))


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    storage = directory_storage(tmp_path)
    put_version(storage, FILES, BLOCK)
    (tmp_path / "m/one/v1/a.bin").unlink()
    (tmp_path / "m/one/v1/tiny").unlink()
    assert verify(storage).damaged == (
        DamagedRange("a.bin", 0, 10 * BLOCK, missing=True),
        DamagedRange("tiny", 0, 1, missing=True),
    )


def test_damage_in_several_files() -> None:
    storage = stored()
    spoil(storage, "a.bin", 5)
    spoil(storage, "sub/b.bin", 3 * BLOCK)
    size = len(FILES["sub/b.bin"])
    assert verify(storage).damaged == (
        *ranges((0, 1)),
        DamagedRange("sub/b.bin", *opened(storage).blocks("sub/b.bin").span(3)),
    )
    assert verify(storage).damaged[1].end == size


def test_flips_on_the_way_are_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoist.read.engine._DAMAGED_TRIES", 30)
    assert verify(Faulty(stored(), flip=0.3)).damaged == ()


def test_a_storage_that_is_away_is_no_damage() -> None:
    away = Faulty(stored(), fail=1.0, only=frozenset({"read_into"}))
    with pytest.raises(StorageUnavailable):
        verify_version(opened(away, config=EngineConfig(retry_seconds=0.1)), Progress())


def test_a_damaged_table_is_an_error() -> None:
    storage = stored()
    storage.objects.put(layout.blob_key(VERSION, opened(storage).manifest.blocks.digest), b"HOISTBK\x01")
    with pytest.raises(InvalidManifest):
        verify(storage)
