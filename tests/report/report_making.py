"""Records for tests of the report: the whole experiment with made-up times, and a herd."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from hoist.bench.fixtures import FIXTURES
from hoist.bench.records import make_record

GIB = 1 << 30
MACHINE: dict[str, Any] = {
    "architecture": "x86_64",
    "cores": 16,
    "cpu": "AMD EPYC 9Y24",
    "gpu": "NVIDIA L20",
    "kernel": "6.8.0",
    "memory_bytes": 128 * GIB,
    "packages": {"blake3": "1.0.11", "hoist": "0.1.0", "numpy": "2.4.6", "obstore": "0.12.1", "torch": "2.13.0"},
    "python": "3.11.7",
}
# Bytes a second: Hoist's and a plain loader's, first and second.
RATES = {
    "image": (900e6, 4000e6, 400e6, 5000e6),
    "nas": (590e6, 5000e6, 280e6, 5200e6),
    "oss": (1100e6, 1150e6, 240e6, 400e6),
    "accl": (1600e6, 1700e6, 300e6, 420e6),
}


def switch(storage: str, file: str, loader: str, which: str, run: int, seconds: float, size: int, **more: Any) -> Any:
    """One switch, as `hoist bench switch` records it."""
    second_read = loader == "plain" and which == "first"
    values = {
        "run": run,
        "storage": storage,
        "kind": storage,
        "model": f"sd/{file}",
        "file": file,
        "size": size,
        "loader": loader,
        "switch": which,
        "hashed": second_read,
        "access": "sequential",
        "cached_before": None if storage in ("oss", "accl") else 0.0 if which == "first" else 1.0,
        "seconds": seconds,
        "cpu_seconds": seconds / 2,
        "bytes_read": size * (1 + second_read),
        "disk_bytes": 0,
        "peak_bytes": size + (6 << 20),
    }
    return make_record("switch", MACHINE, values | more)


def experiment(repeat: int = 5, models: int = 10, storages: tuple[str, ...] = tuple(RATES)) -> list[Any]:
    """Ten models from four storages by two loaders, first and second, each so many times."""
    chance = random.Random(8)
    found = []
    for run in range(repeat):
        for storage in storages:
            for fixture in FIXTURES[:models]:
                size = int(fixture.listed_gib * GIB)
                for number, (loader, which) in enumerate(
                    (loader, which) for loader in ("hoist", "plain") for which in ("first", "second")
                ):
                    seconds = size / RATES[storage][number] * chance.uniform(0.9, 1.25)
                    found.append(switch(storage, fixture.file_name, loader, which, run, seconds, size))
    return found


def herd(storage: str, count: int, seconds: list[float], **more: Any) -> Any:
    """One turn of a herd, at full scale."""
    rate = {"nas": 600e6, "accl": 2400e6}.get(storage, 1250e6)
    values = {
        "run": 0,
        "storage": storage,
        "server": "nginx",
        "how": "namespaces",
        "instances": count,
        "size": 2 * GIB,
        "model_size": 2 * GIB,
        "scale": 1.0,
        "time_scale": 1.0,
        "rates": {"storage": rate, "instance": 625e6, "origin": None},
        "shaped_rates": {"storage": rate, "instance": 625e6, "origin": None},
        "start_jitter": 0.0,
        "deadlines": {"port check": 120.0, "initializer": 300.0},
        "seconds": seconds,
        "failures": [],
        "ideal_seconds": max(2 * GIB / 625e6, count * 2 * GIB / rate),
        "bytes_read": count * 2 * GIB,
        "origin_bytes": count * 2 * GIB,
        "origin_bytes_by": "link",
        "origin_ideal_bytes": count * 2 * GIB,
        "instance_cpu_seconds": 1.0,
        "server_cpu_seconds": None,
        "machine_busy": 0.4,
    }
    return make_record("herd", MACHINE, values | more)


def herds() -> list[Any]:
    """Two storages that cross: the accelerator is slower alone, and faster from two on."""
    found = []
    for count in (1, 2, 4, 8, 32, 64):
        nas, accl = max(3.5, 3.6 * count), 4.5 + 0.9 * count
        found.append(herd("nas", count, [nas * (0.9 + 0.1 * n / count) for n in range(1, count + 1)]))
        found.append(herd("accl", count, [accl * (0.8 + 0.2 * n / count) for n in range(1, count + 1)]))
    return found


def write(path: Path, records: list[Any]) -> Path:
    """A file of records."""
    path.write_text("".join(json.dumps(record, sort_keys=True) + "\n" for record in records))
    return path
