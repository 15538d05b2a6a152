"""What many instances of one model cost: of one host beside one alone, and of a Ray cluster, also through an accelerator.

The origin is nginx with the model in a public bucket, which counts what it sends. On one host each start begins with an
empty host cache, or with a full one, and every page of the model is touched, so that it is in memory. On the cluster each
node has a host cache of its own.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hoist import verbs
from hoist.accelerator.origin import parse_origin
from hoist.accelerator.run import Accelerator
from hoist.accelerator.settings import Settings
from hoist.bench.image_files import write_bf16
from hoist.bench.records import Recorder
from hoist.config import Config, StorageConfig, load_config
from hoist.errors import LocalError
from hoist.fleet.instance import LOADED, Instance, Task
from hoist.fleet.local import LocalFleet
from hoist.fleet.ray import RayFleet
from hoist.testing.ray_cluster import ray_cluster
from hoist.testing.servers.nginx import NginxBucket
from hoist.testing.servers.ports import free_port

BENCH = "fleet"
_NAME = "bench/fleet:v1"
_PLAIN, _NEAR = "origin", "near"
_TOUCH = "hoist.bench.fleet_function:touch"
_DEADLINE_SECONDS = 300.0
Note = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Options:
    """Bytes of the model; instances of one host; nodes of the cluster and instances on each; runs."""

    size: int = 1 << 30
    instances: int = 8
    nodes: int = 3
    each: int = 4
    repeat: int = 3
    ray: bool = True
    folder: Path | None = None


def run_fleet_bench(options: Options, note: Note) -> list[dict[str, Any]]:
    """The records of all steps. Raises LocalError where nginx is missing, or an instance does not load."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="hoist-bench-", dir=options.folder)))
        source = write_bf16(home / "source" / "model.safetensors", options.size, 0)
        (home / "bucket" / "models").mkdir(parents=True)
        own = Config({"own": StorageConfig("own", str(home / "bucket" / "models"))})
        verbs.publish(str(source.parent), f"own//{_NAME}", config=own)
        server = stack.enter_context(NginxBucket(home / "bucket"))
        recorder = Recorder(note)
        common = {"size": source.stat().st_size}
        for run in range(options.repeat):
            # In turns, so that neither always comes first.
            counts = (1, options.instances) if run % 2 == 0 else (options.instances, 1)
            for count in counts:
                for values in _on_this_host(home, server, count):
                    recorder.note(BENCH, {"run": run, **common, **values})
        if options.ray:
            for values in _on_a_cluster(home, server, options):
                recorder.note(BENCH, {"run": 0, **common, **values})
        return recorder.records


def _on_this_host(home: Path, server: NginxBucket, count: int) -> Iterator[dict[str, Any]]:
    """A start with an empty host cache, then one with what that left."""
    cache = home / "blocks"
    config = load_config(_environ(home, server, cache), home)
    # The zygote imports what a load needs before anything is timed, as that of a long-lived host would have.
    with LocalFleet(config=config) as fleet:
        for state in ("cold", "warm"):
            sent = server.traffic()[1]
            with fleet.start(Task(f"{_PLAIN}//{_NAME}", _TOUCH), count, deadline_seconds=_DEADLINE_SECONDS) as running:
                found = _loaded(running.wait())
                yield {
                    "step": "host",
                    "state": state,
                    "instances": count,
                    "seconds": max(each.seconds or 0.0 for each in found),
                    "origin_bytes": server.traffic()[1] - sent,
                    "memory_bytes": proportional_bytes([each.pid for each in found if each.pid]),
                }
    shutil.rmtree(cache)


def _on_a_cluster(home: Path, server: NginxBucket, options: Options) -> Iterator[dict[str, Any]]:
    """Every node of a new cluster loads the model, from the origin, and then (its caches empty) through an accelerator."""
    address = f"127.0.0.1:{free_port()}"
    origin = parse_origin(_NEAR, f"{server.endpoint}/models", None)
    settings = Settings(origin, address, cache=home / "slices", size=2 * options.size)
    with Accelerator(settings, lambda line: None):
        for storage in (_PLAIN, _NEAR):
            environs = [
                _environ(home, server, home / f"{storage}-{number}", f"http://{address}")
                for number in range(options.nodes)
            ]
            with ray_cluster(environs, options.each) as cluster, RayFleet(cluster.address) as fleet:
                sent, count = server.traffic()[1], options.nodes * options.each
                with fleet.start(Task(f"{storage}//{_NAME}"), count, deadline_seconds=_DEADLINE_SECONDS) as running:
                    found = _loaded(running.wait())
                    yield {
                        "step": "cluster",
                        "through": "accelerator" if storage == _NEAR else "origin",
                        "nodes": len({each.node for each in found}),
                        "instances": count,
                        "seconds": max(each.seconds or 0.0 for each in found),
                        "origin_bytes": server.traffic()[1] - sent,
                    }
            for number in range(options.nodes):
                shutil.rmtree(home / f"{storage}-{number}", ignore_errors=True)


def _environ(home: Path, server: NginxBucket, cache: Path, accelerator: str | None = None) -> dict[str, str]:
    storages = {_PLAIN: {}, _NEAR: {"ACCELERATOR": accelerator} if accelerator else {}}
    values = {
        f"HOIST_STORAGE_{name.upper()}_{key}": value
        for name, more in storages.items()
        for key, value in {"URL": "s3://models", "ENDPOINT": server.endpoint, "ANONYMOUS": "true", **more}.items()
    }
    path = os.pathsep.join(filter(None, sys.path))
    return {"PATH": os.defpath, "HOME": str(home), "PYTHONPATH": path, "HOIST_CACHE": str(cache), **values}


def _loaded(found: Sequence[Instance]) -> Sequence[Instance]:
    for each in found:
        if each.state != LOADED:
            raise LocalError(f"instance {each.number} on {each.node} did not load: {each.error}")
    return found


def proportional_bytes(pids: Sequence[int]) -> int:
    """The memory of several processes together, each shared page counted once among them (PSS)."""
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
