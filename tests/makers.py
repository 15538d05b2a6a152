"""What several tests make: weight files byte by byte, folders, storages with versions in them."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from hoist.config import EngineConfig
from hoist.model.blocks import BlockTable, FileBlocks, block_digest, file_blocks
from hoist.model.cut import cut
from hoist.model.manifest import FileEntry, Manifest, digest_of
from hoist.model.reference import Reference, parse_reference
from hoist.progress import Progress
from hoist.read.engine import Engine, Job
from hoist.read.plan import plan_file
from hoist.read.sink import BufferSink
from hoist.read.version import OpenedVersion, open_version
from hoist.storage import layout
from hoist.storage.base import Storage, Traits, Version
from hoist.storage.directory import DirectoryObjects
from hoist.storage.memory import MemoryObjects
from hoist.storage.open_directory import TRAITS
from hoist.storage.tree import TreeStorage
from hoist.transfer.publish import Options, Published, publish_version

SOURCE = Path(__file__).parents[1] / "src"
V1 = parse_reference("m/one:v1")
QUICK = EngineConfig(retry_seconds=20.0)


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that look random and are the same each time."""
    return random.Random(seed).randbytes(size)


def blocks_of(data: bytes, target: int) -> FileBlocks:
    """The blocks of `data`, cut at fixed steps of `target`."""
    lengths = cut(len(data), target=target)
    starts = [sum(lengths[:n]) for n in range(len(lengths) + 1)]
    return file_blocks(digest_of(data), lengths, [block_digest(data[a:b]) for a, b in pairwise(starts)])


def memory_storage() -> TreeStorage:
    return TreeStorage(MemoryObjects(), "nas")


def directory_storage(root: Path) -> TreeStorage:
    root.mkdir(parents=True, exist_ok=True)
    return TreeStorage(DirectoryObjects(root, str(root), TRAITS), "nas")


def put_tag(storage: TreeStorage, name: str, tag: str, label: str, digest: str = "sha256:" + "0" * 64) -> None:
    """A tag as it stands there, whether there is such a version or not."""
    storage.objects.put(layout.tag_key(name, tag), layout.tag_document(label, digest))


def put_version(storage: TreeStorage, files: Mapping[str, bytes], target: int, reference: Reference = V1) -> Manifest:
    """A version whose blocks are as small as a test likes; it bypasses the scan, not the publication."""
    tables = {path: blocks_of(data, target) for path, data in files.items()}
    table = BlockTable.build(tables.values()).to_bytes()
    entries = [FileEntry(path, len(data), tables[path].file_digest) for path, data in files.items()]
    manifest, config = Manifest.build(entries, table)
    version = Version(reference.name, reference.label or "")
    publication = storage.begin(version, manifest.digest)
    for path, data in files.items():
        storage.objects.put(layout.file_key(version, path), data)
    for blob in (config, table):
        publication.put_blob(blob)
    publication.commit(manifest)
    return manifest


def publish(source: Path, storage: Storage, reference: str | Reference = V1, **options: Any) -> Published:
    """Publish without a word."""
    where = parse_reference(reference) if isinstance(reference, str) else reference
    return publish_version(source, storage, where, Options(**options), Progress())


def opened(storage: Storage, reference: Reference = V1, config: EngineConfig = QUICK) -> OpenedVersion:
    return open_version(storage, reference, Engine(config))


def read_file(
    storage: Storage, path: str = "w.bin", config: EngineConfig = QUICK, stop: threading.Event | None = None
) -> bytes:
    """The whole of one file by the engine, in requests as the storage likes them."""
    source = opened(storage).source(path)
    plan = plan_file(source.blocks, source.traits.request_bytes)
    buffer = bytearray(plan.size)
    sink = BufferSink(memoryview(buffer))
    Engine(config).run([Job(source, request, sink) for request in plan.requests], stop=stop)
    return bytes(buffer)


def wait_for(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait until something holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it does not come to that"
        time.sleep(0.02)


def nobody_is_left(seconds: float = 3.0) -> bool:
    """Whether the engine's threads end within a short while."""

    def working() -> bool:
        return any(thread.name.startswith("hoist-read") for thread in threading.enumerate())

    until = time.monotonic() + seconds
    while working() and time.monotonic() < until:
        time.sleep(0.01)
    return not working()


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@dataclass(frozen=True)
class Raw:
    """One tensor of a safetensors file that is written byte by byte."""

    name: str
    dtype: str
    shape: Sequence[int]
    data: bytes


def safetensors_bytes(tensors: Sequence[Raw], metadata: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file with the tensors in this order, whatever their alignment."""
    document: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for tensor in tensors:
        end = at + len(tensor.data)
        document[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    header = json.dumps(document).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + b"".join(tensor.data for tensor in tensors)


def run_python(code: str, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    """Start Python on `code` with this project's sources."""
    env = os.environ | {"PYTHONPATH": f"{SOURCE}{os.pathsep}{Path(__file__).parent}"} | environ
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(process: subprocess.Popen[str], seconds: float = 120) -> str:
    """Wait for a process that must succeed; what it printed."""
    out, error = process.communicate(timeout=seconds)
    assert process.returncode == 0, error[-3000:]
    return out


ENGINE_BLOCK = 4096
ENGINE_DATA = noise(50 * ENGINE_BLOCK + 17)


def engine_storage() -> TreeStorage:
    """One file of many blocks in memory, with few blocks a request and few connections."""
    storage = memory_storage()
    put_version(storage, {"w.bin": ENGINE_DATA}, ENGINE_BLOCK)
    storage.traits = Traits(request_bytes=3 * ENGINE_BLOCK, connections=4)
    return storage
