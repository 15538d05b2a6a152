"""A sync of storages that are in step, measured: many models of some versions each, in two buckets on one radosgw.

What is in the buckets is written there directly, both sides the same, as that many publishes would take longer than what is
measured. Requests are counted in a run of its own, by a relay, as counting them costs time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import obstore

from hoist.bench.records import Recorder
from hoist.bench.relay import Relay
from hoist.bench.stage import bucket_table, isolated_config
from hoist.config import Config
from hoist.errors import HoistError
from hoist.model.blocks import BlockTable, block_digest, file_blocks
from hoist.model.manifest import FileEntry, Manifest, digest_of
from hoist.storage import layout, open_storage
from hoist.storage.base import Version
from hoist.storage.bucket import BucketObjects
from hoist.storage.tree import TreeStorage
from hoist.testing.servers import RadosgwServer
from hoist.verbs import publish, sync

Record = dict[str, Any]
_BUCKETS = ("here", "there")
_PUTS_AT_ONCE = 64
_TAG = "stable"
_PLAN = "bench"


@dataclass(frozen=True, slots=True)
class Options:
    """Models, versions of each, runs, and where the temporary folder goes."""

    models: int = 1000
    versions: int = 5
    repeat: int = 3
    folder: Path | None = None


def run_syncs(options: Options, note: Callable[[Record], None]) -> list[Record]:
    """The records. Raises LocalError where there is no radosgw."""
    recorder = Recorder(note)
    with TemporaryDirectory(prefix="hoist-bench-", dir=options.folder) as name, ExitStack() as stack:
        home = Path(name)
        server = stack.enter_context(RadosgwServer())
        for bucket in _BUCKETS:
            server.create_bucket(bucket)
        config = _config(home, server)
        for bucket in _BUCKETS:
            _fill(config, bucket, options)
        counted = {"models": options.models, "versions": options.models * options.versions, "tags": options.models}
        for run in range(options.repeat):
            recorder.note("sync", {"work": "in step", "run": run, **counted, **_timed(config)})
        recorder.note("sync", {"work": "in step", "counted": True, **counted, **_requests(home, server)})
        (home / "new").mkdir()
        (home / "new" / "config.json").write_bytes(b"{}")
        publish(home / "new", f"here//{_name(0)}:new", tags=[_TAG], config=config)
        recorder.note("sync", {"work": "one new version", "run": 0, **counted, **_timed(config)})
    return recorder.records


def _config(home: Path, server: RadosgwServer, endpoint: str = "") -> Config:
    lines = [bucket_table(bucket, server, bucket, endpoint) for bucket in _BUCKETS]
    lines.append(f'[sync.{_PLAN}]\nfrom = "here"\nto = ["there"]\n')
    return isolated_config(home, "\n".join(lines), server)


def _name(model: int) -> str:
    return f"bench/model-{model:05}"


def _fill(config: Config, bucket: str, options: Options) -> None:
    with open_storage(config.storage(bucket), config.environ) as storage:
        objects = cast(BucketObjects, cast(TreeStorage, storage).objects)
        asyncio.run(_put(objects.store, _objects(options)))


def _objects(options: Options) -> Iterator[tuple[str, bytes]]:
    """The keys and contents of all versions and tags."""
    for model in range(options.models):
        for number in range(options.versions):
            version = Version(_name(model), f"v{number}")
            data = f"{version}".encode()
            table = BlockTable.build([file_blocks(digest_of(data), [len(data)], [block_digest(data)])]).to_bytes()
            manifest, config = Manifest.build([FileEntry("config.json", len(data), digest_of(data))], table)
            yield layout.file_key(version, "config.json"), data
            yield layout.blob_key(version, digest_of(config)), config
            yield layout.blob_key(version, digest_of(table)), table
            yield layout.manifest_key(version), manifest.data
        yield layout.tag_key(version.name, _TAG), layout.tag_document(version.label, manifest.digest)


async def _put(store: Any, objects: Iterator[tuple[str, bytes]]) -> None:
    async def work() -> None:
        # Shared by all: each takes the next.
        for key, data in objects:
            await obstore.put_async(store, key, data, use_multipart=False)

    await asyncio.gather(*(work() for _ in range(_PUTS_AT_ONCE)))


def _timed(config: Config) -> Record:
    used = time.process_time()
    began = time.perf_counter()
    done = sync(_PLAN, config=config)
    seconds = time.perf_counter() - began
    for error in done.errors:
        raise error
    if not done.in_step:
        raise HoistError("the storages are not in step after a sync")
    brought = sum(len(target.brought) for target in done.targets)
    return {"seconds": seconds, "cpu_seconds": time.process_time() - used, "brought": brought}


def _requests(home: Path, server: RadosgwServer) -> Record:
    """How many requests a run makes of both buckets together."""
    with Relay(server.endpoint.partition("://")[2]) as relay:
        config = _config(home, server, f"http://{relay.host}")
        values = _timed(config)
        return values | {"requests": relay.requests()}
