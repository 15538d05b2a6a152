"""Whether a function is heard while it loads: health checks at a fixed rate, by clients that do not wait for each other."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from hoist.bench.function_server import Server, ask
from hoist.bench.function_stage import BUCKET, DIRECTORY, LARGE, SMALL, Stage, locations
from hoist.bench.measuring import ready_memory

RATE = 100
"""Checks a second."""
_CLIENTS = 8
_RECHECK = {"HOIST_RECHECK": "1"}
Sample = tuple[float, float, float, float]
"""When a check was due, when it was sent, when it was answered, and from when its answer was waited for.

That is from when it was due, if the answer to the one before kept it back; else from when it was sent: a client that this
busy machine wakes late tells nothing of the function.
"""


def health(stage: Stage, samples: int) -> Iterator[dict[str, Any]]:
    """Loads of the large model, one after the other, until so many checks were due while one was under way."""
    size = stage.size(LARGE)
    for storage in (DIRECTORY, BUCKET):
        told: dict[str, Any] = {"host_bytes": size, "environ": stage.new_cache() | _RECHECK}
        with stage.servers.function(locations(storage, LARGE, SMALL), **told) as server:
            loads, taken = _checked_loads(stage, server, samples)
        counted = [each for each in taken if any(begin <= each[0] <= end for begin, end in loads)]
        yield {
            "storage": storage,
            "size": size,
            "rate": RATE,
            "checks": len(counted),
            "loads": len(loads),
            "seconds": sum(end - begin for begin, end in loads) / len(loads),
            **_figures("answered", [answered - waited for _, _, answered, waited in counted]),
            **_figures("due", [answered - due for due, _, answered, _ in counted]),
        }


def _checked_loads(stage: Stage, server: Server, samples: int) -> tuple[list[tuple[float, float]], list[Sample]]:
    """The times of the loads, and every check."""
    loads: list[tuple[float, float]] = []
    done = Event()
    server.switched("/switch", SMALL)
    with ThreadPoolExecutor(_CLIENTS) as pool:
        began = time.perf_counter()
        clients = [pool.submit(_check, server, began, number, done) for number in range(_CLIENTS)]
        try:
            while sum(end - begin for begin, end in loads) * RATE < samples:
                ready_memory(stage.size(LARGE))
                stage.warm(LARGE)
                begin = time.perf_counter()
                server.switched("/switch", LARGE)
                loads.append((begin, time.perf_counter()))
                server.switched("/switch", SMALL)
        finally:
            done.set()
        return loads, [sample for client in clients for sample in client.result()]


def _check(server: Server, began: float, number: int, done: Event) -> list[Sample]:
    """One client: every so many-th check, each at its time, or as soon as the one before has been answered."""
    found: list[Sample] = []
    connection = server.connect()
    before = 0.0
    while not done.is_set():
        due = began + number / RATE
        time.sleep(max(0.0, due - time.perf_counter()))
        sent = time.perf_counter()
        answer = ask(connection, "GET", "/healthz", None, {})
        assert answer.status == 200, "it answers as long as it lives"
        answered = time.perf_counter()
        found.append((due, sent, answered, due if before > due else sent))
        before = answered
        number += _CLIENTS
    connection.close()
    return found


def _figures(what: str, values: Sequence[float]) -> dict[str, float]:
    return {
        f"{what}_{name}_seconds": percentile(values, part) for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }


def percentile(values: Sequence[float], part: float) -> float:
    """The least of them that so large a part of them does not exceed; 0 of nothing."""
    found = sorted(values)
    return found[max(0, math.ceil(part * len(found)) - 1)] if found else 0.0
