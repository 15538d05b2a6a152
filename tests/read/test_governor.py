"""How many requests at once: the search for the number, the limits, and turns among loads."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoist.config import EngineConfig
from hoist.errors import StorageUnavailable
from hoist.model.blocks import FileBlocks
from hoist.pace import Pace, pace_of
from hoist.read.engine import Engine, Job
from hoist.read.governor import _SAME_SECONDS, Climb, Governor, governor_of
from hoist.read.plan import plan_file
from hoist.read.sink import BufferSink
from hoist.read.source import Source
from hoist.storage.base import Traits
from makers import nobody_is_left

BLOCK = 1000


def climbed(rate: Callable[[int], float], begin: int = 8, most: int = 64) -> int:
    """Where the search stays, at a storage that gives `rate(level)`."""
    climb = Climb(begin, most)
    for _ in range(30):
        climb.measured(rate(climb.level))
    return climb.level


def test_a_throttled_store_gets_many_requests() -> None:
    assert climbed(lambda level: 50.0 * level) >= 56


def test_a_store_with_a_ceiling_gets_what_fills_it() -> None:
    assert 20 <= climbed(lambda level: min(1000.0, 50.0 * level)) <= 41


def test_a_store_that_gives_no_more_gets_few_requests() -> None:
    assert climbed(lambda level: 1000.0) == 2
    assert climbed(lambda level: min(1000.0, 400.0 * level)) in (3, 4)


def test_a_store_that_chokes_gets_fewer_requests() -> None:
    assert climbed(lambda level: 1000.0 / level) == 2


@given(st.lists(st.floats(0, 1e9), max_size=200), st.integers(1, 64), st.sets(st.integers(0, 199)))
def test_the_level_stays_within_its_bounds(rates: list[float], begin: int, refusals: set[int]) -> None:
    climb = Climb(begin, 64)
    for n, rate in enumerate(rates):
        climb.refused() if n in refusals else climb.measured(rate)
        assert 1 <= climb.level <= 64


def test_a_busy_store_gets_half_and_is_tried_again_later() -> None:
    climb = Climb(16, 64)
    climb.refused()
    assert climb.level == 8
    for _ in range(200):
        climb.measured(50.0 * climb.level)
    assert climb.level >= 56


class Place:
    """A storage that counts who reads at once."""

    def __init__(self, seconds: float = 0.002, refusals: int = 0) -> None:
        self.seconds, self.refusals = seconds, refusals
        self.lock = threading.Lock()
        self.active = self.most = self.most_bytes = self.bytes = 0

    def read_into(self, offset: int, view: memoryview) -> None:
        with self.lock:
            self.active, self.bytes = self.active + 1, self.bytes + len(view)
            self.most, self.most_bytes = max(self.most, self.active), max(self.most_bytes, self.bytes)
            self.refusals -= 1
            refuse = self.refusals >= 0
        time.sleep(self.seconds)
        with self.lock:
            self.active, self.bytes = self.active - 1, self.bytes - len(view)
        if refuse:
            raise StorageUnavailable("busy")


def jobs(place: Place, blocks: int, where: str, request_bytes: int = BLOCK, traits: Traits | None = None) -> list[Job]:
    size = blocks * BLOCK
    table = FileBlocks("", array("Q", range(0, size + 1, BLOCK)), b"")
    source = Source("f", where, table, place.read_into, traits or Traits(request_bytes, 8, 8))
    sink = BufferSink(memoryview(bytearray(size)))
    return [Job(source, request, sink) for request in plan_file(table, request_bytes).requests]


@pytest.mark.parametrize(
    ("blocks", "request_blocks", "connections", "memory", "most"),
    [
        (40, 1, None, 1 << 20, 8),
        (3, 1, None, 1 << 20, 3),
        (40, 1, None, 4 * BLOCK + 500, 4),
        (40, 2, None, 5 * BLOCK, 5),
        (40, 1, None, BLOCK // 2, 1),
        (40, 1, 3, 1 << 20, 3),
        (40, 1, 16, 1 << 20, 16),
    ],
)
def test_limits_hold_in_fact(blocks: int, request_blocks: int, connections: int | None, memory: int, most: int) -> None:
    place = Place()
    config = EngineConfig(connections=connections, memory_bytes=memory)
    where = f"limits {blocks} {request_blocks} {connections} {memory}"
    Engine(config).run(jobs(place, blocks, where, request_blocks * BLOCK))
    assert place.most <= most
    assert place.most_bytes <= max(memory, BLOCK)
    assert nobody_is_left()


def test_loads_of_one_process_share_the_limits() -> None:
    place = Place()
    config = EngineConfig(connections=4, memory_bytes=1 << 20)
    threads = [threading.Thread(target=lambda: Engine(config).run(jobs(place, 30, "shared"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert place.most <= 4


def test_a_small_load_does_not_wait_for_a_large_one() -> None:
    place = Place(0.005)
    config = EngineConfig(connections=4, memory_bytes=1 << 20)
    ended: list[str] = []

    def load(name: str, blocks: int) -> None:
        Engine(config).run(jobs(place, blocks, "fair"))
        ended.append(name)

    large = threading.Thread(target=load, args=("large", 400))
    large.start()
    while place.most < 4:
        time.sleep(0.001)
    load("small", 8)
    large.join()
    assert ended == ["small", "large"]


def test_refusals_lower_the_number_and_the_read_completes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoist.retry._FIRST_WAIT", 0.001)
    traits = Traits(BLOCK, 8, 8)
    Engine().run(jobs(Place(refusals=1), 8, "refusing", traits=traits))
    assert governor_of("refusing", traits, EngineConfig()).climb.level == 4


def test_refusals_of_one_moment_count_once_and_a_later_one_again() -> None:
    governor = Governor(Climb(16, 16), 1 << 20)
    for _ in range(12):
        governor.refused()
    assert governor.climb.level == 8
    time.sleep(_SAME_SECONDS)
    governor.refused()
    assert governor.climb.level == 4


def test_who_is_asked_to_wait_holds_all_loads_of_the_storage_back() -> None:
    place = Begun()
    config = EngineConfig()
    threads = [threading.Thread(target=lambda: Engine(config).run(place.jobs("pausing"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # What was under way when the first was refused may still begin; what begins after that keeps away.
    early = [at for at in place.begun if place.refused_at + 0.1 < at < place.refused_at + place.pause]
    assert not early


def test_a_pause_has_an_end_also_for_a_load_that_begins_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoist.read.governor._LONGEST_PAUSE", 0.2)
    governor = Governor(Climb(4, 4), 1 << 20, fixed=True)
    governor.refused(3600.0)
    assert governor.climb.level == 4, "a number that was configured stays"
    with governor.share() as share:
        began = time.monotonic()
        assert governor.enter(share, 1, threading.Event())
        assert time.monotonic() - began >= 0.15


def test_a_storage_that_holds_answers_back_is_asked_for_less() -> None:
    traits = Traits(BLOCK, 8, 8)
    told = iter([0, 0, 3, 3, 3, *[4] * 40])
    those = [
        replace(job, source=replace(job.source, throttled=lambda: next(told)))
        for job in jobs(Place(), 4, "held back", traits=traits)
    ]
    Engine().run(those)
    assert governor_of("held back", traits, EngineConfig()).climb.level == 4


class Begun(Place):
    """A storage that refuses its fifth read, asks for a pause then, and notes when each read begins."""

    pause = 0.6

    def __init__(self) -> None:
        super().__init__(0.001)
        self.begun: list[float] = []
        self.refused_at = float("inf")

    def jobs(self, where: str) -> list[Job]:
        return jobs(self, 40, where, traits=Traits(BLOCK, 4, 4))

    def read_into(self, offset: int, view: memoryview) -> None:
        with self.lock:
            self.begun.append(time.monotonic())
            fifth = len(self.begun) == 5
        if fifth:
            self.refused_at = time.monotonic()
            busy = StorageUnavailable("busy")
            busy.retry_after = self.pause
            raise busy
        super().read_into(offset, view)


def test_a_stopped_load_gives_its_turns_back() -> None:
    climb = Climb(1, 1)
    governor = Governor(climb, 1 << 20)
    stop = threading.Event()
    with governor.share() as first, governor.share() as second:
        assert governor.enter(first, 10, stop)
        stop.set()
        assert not governor.enter(second, 10, stop)
        governor.leave(first, 10, done=True)
        assert governor.enter(second, 10, threading.Event())
        governor.leave(second, 10, done=True)
    assert not governor.in_use


def test_pace_spreads_bytes_over_time() -> None:
    pace = Pace(1_000_000)
    began = time.monotonic()
    for _ in range(10):
        pace.take(50_000)
    # Nine waits of 50 ms, less what was free at first: the cap can only make it slower than that.
    assert time.monotonic() - began >= 0.3


def test_pace_is_one_for_the_process_and_ends_with_stop() -> None:
    assert pace_of(123_456) is pace_of(123_456)
    stop = threading.Event()
    stop.set()
    pace = Pace(1)
    pace.take(1000)
    pace.take(1000, stop)


def test_engine_keeps_to_the_bandwidth() -> None:
    place = Place(0)
    began = time.monotonic()
    Engine(EngineConfig(max_bandwidth=100 * BLOCK)).run(jobs(place, 50, "paced"))
    assert time.monotonic() - began >= 0.35
