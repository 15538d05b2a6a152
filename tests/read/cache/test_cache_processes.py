"""Many processes, and processes that are killed: each block once, and nothing but right blocks, whenever a kill comes."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass
from multiprocessing import Process, get_context
from pathlib import Path
from typing import Any

import pytest

from hoist.model.blocks import FileBlocks
from hoist.read.cache.host import HostCache
from hoist.read.engine import Engine
from hoist.read.mapped import map_cached
from hoist.storage.base import Storage
from hoist.storage.tree import TreeStorage
from hoist.storage.wrap import Counting, Latency, Wrapper
from makers import QUICK, directory_storage, noise, opened, put_version

KILLS = int(os.environ.get("HOIST_TEST_KILLS", "100"))
BLOCK = 64 << 10
DATA = noise(40 * BLOCK + 99)
FORK = get_context("fork")


@pytest.fixture
def storage(tmp_path: Path) -> TreeStorage:
    found = directory_storage(tmp_path / "models")
    put_version(found, {"w.bin": DATA}, BLOCK)
    return found


@dataclass
class Hold:
    """Lets so many reads of weights through, and the others when there is a file `go`."""

    reads: int
    go: Path


class Held(Wrapper):
    """Does not run on while a kill is on its way, however late that comes on a busy machine."""

    def __init__(self, inner: Storage, hold: Hold) -> None:
        super().__init__(inner)
        self._hold = hold

    def before(self, operation: str, size: int) -> None:
        if operation == "read_into":
            self._hold.reads -= 1
            while self._hold.reads < 0 and not self._hold.go.exists():
                time.sleep(0.001)


def fill_once(folder: Path, models: Path, counts: Any = None, hold: Hold | None = None) -> None:
    """Fill the whole file; how many bytes came from the storage."""
    slow: Storage = Latency(directory_storage(models), 0.001)
    counting = Counting(Held(slow, hold) if hold else slow)
    source = opened(counting).source("w.bin")
    with HostCache(folder, 1 << 30).file(source.blocks, source.seen_as) as cached:
        cached.fill(source, Engine(QUICK), [(0, source.size)])
        assert cached.complete
        assert cached.path.read_bytes() == DATA
    if counts is not None:
        counts.put(counting.bytes.get("read_into", 0))


def start(*arguments: Any) -> Process:
    process = FORK.Process(target=fill_once, args=arguments)
    process.start()
    return process  # type: ignore[return-value]


@pytest.mark.parametrize("count", [2, 8])
def test_processes_that_want_the_same_cost_it_once(tmp_path: Path, storage: TreeStorage, count: int) -> None:
    counts = FORK.Queue()
    processes = [start(tmp_path / "cache", tmp_path / "models", counts) for _ in range(count)]
    fetched = [counts.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    # The block table is read apart from the weights; every byte of the file came once, to whichever process.
    assert sum(fetched) == len(DATA)


def watched(folder: Path, blocks: FileBlocks, process: Process, count: int) -> int:
    """Wait until so many blocks are here, or the process has ended; how many there are then."""
    with HostCache(folder).file(blocks) as cached:
        while True:
            here = len(blocks) - len(cached.missing(0, len(blocks)))
            if here >= count or not process.is_alive():
                return here
            time.sleep(0.0005)


def test_kills_at_any_moment_leave_only_right_blocks(tmp_path: Path, storage: TreeStorage) -> None:
    folder, models = tmp_path / "cache", tmp_path / "models"
    blocks = opened(storage).source("w.bin").blocks
    rng, stages, go = random.Random(5), set(), tmp_path / "go"
    killed = 0
    while killed < KILLS:
        go.unlink(missing_ok=True)
        wanted = rng.randrange(len(blocks) + 1)
        pair = [start(folder, models, None, Hold(wanted + 4, go)) for _ in range(2)]
        stages.add(watched(folder, blocks, pair[0], wanted))
        assert pair[0].pid
        os.kill(pair[0].pid, signal.SIGKILL)
        go.touch()
        pair[0].join(10)
        killed += pair[0].exitcode == -signal.SIGKILL
        if killed % 3 == 0:
            assert pair[1].pid
            os.kill(pair[1].pid, signal.SIGKILL)
        pair[1].join(30)
        assert pair[1].exitcode in (0, -signal.SIGKILL)
        cache = HostCache(folder)
        with cache.file(blocks) as cached:
            here = [index for index in range(len(blocks)) if cached.has(index)]
            assert all(cached.is_right(index) for index in here)
            assert all(cached.claims.is_free(index) for index in range(len(blocks)))
        if len(here) == len(blocks):
            (entry,) = cache.entries()
            assert cache.drop(entry.name)
            assert cache.trim() == 0
    fill_once(folder, models)
    assert len(stages) > 3 or KILLS < 20, "kills at many stages"


def test_a_forked_child_does_not_keep_its_parents_claims(tmp_path: Path, storage: TreeStorage) -> None:
    source = opened(storage).source("w.bin")
    cache = HostCache(tmp_path / "cache", 1 << 30)
    with cache.file(source.blocks) as other:
        with cache.file(source.blocks) as cached:
            assert cached.claims.take(0, 5)
            child = FORK.Process(target=time.sleep, args=(60,))
            child.start()
            assert not other.claims.is_free(0)
        until = time.monotonic() + 10
        while not other.claims.is_free(0):
            assert time.monotonic() < until, "the child has let its parent's claims go as soon as it ran"
            time.sleep(0.01)
        assert child.is_alive()
        child.kill()
        child.join()


def test_a_mapping_keeps_its_file(tmp_path: Path, storage: TreeStorage) -> None:
    source = opened(storage).source("w.bin")
    cache = HostCache(tmp_path / "cache", 1 << 30)
    with cache.file(source.blocks) as cached:
        cached.fill(source, Engine(QUICK), [(0, source.size)])
        mapped = map_cached(source, cached)
    mapped.close()
    (entry,) = cache.entries()
    assert entry.in_use
    assert not cache.drop(entry.name)
    memory = mapped.memory
    assert memory[:] == DATA
    del mapped, memory
    assert cache.drop(entry.name)
