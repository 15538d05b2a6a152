"""How a reading engine ends early: retries that give up, errors, `stop`, Ctrl-C; no thread stays behind."""

from __future__ import annotations

import threading
import time
from threading import Event

import pytest

from hoist.config import EngineConfig
from hoist.errors import Cancelled, FileNotFound, HoistError, PermissionDenied, StorageUnavailable
from hoist.read.engine import Engine, Job
from hoist.read.plan import Request, plan_file
from hoist.read.sink import CallbackSink
from hoist.storage.base import Version
from hoist.storage.tree import TreeStorage
from hoist.storage.wrap import Counting, Faulty, Latency, Wrapper
from makers import ENGINE_DATA as DATA
from makers import engine_storage, nobody_is_left, opened, read_file

VERSION = Version("m/one", "v1")


@pytest.fixture
def stored() -> TreeStorage:
    return engine_storage()


def test_a_passing_error_is_tried_for_the_configured_time(stored: TreeStorage) -> None:
    failing = Faulty(Counting(stored), fail=1.0, only=frozenset({"read_into"}))
    began = time.monotonic()
    with pytest.raises(StorageUnavailable, match=r"an injected fault \(tried for 0\.6 s\)"):
        read_file(failing, config=EngineConfig(retry_seconds=0.6))
    assert time.monotonic() - began < 10
    assert nobody_is_left()


def test_it_is_tried_again_before_the_time_is_over(stored: TreeStorage) -> None:
    class Twice(Wrapper):
        asked = 0

        def before(self, operation: str, size: int) -> None:
            if operation == "read_into":
                self.asked += 1
                if self.asked <= 2:
                    raise StorageUnavailable("busy")

    assert read_file(Twice(stored)) == DATA


@pytest.mark.parametrize("error", [PermissionDenied("no"), FileNotFound("gone")])
def test_another_error_stops_at_once(stored: TreeStorage, error: HoistError) -> None:
    counting = Counting(Faulty(stored, fail=1.0, error=error, only=frozenset({"read_into"})))
    began = time.monotonic()
    with pytest.raises(type(error)):
        read_file(counting)
    # Not tried again, which would be for 20 s.
    assert time.monotonic() - began < 10
    assert counting.calls["read_into"] <= 4
    assert nobody_is_left()


def test_stop_ends_it_early(stored: TreeStorage) -> None:
    slow = Latency(stored, 0.05)
    stop = Event()
    timer = threading.Timer(0.15, stop.set)
    timer.start()
    with pytest.raises(Cancelled):
        read_file(slow, config=EngineConfig(connections=1), stop=stop)
    timer.join()
    assert nobody_is_left()


def test_what_is_stopped_before_it_begins_reads_nothing(stored: TreeStorage) -> None:
    # So short that it would be over before the caller's thread looks at `stop` for the first time.
    counting, stop = Counting(stored), Event()
    stop.set()
    with pytest.raises(Cancelled):
        read_file(counting, stop=stop)
    assert "read_into" not in counting.calls
    assert nobody_is_left()


def test_stop_ends_the_waiting_between_tries(stored: TreeStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoist.retry._FIRST_WAIT", 10.0)
    failing = Faulty(stored, fail=1.0, only=frozenset({"read_into"}))
    stop = Event()
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        read_file(failing, config=EngineConfig(retry_seconds=60), stop=stop)
    timer.join()
    # Sooner than the wait between two tries, which is 10 s.
    assert time.monotonic() - began < 5
    assert nobody_is_left()


def test_ctrl_c_in_the_callers_thread_leaves_no_thread(stored: TreeStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Latency(stored, 0.05)
    joined = threading.Thread.join

    def interrupt(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name.startswith("hoist-read") and timeout == 0.05:
            raise KeyboardInterrupt
        joined(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read_file(slow)
    monkeypatch.undo()
    assert nobody_is_left()


def test_an_error_of_the_sink_is_raised_and_ends_the_run(stored: TreeStorage) -> None:
    def full(request: Request, view: memoryview) -> None:
        raise OSError(28, "no space")

    source = opened(stored).source("w.bin")
    plan = plan_file(source.blocks, source.traits.request_bytes)
    with pytest.raises(OSError, match="no space"):
        Engine().run(Job(source, request, CallbackSink(full)) for request in plan.requests)
    assert nobody_is_left()
