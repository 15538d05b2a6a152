"""The switcher over real models: what is moved and what is shared, and every way in which a handler can go wrong."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from function_making import (
    MIB,
    OWN,
    SHARED,
    UNET,
    Painter,
    config_of,
    first_bytes,
    is_right,
    parts_of,
    publish_models,
    serving,
)

import hoist
from hoist.config import Config
from hoist.errors import (
    Busy,
    DeadlineExceeded,
    HandlerError,
    HoistError,
    InvalidReference,
    LocalError,
    ModelUnknown,
    NotFound,
    StorageUnavailable,
)
from hoist.function.lease import Lease
from hoist.function.model import Model
from hoist.function.switch import Served, Switcher
from hoist.testing.servers import FaultServer, FolderOrigin
from makers import finish, run_python

SEEDS = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}
ONE, TWO = OWN + SHARED, 2 * OWN + SHARED
"""Bytes of one model, and of two that share."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def locations(root: Path) -> dict[str, str]:
    return publish_models(root, SEEDS)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return config_of(tmp_path)


@pytest.fixture
def bucket(root: Path, locations: dict[str, str], tmp_path: Path) -> Iterator[FaultServer]:
    """The same models in a bucket, which can go away; `remote` is the configuration that names it `far`."""
    with FaultServer(FolderOrigin(root)) as server:
        yield server


@pytest.fixture
def remote(bucket: FaultServer, tmp_path: Path) -> Config:
    return config_of(
        tmp_path,
        HOIST_STORAGE_FAR_URL="s3://models",
        HOIST_STORAGE_FAR_ENDPOINT=bucket.endpoint,
        HOIST_STORAGE_FAR_ANONYMOUS="true",
        HOIST_RETRY_SECONDS="1",
    )


FAR = {name: f"far//sd/{name}:v1" for name in SEEDS}


# What is moved ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("two_memories", [False, True])
def test_a_switch_moves_only_what_differs(locations: dict[str, str], config: Config, two_memories: bool) -> None:
    with serving(locations, config, two_memories=two_memories) as it:
        assert is_right(it.use("a"), 1)
        assert is_right(it.use("b"), 2)
        assert is_right(it.use("a"), 1)
        first, second = it.traces
    assert (first.kind, second.kind) == ("start", "switch")
    assert first.fetched_bytes >= ONE
    assert second.size_bytes == ONE
    assert second.host_reused_bytes == SHARED
    assert OWN <= second.fetched_bytes <= 1.05 * OWN
    if two_memories:
        assert (second.device_reused_bytes, second.device_copied_bytes) == (SHARED, OWN)


@pytest.mark.parametrize("two_memories", [False, True])
def test_a_switch_from_a_bucket_asks_it_only_for_what_differs(
    bucket: FaultServer, remote: Config, two_memories: bool
) -> None:
    with serving(FAR, remote, two_memories=two_memories) as it:
        assert is_right(it.use("a"), 1)
        assert is_right(it.use("b"), 2)
        assert it.traces[1].fetched_bytes == OWN
        assert it.traces[1].storage_kind == "oss"
        # What only `a` had is freed; what `b` has too stays.
        it.switcher.drop("a").result(30)
        assert it.switcher.usage().host_bytes == ONE
        assert it.switcher.usage().leaked_host_bytes == 0
        assert is_right(it.use("b"), 2)


@pytest.mark.parametrize("two_memories", [False, True])
def test_a_switch_back_from_host_memory_moves_nothing_from_the_storage(
    bucket: FaultServer, remote: Config, two_memories: bool
) -> None:
    with serving(FAR, remote, device=ONE, two_memories=two_memories) as it:
        it.use("a")
        it.use("b")
        assert it.state("a") == "host"
        with bucket.down():
            assert is_right(it.use("a"), 1)
        back = it.traces[-1]
        assert back.fetched_bytes == 0
        assert back.host_reused_bytes == ONE
        if two_memories:
            assert back.device_copied_bytes == OWN
        assert {span.phase for span in back.spans} >= {"evict", "deserialize"}
        assert it.painter.most == 1


@pytest.mark.parametrize("two_memories", [False, True])
def test_with_room_for_one_model_the_shared_part_stays_all_the_same(
    bucket: FaultServer, remote: Config, two_memories: bool
) -> None:
    with serving(FAR, remote, host=ONE, device=ONE, two_memories=two_memories) as it:
        for name, seed in [("a", 1), ("b", 2), ("c", 3), ("a", 1)]:
            assert is_right(it.use(name), seed)
        assert [trace.fetched_bytes for trace in it.traces] == [ONE, OWN, OWN, OWN]
        if two_memories:
            assert [trace.device_copied_bytes for trace in it.traces] == [ONE, OWN, OWN, OWN]
        assert it.switcher.usage().host_bytes == ONE


def test_a_model_larger_than_host_memory_goes_straight_to_the_device(bucket: FaultServer, remote: Config) -> None:
    with serving(FAR, remote, host=0, device=ONE, two_memories=True) as it:
        assert is_right(it.use("a"), 1)
        assert it.switcher.usage().host_bytes == 0
        assert is_right(it.use("b"), 2)
        assert (it.traces[1].fetched_bytes, it.traces[1].device_copied_bytes) == (OWN, OWN)
        assert it.state("a") == "storage"


def test_pinned_dropped_prefetched_and_told(locations: dict[str, str], config: Config) -> None:
    with serving(locations, config, host=TWO, device=ONE) as it:
        assert it.state("a") == "storage"
        assert it.switcher.prefetch("a").result(30).state == "host"
        assert it.traces[-1].kind == "prefetch"
        assert it.switcher.switch("a").result(30).state == "device"
        assert it.painter.loaded == ["a"]
        it.switcher.pin("a")
        with pytest.raises(Busy, match=r"no room for b: memory is held by a \(pinned\)"):
            it.use("b")
        it.switcher.unpin("a")
        it.use("b")
        state = next(each for each in it.switcher.states() if each.name == "a")
        assert (state.state, state.size_bytes, state.host_bytes, state.device_bytes) == ("host", ONE, ONE, 0)
        assert state.own_bytes == OWN
        assert state.version_digest.startswith("sha256:")
        it.switcher.drop("a").result(30)
        assert it.state("a") == "storage"
        with pytest.raises(hoist.HoistError, match="host or the device"):
            it.switcher.prefetch("a", to="moon")


def test_a_version_on_this_host_is_said_to_be_near(locations: dict[str, str], config: Config) -> None:
    with serving(locations, config, host=ONE, device=ONE) as it:
        it.use("a")
        it.use("b")
        assert it.state("a") == "cached"
        assert it.state("c") == "storage"


# How requests wait -------------------------------------------------------------------------------------------------


def test_200_clients_want_5_models_where_2_fit(locations: dict[str, str], config: Config) -> None:
    asked: list[str] = []
    lock = threading.Lock()
    wrong: list[Any] = []
    wanted = {name: first_bytes({f"{UNET}.0": _as_tensor(seed)}) for name, seed in SEEDS.items()}

    with serving(locations, config, host=TWO, device=TWO) as it:

        def client(number: int) -> None:
            rng = random.Random(number)
            for _ in range(5):
                name = rng.choice(list(SEEDS))
                with lock:
                    asked.append(name)
                    future = it.switcher.acquire(name, 60)
                with future.result(120) as lease:
                    usage = it.switcher.usage()
                    if first_bytes(lease.object) != wanted[name] or usage.host_bytes > TWO or usage.device_bytes > TWO:
                        wrong.append((name, usage))

        with ThreadPoolExecutor(200) as clients:
            list(clients.map(client, range(200)))
        assert not wrong
        assert len(asked) == 1000
        loads = sum(state.loads for state in it.switcher.states())
        assert it.painter.most <= 2
    assert loads <= 1.1 * misses_of_lru(asked)


def _as_tensor(seed: int) -> Any:
    import torch

    return torch.frombuffer(bytearray(parts_of(seed)[0].data), dtype=torch.uint8)


def misses_of_lru(asked: list[str]) -> int:
    held: OrderedDict[str, None] = OrderedDict()
    misses = 0
    for name in asked:
        misses += name not in held
        held[name] = None
        held.move_to_end(name)
        if len(held) > 2:
            held.popitem(last=False)
    return misses


def test_a_deadline_is_kept_and_a_cancelled_wait_ends(locations: dict[str, str], config: Config) -> None:
    with serving(locations, config, host=ONE, device=ONE) as it:
        held = it.switcher.acquire("a").result(30)
        late = it.switcher.acquire("b", 0.2)
        given_up: Future[Lease] = it.switcher.acquire("b")
        assert given_up.cancel()
        with pytest.raises(DeadlineExceeded, match="the time for b was over before its turn came"):
            late.result(30)
        with pytest.raises(CancelledError):
            given_up.result(1)
        held.release()
        held.release()
        assert is_right(it.use("b"), 2)
        assert it.painter.loaded == ["a", "b"]


def test_a_request_that_hangs_keeps_its_room_and_the_others_are_told(locations: dict[str, str], config: Config) -> None:
    with serving(locations, config, host=ONE, device=ONE) as it:
        it.use("a")
        hung = it.switcher.acquire("a", 0.5).result(30)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                it.switcher.acquire("b", 20).result(30)
            except Busy as error:
                assert not isinstance(error, DeadlineExceeded)
                assert "1 of them beyond their deadline" in str(error)
                break
        assert it.use("a") is not None
        hung.release()
        assert is_right(it.use("b"), 2)


def test_a_forgotten_lease_is_released(locations: dict[str, str], config: Config) -> None:
    with serving(locations, config, host=ONE, device=ONE) as it:
        it.switcher.acquire("a").result(30)
        gc.collect()
        assert is_right(it.use("b"), 2)


def test_what_is_not_served_is_said_with_what_is(locations: dict[str, str], config: Config) -> None:
    with serving({"anything": locations["a"], "broken": "not a location"}, config) as it:
        with pytest.raises(ModelUnknown, match="no model 'anythin' is served here; there are anything"):
            it.switcher.acquire("anythin").result(1)
        with pytest.raises(InvalidReference):
            it.use("broken")


def test_what_is_too_large_is_refused_with_the_mend(locations: dict[str, str], config: Config) -> None:
    said = rf"a is too large .* \({ONE} bytes, and the budget is .* {ONE - 1} in host memory\): raise the budget"
    with serving(locations, config, host=ONE - 1) as it, pytest.raises(LocalError, match=said):
        it.use("a")


def test_closing_waits_for_who_runs_and_refuses_the_rest(locations: dict[str, str], config: Config) -> None:
    with serving(locations, config, host=ONE, device=ONE) as it:
        held = it.switcher.acquire("a").result(30)
        waiting = it.switcher.acquire("b")
        threading.Timer(0.2, held.release).start()
        it.switcher.close(30)
        with pytest.raises(Busy, match="closing"):
            waiting.result(1)
        with pytest.raises(Busy, match="closing"):
            it.use("a")
        assert it.painter.alive == 0


# Handlers that go wrong --------------------------------------------------------------------------------------------


def test_a_load_that_raises_is_told_and_the_previous_model_serves_on(
    locations: dict[str, str], config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    def loading(model: Model) -> Any:
        if model.name == "b":
            raise ValueError("bad weights at https://x/?X-Amz-Signature=5ec2e7")
        return model.tensors()

    with serving(locations, config, Painter(loading), device=ONE) as it:
        it.use("a")
        with pytest.raises(HandlerError, match="the handler's load raised ValueError: bad weights") as raised:
            it.use("b")
        assert "5ec2e7" not in str(raised.value) + caplog.text
        assert "loading(model)" not in str(raised.value)
        assert "in loading" in caplog.text, "the traceback is in the log"
        assert is_right(it.use("a"), 1)
        assert it.traces[1].outcome == "failed"
        assert "ValueError" in next(each.error for each in it.switcher.states() if each.name == "b")


def test_a_load_that_gives_nothing_is_an_error(locations: dict[str, str], config: Config) -> None:
    nothing = pytest.raises(HandlerError, match="load of painter gave nothing for a")
    with serving(locations, config, Painter(lambda model: None)) as it, nothing:
        it.use("a")


def test_a_load_that_hangs_is_given_up_and_comes_back_late(locations: dict[str, str], config: Config) -> None:
    let_go = threading.Event()

    def loading(model: Model) -> Any:
        if model.name == "a":
            let_go.wait(60)
        return model.tensors()

    with serving(locations, config, Painter(loading), load_seconds=2.0) as it:
        with pytest.raises(Busy, match="does not come back"):
            it.use("a")
        assert is_right(it.use("b"), 2)
        with pytest.raises(Busy, match="does not come back"):
            it.use("a")
        let_go.set()
        until = time.monotonic() + 30
        while it.switcher.usage().host_bytes > ONE and time.monotonic() < until:
            time.sleep(0.01)
        assert is_right(it.use("a"), 1)


def test_a_handler_that_leaks_is_found_out_and_cannot_take_more_than_the_budget(
    locations: dict[str, str], config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    kept: list[Any] = []

    def loading(model: Model) -> Any:
        kept.append(model.tensors())
        return kept[-1]

    with serving(locations, config, Painter(loading), host=2 * ONE, device=ONE) as it:
        it.use("a")
        it.switcher.drop("a").result(30)
        assert it.switcher.usage().leaked_host_bytes == ONE
        assert f"has not let go of {ONE} bytes" in caplog.text
        it.use("b")
        it.switcher.drop("b").result(30)
        with pytest.raises(Busy, match="bytes that the handler has not let go of"):
            it.use("c")
        kept.clear()
        assert is_right(it.use("c"), 3)
        assert it.switcher.usage().leaked_host_bytes == 0


def test_an_unload_that_raises_does_no_harm(locations: dict[str, str], config: Config) -> None:
    painter = Painter()

    def unload(held: Any) -> None:
        raise OSError("no")

    painter.unload = unload  # type: ignore[method-assign]
    with serving(locations, config, painter, host=ONE, device=ONE) as it:
        assert is_right(it.use("a"), 1)
        assert is_right(it.use("b"), 2)


def test_async_handlers(locations: dict[str, str], config: Config) -> None:
    from hoist.function.handler import Handler

    async def load(model: Model) -> Any:
        return model.tensors()

    closed = []

    async def close() -> None:
        closed.append(True)

    handler = Handler("async", load, lambda held, request: None, close=close)
    with Switcher(locations, handler, config=config) as switcher, switcher.acquire("a").result(30) as lease:
        assert is_right(lease.object, 1)
    assert closed == [True]


# Storages that go wrong --------------------------------------------------------------------------------------------


def test_a_storage_lost_in_the_middle_of_a_switch(bucket: FaultServer, remote: Config) -> None:
    with serving(FAR, remote, device=ONE) as it:
        it.use("a")
        # Its manifest and headers are here, its weights are not.
        it.switcher.prefetch("b").result(30)
        it.switcher.drop("b").result(30)
        with bucket.down():
            with pytest.raises(StorageUnavailable):
                it.use("b")
            assert is_right(it.use("a"), 1)
        assert it.painter.loaded == ["a"], "it has not been away"
        assert is_right(it.use("b"), 2)


def test_a_storage_lost_between_headers_and_weights(bucket: FaultServer, remote: Config) -> None:
    with serving(FAR, remote, host=ONE, device=ONE) as it:
        it.use("a")
        it.use("b")
        assert it.state("a") == "storage"
        with bucket.down(), pytest.raises(StorageUnavailable):
            it.use("a")
        assert is_right(it.use("b"), 2)
        assert is_right(it.use("a"), 1)


def test_a_model_removed_while_it_is_loaded_serves_on(tmp_path: Path, config: Config) -> None:
    locations = publish_models(tmp_path, {"a": 1, "b": 2})
    with serving(locations, config, host=ONE, device=ONE) as it:
        held = it.switcher.acquire("a").result(30)
        hoist.remove(locations["a"])
        assert is_right(held.object, 1)
        held.release()
        it.use("b")
        with pytest.raises(NotFound):
            it.use("a")
        with pytest.raises(NotFound):
            it.use("a")
        assert is_right(it.use("b"), 2)
        publish_models(tmp_path / "again", {"a": 6})
        hoist.publish(tmp_path / "again" / "source-a", locations["a"])
        assert is_right(it.use("a"), 6)


def test_a_switcher_is_there_before_torch_is() -> None:
    code = "import sys, hoist.function.switch, hoist.function.handler; assert 'torch' not in sys.modules"
    finish(run_python(code))


def test_named_files_only(tmp_path: Path, config: Config) -> None:
    (location,) = publish_models(tmp_path, {"a": 1}).values()
    served: Any = {"a": Served(location, ("model.safetensors",)), "none": Served(location, ("no.safetensors",))}
    with serving(served, config) as it:
        assert is_right(it.use("a"), 1)
        with pytest.raises(HoistError, match=r"no file 'no\.safetensors'"):
            it.use("none")


# In the long run ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("far", [False, True])
def test_memory_is_flat_over_500_switches(
    locations: dict[str, str], config: Config, bucket: FaultServer, remote: Config, far: bool
) -> None:
    where, how, before_that, switches = (FAR, remote, 20, 40) if far else (locations, config, 100, 500)
    names = ["a", "b", "c"]
    with serving(where, how, host=TWO, device=ONE) as it:
        for n in range(before_that):
            it.use(names[n % 3])
        gc.collect()
        before = resident_bytes()
        for n in range(switches):
            it.use(names[n % 3])
        gc.collect()
        assert resident_bytes() - before < 2 * ONE
        assert not it.switcher._driver._tickets
        assert it.switcher.usage().leaked_host_bytes == 0


def resident_bytes() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def test_random_requests_switches_and_cancels(locations: dict[str, str], config: Config) -> None:
    rng = random.Random(7)
    with serving(locations, config, host=2 * TWO, device=TWO) as it:
        held: list[Lease] = []
        waiting: list[Future[Any]] = []
        for _ in range(600):
            name = rng.choice(list(SEEDS))
            step = rng.random()
            if step < 0.5:
                waiting.append(it.switcher.acquire(name, 60))
            elif step < 0.6:
                it.switcher.prefetch(name)
            elif step < 0.62:
                it.switcher.drop(name)
            elif step < 0.7 and waiting:
                waiting.pop(rng.randrange(len(waiting))).cancel()
            elif step < 0.95:
                done = [future for future in waiting if future.done()]
                waiting = [future for future in waiting if not future.done()]
                held += [future.result() for future in done]
            while len(held) > 2:
                held.pop(0).release()
            usage = it.switcher.usage()
            assert usage.host_bytes <= 2 * TWO
            assert usage.device_bytes <= TWO
        for future in waiting:
            # Each lease is given back as soon as it is had: the others wait for its model to go.
            future.add_done_callback(lambda done: done.result().release())
        for lease in held:
            lease.release()
        for future in waiting:
            future.result(60)
        for name, seed in SEEDS.items():
            assert is_right(it.use(name), seed)
        assert MIB
