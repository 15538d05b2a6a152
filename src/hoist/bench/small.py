"""The small figures beside the large ones: how quick the command line starts, how verbs use memory, how a model of a
terabyte is described."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from hoist.bench.child import run_child
from hoist.bench.machine import machine_facts
from hoist.bench.records import make_record
from hoist.bench.startup import run_startup
from hoist.config import Config

Record = dict[str, Any]
_STARTS = 9
_TERABYTE, _FILES = 10**12, 10_000


def measure_start(on_record: Callable[[Record], None]) -> list[Record]:
    """`hoist --help` beside `python -c pass`, medians of some turns."""
    found = {record["step"]: record["seconds"] for record in run_startup(_STARTS)}
    return [_noted(on_record, "start", {"seconds": found["help"], "python_seconds": found["python"], "runs": _STARTS})]


def measure_verbs(location: str, folder: Path, config: Config, on_record: Callable[[Record], None]) -> list[Record]:
    """`verify` and `pull` of a version, each in a process of its own: time, CPU and memory."""
    records = []
    for verb in ("verify", "pull"):
        task = {"do": "verb", "verb": verb, "location": location, "folder": str(folder)}
        records.append(
            _noted(on_record, "verb", {"verb": verb, "location": location, **run_child(task, config.environ)})
        )
    return records


def measure_scale(environ: Mapping[str, str], on_record: Callable[[Record], None]) -> list[Record]:
    """The manifest and block table of a model of a terabyte in 10,000 files, in a process of its own."""
    return [_noted(on_record, "scale", run_child({"do": "scale"}, environ))]


def describe_terabyte() -> dict[str, Any]:
    """Plan the blocks of every file, write manifest and block table, read them back; seconds and bytes."""
    from hoist.bench.measuring import status_bytes
    from hoist.model.blocks import BlockTable, file_blocks
    from hoist.model.cut import cut
    from hoist.model.manifest import FileEntry, Manifest

    before, size = status_bytes("VmRSS"), _TERABYTE // _FILES
    clock = [time.perf_counter()]
    planned = []
    for number in range(_FILES):
        lengths = cut(size)
        digest = f"sha256:{number:064x}"
        planned.append((digest, file_blocks(digest, lengths, [number.to_bytes(32, "big")] * len(lengths))))
    clock.append(time.perf_counter())
    table = BlockTable.build(blocks for _, blocks in planned).to_bytes()
    entries = (FileEntry(f"part-{number:05}.bin", size, digest) for number, (digest, _) in enumerate(planned))
    manifest, _ = Manifest.build(entries, table)
    clock.append(time.perf_counter())
    read, found = Manifest.parse(manifest.data), BlockTable.parse(table)
    blocks = sum(len(found.of(entry.digest, entry.size).digests) // 32 for entry in read.files)
    clock.append(time.perf_counter())
    plan, write, again = (end - start for start, end in pairwise(clock))
    return {
        "model_bytes": _TERABYTE,
        "files": len(read.files),
        "blocks": blocks,
        "table_bytes": len(table),
        "manifest_bytes": len(manifest.data),
        "plan_seconds": plan,
        "write_seconds": write,
        "read_seconds": again,
        "peak_bytes": status_bytes("VmHWM") - before,
    }


def _noted(on_record: Callable[[Record], None], bench: str, values: Mapping[str, Any]) -> Record:
    record = make_record(bench, machine_facts(), values)
    on_record(record)
    return record
