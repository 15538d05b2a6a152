"""Reading from an NFS server without a mount: a verified load against what libnfs gives at most, taken in turns.

The limit is libnfs alone: no hashing, memory that is there already, each number of contexts with each size of request and
one or two of them at once, and the best of them counts. `python -m hoist.bench.nfs [--size 2GiB] [--runs 5]` starts an
nfs-ganesha of its own, publishes a model to it and prints one JSON record a measurement, then the ratio of the medians.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import hoist
from hoist.bench.machine import machine_facts
from hoist.bench.records import make_record
from hoist.config import StorageConfig, parse_size
from hoist.memory import allocate
from hoist.storage.nfs.open_nfs import parse_place
from hoist.storage.nfs.place import Place
from hoist.storage.nfs.session import Session
from hoist.testing.servers import GaneshaServer

_SPAN = 8 << 20
CONTEXTS = (1, 2, 4, 8)
REQUESTS = (256 << 10, 512 << 10, 1 << 20)
_NAME, _FILE = "bench/nfs:v1", "model.safetensors"


def raw_rate(place: Place, path: str, size: int, contexts: int, request: int, memory: memoryview) -> float:
    """Bytes a second of reading the whole file with so many contexts and requests of that size."""
    with ExitStack() as stack:
        sessions = []
        for number in range(contexts):
            session = Session(_with(place, request), f"hoist bench {os.getpid()} {time.time_ns()} {number}")
            stack.callback(session.close)
            sessions.append((session, session.open(path, os.O_RDONLY)))
        spans, lock = iter(range(0, size, _SPAN)), Lock()

        def read(session: Session, handle: int) -> None:
            while True:
                with lock:
                    begin = next(spans, None)
                if begin is None:
                    return
                end = min(begin + _SPAN, size)
                assert session.read(handle, begin, memory[begin:end]) == end - begin

        began = time.perf_counter()
        threads = [Thread(target=read, args=each) for each in sessions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return size / (time.perf_counter() - began)


def measure(size: int, runs: int, on_record: Callable[[dict[str, Any]], None]) -> float:
    """The median of the loads' rates over the median of the limits'. Needs root and nfs-ganesha; raises LocalError."""
    machine = machine_facts()
    with tempfile.TemporaryDirectory(prefix="hoist-bench-") as home, GaneshaServer(Path(home) / "nas") as server:
        (Path(home) / "source").mkdir()
        total = _write_model(Path(home) / "source" / _FILE, size)
        location = f"{server.url}//{_NAME}"
        hoist.publish(Path(home) / "source", location)
        place = parse_place(StorageConfig(server.url, server.url))
        path = f"/{_NAME.replace(':', '/')}/{_FILE}"
        memory = allocate(total + mmap.PAGESIZE)
        memory[:: mmap.PAGESIZE] = bytes(len(range(0, len(memory), mmap.PAGESIZE)))
        # The first load imports what a load needs.
        _load(location, total)
        rates: dict[str, list[float]] = {"limit": [], "load": []}
        for run in range(runs):
            for turn in ("limit", "load") if run % 2 == 0 else ("load", "limit"):
                values = _limit(place, path, total, memoryview(memory)) if turn == "limit" else _load(location, total)
                rates[turn].append(values["bytes_per_second"])
                on_record(make_record("nfs", machine, {"run": run, "what": turn, "size": total, **values}))
        return statistics.median(rates["load"]) / statistics.median(rates["limit"])


def _limit(place: Place, path: str, size: int, memory: memoryview) -> dict[str, Any]:
    rates = {
        f"{contexts} x {request >> 10} KiB": raw_rate(place, path, size, contexts, request, memory)
        for contexts in CONTEXTS
        for request in REQUESTS
    }
    best = max(rates, key=lambda name: rates[name])
    return {"bytes_per_second": rates[best], "best": best, "rates": rates}


def _load(location: str, size: int) -> dict[str, Any]:
    began, cpu = time.perf_counter(), time.process_time()
    tensors = hoist.load_file(location, _FILE, "cpu")
    seconds = time.perf_counter() - began
    used = time.process_time() - cpu
    assert len(tensors)
    return {"bytes_per_second": size / seconds, "cpu_seconds_per_gib": used * (1 << 30) / size}


def _write_model(path: Path, size: int) -> int:
    """A safetensors file of random tensors of 16 MiB; its size in bytes."""
    each = 16 << 20
    names = [f"layer.{number}.weight" for number in range(max(1, size // each))]
    header = {
        name: {"dtype": "F16", "shape": [4096, 2048], "data_offsets": [at * each, (at + 1) * each]}
        for at, name in enumerate(names)
    }
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for _ in names:
            file.write(os.urandom(each))
    return path.stat().st_size


def _with(place: Place, request: int) -> Place:
    return Place(place.server, place.port, place.path, place.uid, place.gid, request)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m hoist.bench.nfs")
    parser.add_argument("--size", default="2GiB")
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    ratio = measure(parse_size(chosen.size), chosen.runs, lambda record: _say(json.dumps(record)))
    _say(f"verified load over the best of raw libnfs: {ratio:.2f} (target 0.85)")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
