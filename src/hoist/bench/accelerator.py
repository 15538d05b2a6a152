"""What an accelerator is worth, and what it costs: a herd of cold instances, and warm throughput beside a static file.

The origin is nginx with the model as a static file, a public bucket. For the herd a relay before it holds all of its
connections together to a bandwidth. For the warm figures one client reads ranges, unverified, from three servers in turn:
the static file, the accelerator that has all of it, and the same without permission checks (which no accelerator of Hoist's
does, but to be measured).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from hoist import verbs
from hoist.accelerator.origin import parse_origin
from hoist.accelerator.render import render
from hoist.accelerator.run import Accelerator
from hoist.accelerator.settings import Places, Settings
from hoist.bench.machine import machine_facts
from hoist.bench.records import make_record
from hoist.bench.throttle import ThrottledRelay
from hoist.config import Config, StorageConfig
from hoist.storage.ranges import RangeClient
from hoist.testing.servers import NginxServer
from hoist.testing.servers.ports import free_port

BENCH = "accelerator"
_LOCATION = "models//bench/herd:v1"
_KEY = "bench/herd/v1/weights.bin"
_STEP, _CONNECTIONS = 16 << 20, 8
Note = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Options:
    """Bytes of the model, instances at once, bytes a second of the origin, runs of each figure."""

    size: int = 512 << 20
    instances: int = 16
    bandwidth: float = 100e6
    repeat: int = 3
    slice_bytes: int = 8 << 20


def run_accelerator(folder: Path, options: Options, note: Note) -> list[dict[str, Any]]:
    """The records of all steps; `folder` is emptied by the caller. Raises LocalError where nginx is missing."""
    machine = machine_facts()
    records: list[dict[str, Any]] = []

    def keep(values: dict[str, Any]) -> None:
        records.append(
            make_record(BENCH, machine, {"size": options.size, "slice_bytes": options.slice_bytes, **values})
        )
        note(records[-1])

    with NginxServer(folder / "origin") as origin:
        origin.create_bucket("bucket")
        _publish(folder, origin.data_folder / "bucket", options.size)
        for run in range(options.repeat):
            for way in ("direct", "accelerated"):
                keep({"run": run, "step": "herd", "way": way, **_herd(folder, origin, options, way)})
        for values in _warm(folder, origin, options):
            keep(values)
    return records


def _publish(folder: Path, bucket: Path, size: int) -> None:
    source = folder / "source"
    source.mkdir()
    noise = random.Random(0)  # noqa: S311 needs to be the same each time, not secret
    with (source / "weights.bin").open("wb") as file:
        for at in range(0, size, 1 << 20):
            file.write(noise.randbytes(min(1 << 20, size - at)))
    verbs.publish(str(source), _LOCATION, config=Config({"models": StorageConfig("models", str(bucket))}))


def _herd(folder: Path, origin: NginxServer, options: Options, way: str) -> dict[str, Any]:
    """All instances at once, each cold, and the origin too slow for them."""
    with ExitStack() as stack:
        relay = stack.enter_context(ThrottledRelay(_port(origin.endpoint), options.bandwidth))
        endpoint = f"http://127.0.0.1:{relay.port}"
        lines = ["[storage.models]", 'url = "s3://bucket"', f'endpoint = "{endpoint}"', "anonymous = true"]
        if way == "accelerated":
            url, _ = stack.enter_context(_accelerated(folder, f"{endpoint}/bucket", options))
            lines.append(f'accelerator = "{url}"')
        configuration = folder / "hoist.toml"
        configuration.write_text("\n".join(lines))
        found = _instances(options.instances, {**_environment(folder), "HOIST_CONFIG": str(configuration)})
        began = min(each["began"] for each in found)
        times = sorted(each["ended"] - began for each in found)
        return {
            "instances": options.instances,
            "origin_bytes_per_second": options.bandwidth,
            "seconds": times[-1],
            "median_seconds": median(times),
            "origin_bytes": relay.sent,
            "cpu_seconds": sum(each["cpu"] for each in found),
            "damaged": sum(each["damaged"] for each in found),
        }


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.defpath, "HOME": str(folder), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _instances(count: int, environment: dict[str, str]) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "hoist.bench.instance_read", _LOCATION]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [json.loads(process.communicate()[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@contextmanager
def _accelerated(
    folder: Path,
    base: str,
    options: Options,
    how: Callable[[Settings, Places], str] = render,
) -> Iterator[tuple[str, Accelerator]]:
    """An accelerator that is cold: its cache goes with it."""
    import shutil

    cache = folder / f"cache-{time.monotonic_ns()}"
    listen = f"127.0.0.1:{free_port()}"
    settings = Settings(parse_origin("bench", base), listen, cache, 4 * options.size)
    with Accelerator(replace(settings, slice_bytes=options.slice_bytes), render=how) as running:
        try:
            yield f"http://{listen}", running
        finally:
            shutil.rmtree(cache, ignore_errors=True)


def _unchecked(settings: Settings, places: Places) -> str:
    """What no accelerator may be told but this one, before a public bucket: to ask nobody."""
    text = render(settings, places)
    for old, new in (
        ("auth_request /hoist-check;", ""),
        ("auth_request_set $checked_etag $upstream_http_etag;", 'set $checked_etag "one";'),
        ("auth_request_set $checked_status $upstream_status;", 'set $checked_status "";'),
        ("proxy_no_cache $no_etag $other_etag;", ""),
    ):
        assert old in text, old
        text = text.replace(old, new)
    return text


def _warm(folder: Path, origin: NginxServer, options: Options) -> Iterator[dict[str, Any]]:
    """Bytes a second of the three ways, in turns, each after one round that fills caches."""
    base, host = f"{origin.endpoint}/bucket", urlsplit(origin.endpoint).netloc
    with ExitStack() as stack:
        checked, _ = stack.enter_context(_accelerated(folder, base, options))
        unchecked, _ = stack.enter_context(_accelerated(folder, base, options, _unchecked))
        client = RangeClient()
        stack.callback(client.close)
        ways = {"static": origin.endpoint, "accelerated": checked, "unchecked": unchecked}
        memory = memoryview(bytearray(options.size))
        for url in ways.values():
            _read(client, f"{url}/bucket/{_KEY}", host, memory)
        for run in range(3 * options.repeat):
            for shift in range(len(ways)):
                way = list(ways)[(run + shift) % len(ways)]
                seconds = _read(client, f"{ways[way]}/bucket/{_KEY}", host, memory)
                yield {"run": run, "step": "warm", "way": way, "connections": _CONNECTIONS, "seconds": seconds}


def _read(client: RangeClient, url: str, host: str, memory: memoryview) -> float:
    def one(offset: int) -> None:
        client.read_into(url, offset, memory[offset : offset + _STEP], "the model", {"Host": host})

    began = time.monotonic()
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        list(pool.map(one, range(0, len(memory), _STEP)))
    return time.monotonic() - began


def _port(endpoint: str) -> int:
    port = urlsplit(endpoint).port
    assert port is not None, "a local server has a port"
    return port
