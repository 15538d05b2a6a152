"""Reading from an NFS server without a mount: a verified load against what libnfs gives at most, taken in turns.

The limit is libnfs alone: no hashing, memory that is there already, each number of contexts with each size of request and
one or two of them at once, and the best of them counts. The server is an nfs-ganesha of the benchmark's own.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import hoist
from hoist.bench.image_files import write_bf16
from hoist.bench.measuring import ready_memory
from hoist.bench.records import Recorder
from hoist.config import StorageConfig
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


@dataclass(frozen=True, slots=True)
class Options:
    """Bytes of the model, runs, and where the temporary folder goes."""

    size: int = 2 << 30
    repeat: int = 5
    folder: Path | None = None


def run_nfs(options: Options, note: Callable[[dict[str, Any]], None]) -> list[dict[str, Any]]:
    """The records of loads and limits, in turns. Needs root and nfs-ganesha; raises LocalError."""
    recorder = Recorder(note)
    with (
        tempfile.TemporaryDirectory(prefix="hoist-bench-", dir=options.folder) as home,
        GaneshaServer(Path(home) / "nas") as server,
    ):
        source = write_bf16(Path(home) / "source" / _FILE, options.size, 0)
        total, location = source.stat().st_size, f"{server.url}//{_NAME}"
        hoist.publish(source.parent, location)
        place = parse_place(StorageConfig(server.url, server.url))
        path = f"/{_NAME.replace(':', '/')}/{_FILE}"
        memory = allocate(total + mmap.PAGESIZE)
        memory[:: mmap.PAGESIZE] = bytes(len(range(0, len(memory), mmap.PAGESIZE)))
        # The first load imports what a load needs.
        _load(location, total)
        for run in range(options.repeat):
            for turn in ("limit", "load") if run % 2 == 0 else ("load", "limit"):
                values = _limit(place, path, total, memoryview(memory)) if turn == "limit" else _load(location, total)
                recorder.note("nfs", {"run": run, "what": turn, "size": total, **values})
    return recorder.records


def _limit(place: Place, path: str, size: int, memory: memoryview) -> dict[str, Any]:
    rates = {
        f"{contexts} x {request >> 10} KiB": raw_rate(place, path, size, contexts, request, memory)
        for contexts in CONTEXTS
        for request in REQUESTS
    }
    best = max(rates, key=lambda name: rates[name])
    return {"bytes_per_second": rates[best], "best": best, "rates": rates}


def _load(location: str, size: int) -> dict[str, Any]:
    ready_memory(size)
    began, cpu = time.perf_counter(), time.process_time()
    tensors = hoist.load_file(location, _FILE, "cpu")
    seconds = time.perf_counter() - began
    used = time.process_time() - cpu
    assert len(tensors)
    return {"bytes_per_second": size / seconds, "cpu_seconds_per_gib": used * (1 << 30) / size}


def _with(place: Place, request: int) -> Place:
    return Place(place.server, place.port, place.path, place.uid, place.gid, request)
