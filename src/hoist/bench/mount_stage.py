"""The benchmark of the mount on this machine, start to end: files made and published, the server, the mounts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hoist.bench.fixtures import FIXTURES, build
from hoist.bench.mount import Material, Options, run_mounts
from hoist.bench.small_files import make_small_files
from hoist.bench.stage import PUBLIC, Stage, set_stage
from hoist.errors import LocalError, UsageError
from hoist.model.packs import PACK_BELOW
from hoist.storage.base import Version
from hoist.verbs import publish

Record = dict[str, Any]
Say = Callable[[str], None]
MODEL = next(fixture for fixture in FIXTURES if fixture.model == "sd15/anything-v5.0")
SMALL_BYTES = 100_000
_SMALL = Version("bench/small", "v1")
# The file, what is published of it, and what a mount keeps of it; and as much again for what is on its way.
_ROOM = 4


def run_mount_bench(
    scale: float,
    small_files: int,
    folder: Path | None,
    options: Options,
    on_record: Callable[[Record], None],
    say: Say = lambda line: None,
) -> list[Record]:
    """Run it in a temporary folder in `folder`. `scale` is the fixture's (1: 1.99 GiB).

    Raises UsageError, LocalError where there is no room, no server or nothing can be mounted, and what the verbs may.
    """
    if small_files < 1:
        raise UsageError(f"small files are 1 or more, not {small_files}")
    with set_stage([PUBLIC], folder=folder) as stage:
        material = set_material(stage, scale, small_files, options, say)
        return run_mounts(stage, material, options, on_record)


def set_material(stage: Stage, scale: float, small_files: int, options: Options, say: Say) -> Material:
    """Make and publish what the works need. Raises LocalError where there is no room."""
    need = _ROOM * MODEL.size_at(scale)
    free = shutil.disk_usage(stage.home).free
    if free < need:
        raise LocalError(
            f"{stage.home.parent} has {free >> 20} MiB free, this needs {need >> 20}: give another --folder"
        )
    say(f"making and publishing {MODEL.file_name}, {MODEL.size_at(scale) / 2**30:.2f} GiB")
    file = build(MODEL, stage.home / "files", scale=scale)
    version, size = Version(MODEL.model, MODEL.version), file.stat().st_size
    publish(file, f"{stage.publish_to(PUBLIC)}//{version}", config=stage.config)
    shutil.rmtree(stage.home / "files")
    small = None
    if "small" in options.works:
        small = _SMALL
        say(f"making and publishing {small_files:,} files of {SMALL_BYTES // 1000} KB")
        make_small_files(stage.home / "small", small_files, SMALL_BYTES)
        where = f"{stage.publish_to(PUBLIC)}//{small}"
        # They appear in a bucket, which has packs; the folder behind it would have none by itself.
        publish(stage.home / "small", where, pack_below=PACK_BELOW, config=stage.config)
        shutil.rmtree(stage.home / "small")
    say(f"mounting, {options.repeat} times each way")
    return Material(version, MODEL.file_name, size, small)
