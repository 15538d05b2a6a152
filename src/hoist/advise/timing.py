"""How long the simulator itself takes, and how much memory: each size in a process of its own.

`python -m hoist.advise.timing WORK INSTANCES` simulates four storages one after the other and writes a record.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from hoist.advise.performance import Performance
from hoist.advise.simulate import Model, Poisson, ScaleOut, SimulationInput, simulate
from hoist.bench.records import Recorder
from hoist.errors import LocalError

SIZES = (25_000, 50_000, 100_000, 200_000)
_HOUR = 3600.0
_SIZE = 4 << 30
_LINK = 5e9 / 8
# As facts have them on Function Compute; the bandwidths do not matter to how long it takes, only whether they are short.
_NAS = Performance("nas", 4.0, 1e9, 10e9, None, 1.0, True, 1.0, 0.3)
STORAGES = (
    _NAS,
    replace(_NAS, kind="oss", setup_seconds=0.1, total_rate=12.5e9, page_cache=False),
    replace(_NAS, kind="accl", setup_seconds=0.1, total_rate=40e9, origin_rate=12.5e9, page_cache=False),
    replace(_NAS, kind="image", setup_seconds=1.0, total_rate=inf),
)
WORKS = {
    "each for itself": "one instance a host; all storages but the image's are overrun",
    "hosts, deadlines": "eight instances a host with one link and a host cache; who is over 300 s is started again, twice",
}


def fleet(work: str, storage: Performance, instances: int) -> SimulationInput:
    """So many instances that start over an hour."""
    given = SimulationInput(
        storage, Poisson.of(instances, _HOUR), (Model(_SIZE),), scale_out=ScaleOut(), links=((_LINK, 1.0),)
    )
    if work == "each for itself":
        return given
    return replace(
        given, instances_per_host=8, host_link=2 * _LINK, host_cache=True, deadline=300.0, retries=2, start_jitter=0.1
    )


def run_timing(
    works: Sequence[str] = tuple(WORKS),
    sizes: Sequence[int] = SIZES,
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """A record for each size of each work, told as soon as it is there. Raises LocalError where Python does not start."""
    recorder = Recorder(on_record)
    for work in works:
        for size in sizes:
            done = subprocess.run(
                [sys.executable, "-m", "hoist.advise.timing", work, str(size)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise LocalError(
                    f"the simulation of {size:,} instances ended with {done.returncode}: {done.stderr[-300:]}"
                )
            recorder.note("simulate", json.loads(done.stdout))
    return recorder.records


def measure(work: str, instances: int) -> dict[str, Any]:
    """Simulate all storages in this process: seconds, and the most memory it held."""
    began = time.perf_counter()
    events = 0
    for storage in STORAGES:
        outcome = simulate(fleet(work, storage, instances))
        assert outcome.total.count and outcome.series(), "all of it is worked out"
        events += outcome.usage.starts
    seconds = time.perf_counter() - began
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    peak = int(found[1]) * 1024 if found else 0
    return {"work": work, "instances": instances, "starts": events, "seconds": seconds, "peak_bytes": peak}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1], int(sys.argv[2]))) + "\n")
