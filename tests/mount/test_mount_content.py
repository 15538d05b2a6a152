"""Where bytes come from: what is asked for now goes first, nothing is fetched twice, and no wrong byte gets out."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from mounting import Inside, inside

from hoist.config import EngineConfig
from hoist.errors import StorageUnavailable
from hoist.mount.content import Content
from hoist.storage.base import Storage, StoredFile, Traits
from hoist.storage.wrap import Counting, Faulty, Wrapper
from makers import memory_storage, noise, put_version, wait_for

BLOCK = 64 << 10
DATA = noise(64 * BLOCK + 100)


class Gated(Wrapper):
    """Notes each read, and lets them through when its gate is open."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.gate = threading.Event()
        self.gate.set()
        self.offsets: list[int] = []
        self.held = frozenset[int]()

    def read_into(self, file: StoredFile, offset: int, buffer: memoryview) -> None:
        self.offsets.append(offset)
        if not self.held or offset in self.held:
            assert self.gate.wait(20)
        self.inner.read_into(file, offset, buffer)


def far_storage(data: bytes = DATA) -> Storage:
    storage = memory_storage()
    put_version(storage, {"w.bin": data, "same.bin": data, "other.bin": data[:BLOCK]}, BLOCK)
    storage.traits = Traits(request_bytes=BLOCK, connections=2, most_connections=2)
    return storage


class Reader:
    """Somebody who has the file open."""

    def __init__(self, within: Inside, path: str = "m/one/v1/w.bin") -> None:
        self.within = within
        self.handle, self.opened = within.files.open_file(within.find(path), patient=True)

    def start(self, begin: int, end: int) -> tuple[threading.Event, list[Any]]:
        """Ask for bytes; set when they, or the error, are in the list."""
        done, found = threading.Event(), list[Any]()

        def answer(views: Any, error: BaseException | None) -> None:
            found.append(error if error is not None else b"".join(views))
            done.set()

        views = self.opened.content.ready(begin, end)
        if views is not None:
            answer(views, None)
        else:
            assert isinstance(self.opened.content, Content)
            self.within.files.read(self.opened.content, begin, end, answer)
        return done, found

    def read(self, begin: int, end: int) -> Any:
        done, found = self.start(begin, end)
        assert done.wait(20)
        return found[0]

    def close(self) -> None:
        self.within.files.release(self.handle)


def test_reading_anywhere() -> None:
    reader = Reader(inside(far_storage()))
    for begin, end in (
        (0, 10),
        (BLOCK - 3, BLOCK + 3),
        (5, len(DATA)),
        (len(DATA) - 1, len(DATA) + 500),
        (7 * BLOCK, 9 * BLOCK),
    ):
        assert reader.read(begin, end) == DATA[begin:end]
    assert reader.read(len(DATA), len(DATA) + 10) == b""
    reader.close()


def test_nothing_is_fetched_twice_whoever_reads() -> None:
    counting = Counting(far_storage())
    within = inside(counting, memory_bytes=64 << 20)
    readers = [Reader(within, f"m/one/v1/{name}") for name in ("w.bin", "same.bin") * 4]
    found: list[Any] = []

    def read(reader: Reader) -> None:
        found.extend(reader.read(at, at + BLOCK) == DATA[at : at + BLOCK] for at in range(0, len(DATA), BLOCK))

    threads = [threading.Thread(target=read, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [True] * (8 * 65)
    assert counting.bytes["read_into"] <= len(DATA) * 1.02


def test_what_is_asked_for_now_does_not_wait_for_the_prefetch() -> None:
    gated = Gated(far_storage(noise(300 * BLOCK, 2)))
    within = inside(gated, memory_bytes=256 << 20)
    gated.gate.clear()
    gated.held = frozenset(n * BLOCK for n in range(250))
    reader = Reader(within)
    wait_for(lambda: len(gated.offsets) >= 2)
    assert reader.read(280 * BLOCK, 280 * BLOCK + 10) == noise(300 * BLOCK, 2)[280 * BLOCK : 280 * BLOCK + 10]
    gated.gate.set()
    wait_for(lambda: len(gated.offsets) > 50)
    assert gated.offsets.index(280 * BLOCK) < 20
    reader.close()


def test_the_prefetch_brings_the_file_in_order_and_stops_when_it_is_closed() -> None:
    gated = Gated(far_storage(noise(300 * BLOCK, 2)))
    within = inside(gated, memory_bytes=256 << 20)
    reader = Reader(within)
    wait_for(lambda: len(gated.offsets) == 300)
    early, late = gated.offsets[:100], gated.offsets[200:]
    assert max(early) < min(late)
    reader.close()
    gated.offsets.clear()
    gated.gate.clear()
    put_version(gated.inner, {"z.bin": noise(300 * BLOCK, 3)}, BLOCK, _two())  # type: ignore[arg-type]
    within = inside(gated)
    second = Reader(within, "m/one/v2/z.bin")
    wait_for(lambda: len(gated.offsets) >= 2)
    second.close()
    gated.gate.set()
    content = second.opened.content
    assert isinstance(content, Content)
    wait_for(lambda: not content.busy)
    assert len(gated.offsets) < 10


def _two() -> Any:
    from hoist.model.reference import parse_reference

    return parse_reference("m/one:v2")


def test_without_prefetch_only_what_is_read_is_fetched() -> None:
    counting = Counting(far_storage(noise(300 * BLOCK, 2)))
    reader = Reader(inside(counting, prefetch=False))
    assert reader.read(10 * BLOCK, 10 * BLOCK + 5) == noise(300 * BLOCK, 2)[10 * BLOCK : 10 * BLOCK + 5]
    reader.close()
    assert counting.bytes["read_into"] == BLOCK


def test_memory_is_bounded() -> None:
    within = inside(far_storage(noise(1000 * BLOCK, 2)), memory_bytes=32 << 20)
    reader = Reader(within)
    data = noise(1000 * BLOCK, 2)
    for at in range(0, len(data), BLOCK):
        assert reader.read(at, at + BLOCK) == data[at : at + BLOCK]
        assert within.memory.held_bytes <= 32 << 20
    assert within.memory.evictions > 0
    reader.close()


def test_a_reader_that_jumps_takes_the_prefetch_along() -> None:
    counting = Counting(far_storage(noise(2000 * BLOCK, 2)))
    within = inside(counting, memory_bytes=32 << 20)
    reader = Reader(within)
    for at in range(1500, 1510):
        reader.read(at * BLOCK, at * BLOCK + BLOCK)
    wait_for(lambda: reader.opened.content.ready(1530 * BLOCK, 1530 * BLOCK + 1) is not None)
    reader.close()


@pytest.mark.parametrize("flip", [0.1, 1.0])
def test_flipped_bits_never_get_out(flip: float) -> None:
    faulty = Faulty(far_storage(), flip=flip, seed=3)
    reader = Reader(inside(faulty))
    right = wrong = 0
    for at in range(0, len(DATA), BLOCK):
        found = reader.read(at, at + BLOCK)
        if isinstance(found, BaseException):
            wrong += 1
        else:
            assert found == DATA[at : at + BLOCK]
            right += 1
    assert right if flip < 1 else wrong == 65
    reader.close()


def test_a_storage_that_is_away_gives_an_error_and_recovers() -> None:
    faulty = Faulty(far_storage(), error=StorageUnavailable("away"), only=frozenset(("read_into",)))
    within = inside(faulty, EngineConfig(retry_seconds=0.2), timeout_seconds=0.3, prefetch=False)
    reader = Reader(within)
    assert reader.read(0, 10) == DATA[:10]
    faulty._fail = 1.0
    assert isinstance(reader.read(5 * BLOCK, 5 * BLOCK + 1), StorageUnavailable)
    assert reader.read(100, 200) == DATA[100:200]
    faulty._fail = 0.0
    assert reader.read(5 * BLOCK, 5 * BLOCK + 1) == DATA[5 * BLOCK : 5 * BLOCK + 1]
    reader.close()
