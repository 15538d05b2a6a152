"""What the paperwork of a very large model costs: manifest and block table, made, written, read; no weight moves.

The files are safetensors with the tensors of a transformer's layers; their headers are real, their digests made up. In a
directory they lie as sparse files, so that what reads headers can be measured too.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from hoist.bench.steps import Steps
from hoist.config import Config
from hoist.errors import UsageError
from hoist.model.blocks import DIGEST_BYTES, BlockTable, FileBlocks, block_digest, file_blocks
from hoist.model.cut import Piece, cut
from hoist.model.formats.safetensors import LENGTH_BYTES, parse_header
from hoist.model.manifest import FileEntry, Manifest
from hoist.model.reference import Reference
from hoist.progress import Progress
from hoist.read.connect import connect
from hoist.read.listing import list_versions
from hoist.read.plan import plan_file
from hoist.read.version import OpenedVersion, open_version
from hoist.storage import layout
from hoist.storage.base import Storage, Version
from hoist.storage.directory import DirectoryObjects
from hoist.storage.tree import TreeStorage

FILES = 10_000
FILE_BYTES = 100_000_000
_MODEL = "bench/catalog"
# Names and rows of a layer's tensors, 4,096 wide; the layers are repeated until the file is full.
_LAYER = (
    ("input_layernorm.weight", 1),
    ("self_attn.q_proj.weight", 4096),
    ("self_attn.k_proj.weight", 1024),
    ("self_attn.v_proj.weight", 1024),
    ("self_attn.o_proj.weight", 4096),
    ("mlp.gate_proj.weight", 14336),
)
_ROW_BYTES = 4096 * 2
_SMALLEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Paper:
    """The documents of a version whose weights do not exist."""

    manifest: Manifest
    config: bytes
    table: bytes
    blocks: int


def run_catalog(
    address: str,
    *,
    files: int = FILES,
    file_bytes: int = FILE_BYTES,
    progress: Progress | None = None,
    config: Config | None = None,
) -> list[dict[str, Any]]:
    """Make, write, read and remove the paperwork of a model of `files` files in the storage at `address`.

    The records have seconds and peak memory of each step. What was written is removed again. Raises UsageError for sizes
    that mean nothing, and what a storage may.
    """
    if files < 1 or file_bytes < _SMALLEST:
        raise UsageError("a catalogue has 1 file at least, of 1 MiB at least each")
    storage, engine = connect(address, config)
    version = Version(_MODEL, f"run-{uuid4().hex[:12]}")
    with storage:
        about = {"storage": address, "kind": storage.kind, "files": files, "size": files * file_bytes}
        steps = Steps("catalog", about, progress or Progress())
        try:
            _write(steps, storage, version, files, file_bytes)
            with steps.step("open: manifest and block table"):
                opened = open_version(storage, Reference(version.name, version.label), engine)
                assert opened.table.files
            _read(steps, opened)
            with steps.step("list"):
                list_versions(storage, version.name)
            _inspect(steps, opened, file_bytes)
        finally:
            _remove(steps, storage, version)
    return steps.records


def _write(steps: Steps, storage: Storage, version: Version, files: int, file_bytes: int) -> None:
    header = _header(file_bytes)
    with steps.step("cut") as noted:
        tables = list(_tables(files, file_bytes, header))
        noted["blocks"] = sum(map(len, tables))
    paper = _paper(steps, tables, file_bytes)
    with steps.step("publish: documents and markers"):
        publication = storage.begin(version, paper.manifest.digest)
        for blob in (paper.config, paper.table):
            publication.put_blob(blob)
        publication.commit(paper.manifest)


def _paper(steps: Steps, tables: list[FileBlocks], file_bytes: int) -> Paper:
    with steps.step("block table") as noted:
        table = BlockTable.build(tables).to_bytes()
        noted["document_bytes"] = len(table)
    entries = [
        FileEntry(f"model-{n:05d}-of-{len(tables):05d}.safetensors", file_bytes, each.file_digest)
        for n, each in enumerate(tables)
    ]
    with steps.step("manifest") as noted:
        manifest, config = Manifest.build(entries, table)
        noted["document_bytes"] = len(manifest.data)
    return Paper(manifest, config, table, sum(map(len, tables)))


def _read(steps: Steps, opened: OpenedVersion) -> None:
    with steps.step("a source for each file"):
        for path in opened.files:
            opened.source(path)
    with steps.step("a plan for each file") as noted:
        plans = 0
        for path in opened.files:
            source = opened.source(path)
            plans += len(plan_file(source.blocks, source.traits.request_bytes).requests)
        noted["requests"] = plans


def _inspect(steps: Steps, opened: OpenedVersion, file_bytes: int) -> None:
    """In a directory only: a bucket has no sparse objects, and a terabyte is not put there for this."""
    root = _root(opened.storage)
    if root is None:
        return
    from hoist.tensors.inspect import inspect_version

    header = _header(file_bytes)
    for path in opened.files:
        target = root / layout.file_key(opened.version, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            file.write(header)
            file.truncate(file_bytes)
    with steps.step("inspect: every header") as noted:
        noted["tensors"] = sum(len(file.tensors) for file in inspect_version(opened).files)


def _remove(steps: Steps, storage: Storage, version: Version) -> None:
    if version in storage.versions(version.name):
        with steps.step("remove"):
            storage.remove(version)


def _root(storage: Storage) -> Path | None:
    objects = storage.objects if isinstance(storage, TreeStorage) else None
    return objects.root if isinstance(objects, DirectoryObjects) else None


def _tables(files: int, file_bytes: int, header: bytes) -> Iterator[FileBlocks]:
    parsed = parse_header(header[LENGTH_BYTES:], file_bytes)
    pieces = [Piece(0, parsed.data_begin, index=True)]
    pieces += [Piece(each.begin, each.end, each.name.partition(".")[0]) for each in parsed.tensors]
    made_up = random.Random(0)  # noqa: S311
    first = block_digest(header)
    for number in range(files):
        # For each file anew: this is what a publish does.
        lengths = cut(file_bytes, pieces)
        rest = made_up.randbytes(DIGEST_BYTES * (len(lengths) - 1))
        digests = [rest[at : at + DIGEST_BYTES] for at in range(0, len(rest), DIGEST_BYTES)]
        yield file_blocks(f"sha256:{hashlib.sha256(str(number).encode()).hexdigest()}", lengths, [first, *digests])


def _header(file_bytes: int) -> bytes:
    """A header with its length, for tensors that fill a file of so many bytes."""
    tensors: dict[str, object] = {}
    # Room for the header itself: it is of this length whatever it says.
    length = 16 * 1024
    at, number, room = 0, 0, file_bytes - LENGTH_BYTES - length
    while at < room:
        name, rows = _LAYER[number % len(_LAYER)]
        end = min(at + rows * _ROW_BYTES, room)
        key = f"model.layers.{number // len(_LAYER)}.{name}"
        tensors[key] = {"dtype": "U8", "shape": [end - at], "data_offsets": [at, end]}
        at, number = end, number + 1
    text = json.dumps(tensors).encode()
    if len(text) > length:
        raise UsageError("files of a catalogue are of 5 GB at most: take more files instead")
    return length.to_bytes(LENGTH_BYTES, "little") + text.ljust(length)
