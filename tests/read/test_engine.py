"""The engine under faults: right bytes or a typed error, nothing unverified, nothing left behind."""

from __future__ import annotations

import threading

import pytest

from hoist.config import EngineConfig
from hoist.errors import (
    DamagedBlock,
)
from hoist.model.blocks import FileBlocks
from hoist.read.engine import Engine, Job
from hoist.read.plan import Request, plan_file
from hoist.read.sink import BufferSink, CallbackSink
from hoist.read.source import Source
from hoist.storage import layout
from hoist.storage.base import StoredFile, Traits, Version
from hoist.storage.tree import TreeStorage
from hoist.storage.wrap import Counting, Faulty, Latency
from makers import ENGINE_BLOCK as BLOCK
from makers import ENGINE_DATA as DATA
from makers import blocks_of, engine_storage, memory_storage, nobody_is_left, noise, opened, put_version, read_file

VERSION = Version("m/one", "v1")


@pytest.fixture
def stored() -> TreeStorage:
    return engine_storage()


def test_plain(stored: TreeStorage) -> None:
    counting = Counting(stored)
    # A fixed number: what other reads of this process have found best must not count.
    assert read_file(counting, config=EngineConfig(connections=4)) == DATA
    assert counting.bytes["read_into"] == len(DATA)
    # 17 requests of three blocks, of which the last four, one for each connection, are cut to a block each.
    assert counting.calls["read_into"] == 13 + 12
    assert nobody_is_left()


@pytest.mark.parametrize("seed", range(3))
def test_right_under_failures_and_flips(stored: TreeStorage, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoist.retry._FIRST_WAIT", 0.001)
    monkeypatch.setattr("hoist.read.engine._DAMAGED_TRIES", 30)
    only = frozenset({"read_into"})
    assert read_file(Faulty(stored, fail=0.2, flip=0.2, only=only, seed=seed)) == DATA


def test_flips_are_caught_and_only_their_block_is_fetched_again(stored: TreeStorage) -> None:
    flipping = Faulty(Counting(stored), flip=0.2, seed=5)
    counting = flipping.inner
    assert isinstance(counting, Counting)
    assert read_file(flipping) == DATA
    again = counting.bytes["read_into"] - len(DATA)
    assert 0 < again <= BLOCK * (counting.calls["read_into"] - 17)


def _spoil(storage: TreeStorage, offset: int) -> None:
    key = layout.file_key(VERSION, "w.bin")
    data = bytearray(DATA)
    data[offset] ^= 4
    storage.objects.put(key, bytes(data))


def test_a_block_damaged_at_rest_is_named(stored: TreeStorage) -> None:
    _spoil(stored, 7 * BLOCK + 5)
    with pytest.raises(
        DamagedBlock, match=rf"m/one:v1/w\.bin in memory:// is damaged at bytes {7 * BLOCK} to {8 * BLOCK}"
    ):
        read_file(stored)
    assert nobody_is_left()


def test_on_damage_is_told_and_reading_goes_on(stored: TreeStorage) -> None:
    _spoil(stored, 7 * BLOCK + 5)
    source = opened(stored).source("w.bin")
    told: list[tuple[int, int]] = []
    got: dict[int, bytes] = {}
    sink = CallbackSink(lambda request, view: got.update({request.begin: bytes(view)}))
    plan = plan_file(source.blocks, source.traits.request_bytes)
    done: list[int] = []
    Engine().run(
        [Job(source, request, sink) for request in plan.requests],
        on_damage=lambda _, begin, end: told.append((begin, end)),
        on_bytes=done.append,
    )
    assert told == [(7 * BLOCK, 8 * BLOCK)]
    assert sum(map(len, got.values())) == sum(done) == len(DATA) - 3 * BLOCK
    assert 6 * BLOCK not in got
    assert all(DATA[begin : begin + len(part)] == part for begin, part in got.items())


class _Recording:
    """A sink that keeps what is committed, and wipes memory that it gets back."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.committed: list[tuple[int, bytes]] = []
        self.acquired = self.released = 0

    def acquire(self, request: Request) -> memoryview:
        with self.lock:
            self.acquired += 1
        return memoryview(bytearray(request.size))

    def commit(self, request: Request, view: memoryview) -> None:
        with self.lock:
            self.committed.append((request.begin, bytes(view)))

    def release(self, view: memoryview) -> None:
        with self.lock:
            self.released += 1


@pytest.mark.parametrize("flip", [0.3, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_unverified_bytes_are_never_committed(stored: TreeStorage, seed: int, flip: float) -> None:
    source = opened(Faulty(stored, flip=flip, seed=seed, only=frozenset({"read_into"}))).source("w.bin")
    sink = _Recording()
    plan = plan_file(source.blocks, source.traits.request_bytes)
    try:
        Engine().run(Job(source, request, sink) for request in plan.requests)
    except DamagedBlock:
        pass
    else:
        assert flip < 1
    assert all(DATA[begin : begin + len(part)] == part for begin, part in sink.committed)
    assert sink.acquired == len(sink.committed) + sink.released


def test_memory_in_flight_is_bounded_in_fact(stored: TreeStorage) -> None:
    source = opened(Latency(stored, 0.002)).source("w.bin")
    lock, now, most = threading.Lock(), 0, 0

    class Sink(_Recording):
        def acquire(self, request: Request) -> memoryview:
            nonlocal now, most
            with lock:
                now += request.size
                most = max(most, now)
            return super().acquire(request)

        def commit(self, request: Request, view: memoryview) -> None:
            nonlocal now
            with lock:
                now -= request.size

    plan = plan_file(source.blocks, source.traits.request_bytes)
    sink = Sink()
    Engine(EngineConfig(memory_bytes=7 * BLOCK)).run(Job(source, request, sink) for request in plan.requests)
    assert most <= 7 * BLOCK


def test_several_files_in_one_run() -> None:
    storage = memory_storage()
    files = {f"f{n}": noise(5 * BLOCK + n, n) for n in range(6)}
    put_version(storage, files, BLOCK)
    version = opened(storage)
    got: dict[tuple[str, int], bytes] = {}

    def jobs(path: str) -> list[Job]:
        source = version.source(path)
        sink = CallbackSink(lambda request, view: got.update({(path, request.begin): bytes(view)}))
        return [Job(source, request, sink) for request in plan_file(source.blocks, BLOCK).requests]

    version.engine.run([job for path in files for job in jobs(path)])
    for path, data in files.items():
        assert b"".join(part for (name, _), part in sorted(got.items()) if name == path) == data


def test_a_file_without_digests_is_not_verified() -> None:
    blocks: FileBlocks = blocks_of(DATA, BLOCK)
    plain = FileBlocks("", blocks.starts, b"")

    def zeros(offset: int, view: memoryview) -> None:
        view[:] = bytes(len(view))

    buffer = bytearray(b"x" * len(DATA))
    sink = BufferSink(memoryview(buffer))
    source = Source("f", "here", plain, zeros, Traits())
    Engine().run(Job(source, request, sink) for request in plan_file(plain, 1 << 20).requests)
    assert not any(buffer)


def test_stored_files_name_themselves(stored: TreeStorage) -> None:
    entry = opened(stored).entry("w.bin")
    assert str(StoredFile(VERSION, entry)) == "m/one:v1/w.bin"
