"""The comparison behind the targets, start to end on this machine: fixtures, servers, loads from each, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hoist.bench import mount as mounting
from hoist.bench import publish as publishing
from hoist.bench.fixtures import FIXTURES, Fixture, build
from hoist.bench.load import COLD, WARM, Options, run_loads
from hoist.bench.mount_stage import set_material
from hoist.bench.mounters import PEERS as MOUNTS
from hoist.bench.peers import UPLOADERS
from hoist.bench.profile import Profile, profile_load
from hoist.bench.select import run_selections, selections, write_layers
from hoist.bench.small import measure_scale, measure_start, measure_verbs
from hoist.bench.small_files import run_small_files
from hoist.bench.stage import DIRECTORY, EMPTY, PUBLIC, S3, Stage, set_stage
from hoist.errors import UsageError
from hoist.verbs import publish

Record = dict[str, Any]
_NAME = "sd15/anything-v5.0"
SAFETENSORS = next(fixture for fixture in FIXTURES if fixture.model == _NAME)
CHECKPOINT = replace(SAFETENSORS, file_name="Anything-v5.0-PRT-RE.ckpt", model=f"{_NAME}-zip")
PUBLISH, SELECT, SMALL, PACKS, MOUNT = "publish", "select", "small", "packs", "mount"
# A gigabyte of small files at scale 1.
_SMALL_FILES, _SMALL_BYTES = 10_000, 100_000
# 6 GiB at scale 1.
_LAYERS = 96
# What is compared: where it lies, and in which format; `publish` puts it there.
CASES: dict[str, tuple[str, Fixture]] = {
    "directory": (DIRECTORY, SAFETENSORS),
    "checkpoint": (DIRECTORY, CHECKPOINT),
    "bucket": (S3, SAFETENSORS),
    "public": (PUBLIC, SAFETENSORS),
    PUBLISH: (S3, SAFETENSORS),
    SELECT: (PUBLIC, SAFETENSORS),
    SMALL: (DIRECTORY, SAFETENSORS),
    PACKS: (S3, SAFETENSORS),
    MOUNT: (PUBLIC, SAFETENSORS),
}
# Mounts take long, and have a command of their own.
USUAL = tuple(case for case in CASES if case != MOUNT)
# Publishes that are not finished, and what the server has yet to clear away, take room too.
_ROOM = 6


@dataclass(frozen=True, slots=True)
class Suite:
    """What to run: the cases, the fixtures' scale (1: 1.99 GiB), which S3 server, and how loads are measured."""

    cases: Sequence[str] = USUAL
    scale: float = 1.0
    server: str = "radosgw"
    options: Options = field(default_factory=Options)


def run_suite(
    suite: Suite, on_record: Callable[[Record], None], say: Callable[[str], None] = lambda line: None
) -> list[Record]:
    """Run it; each record is also told to `on_record`, each step to `say`.

    Raises UsageError for an unknown case, LocalError without the servers, and what the verbs may.
    """
    unknown = [name for name in suite.cases if name not in CASES]
    if unknown:
        raise UsageError(f"there is no case {unknown[0]!r}; there are {', '.join(CASES)}")
    storages = list(dict.fromkeys(CASES[case][0] for case in suite.cases))
    size = max(CASES[case][1].size_at(suite.scale) for case in suite.cases)
    records: list[Record] = []

    def note(record: Record) -> None:
        records.append(record)
        on_record(record)

    with set_stage(storages, folder=suite.options.folder, server=suite.server, size=_ROOM * size) as stage:
        for case in suite.cases:
            run = _RUNS.get(case, _loads)
            run(stage, case, suite, lambda record: note({**record, **_served(stage, record)}), say)
    return records


def run_profiles(
    scale: float, server: str, folder: Path | None, say: Callable[[str], None] = lambda line: None
) -> list[Profile]:
    """The profiles of loads from a directory, cold and warm, from a bucket and from a public one, on this machine.

    Raises LocalError without the servers, and what the verbs may.
    """
    size = SAFETENSORS.size_at(scale)
    reference = f"{SAFETENSORS.model}:{SAFETENSORS.version}"
    found = []
    with set_stage(folder=folder, server=server, size=_ROOM * size) as stage:
        file = build(SAFETENSORS, stage.home / "files", scale=scale)
        for storage in stage.storages:
            publish(file, f"{stage.publish_to(storage)}//{reference}", config=stage.config)
            for state in (COLD, WARM) if storage == DIRECTORY else (COLD,):
                say(f"profiling a load from {storage}")
                found.append(profile_load(f"{storage}//{reference}", stage.config, state))
    return found


def _loads(
    stage: Stage, case: str, suite: Suite, on_record: Callable[[Record], None], say: Callable[[str], None]
) -> list[Record]:
    storage, fixture = CASES[case]
    options = replace(suite.options, folder=stage.home)
    say(f"making and publishing {fixture.file_name} to {storage}, {fixture.size_at(suite.scale) / 2**30:.2f} GiB")
    file = build(fixture, stage.home / "files", scale=suite.scale)
    reference = f"{fixture.model}:{fixture.version}"
    publish(file, f"{stage.publish_to(storage)}//{reference}", config=stage.config)
    say(f"loading it {options.repeat} times each way")
    return run_loads(f"{storage}//{reference}", stage.config, options, on_record)


def _publishes(
    stage: Stage, case: str, suite: Suite, on_record: Callable[[Record], None], say: Callable[[str], None]
) -> list[Record]:
    fixture, storage = CASES[case][1], EMPTY
    file = build(fixture, stage.home / "files", scale=suite.scale)
    say(f"putting {fixture.file_name} to {storage} {suite.options.repeat} times each way")
    peers = tuple(UPLOADERS.values()) if suite.options.peers else ()
    options = publishing.Options(peers, suite.options.repeat, suite.options.limits)
    return publishing.run_publishes(file, storage, stage.config, options, on_record)


def _selects(
    stage: Stage, case: str, suite: Suite, on_record: Callable[[Record], None], say: Callable[[str], None]
) -> list[Record]:
    layers = max(4, round(_LAYERS * suite.scale))
    say(f"publishing {layers} layers of 64 MiB, and loading some tensors of them")
    path = write_layers(stage.home / "files" / "layers.safetensors", layers)
    storage, reference = CASES[case][0], f"bench/layers:{layers}"
    publish(path, f"{stage.publish_to(storage)}//{reference}", config=stage.config)
    return run_selections(f"{storage}//{reference}", stage.config, selections(layers), on_record)


def _smalls(
    stage: Stage, case: str, suite: Suite, on_record: Callable[[Record], None], say: Callable[[str], None]
) -> list[Record]:
    storage, fixture = CASES[case]
    say("starting the command line, verifying and pulling, describing a terabyte")
    file = build(fixture, stage.home / "files", scale=suite.scale)
    location = f"{storage}//{fixture.model}:{fixture.version}"
    publish(file, location, config=stage.config)
    return [
        *measure_start(on_record),
        *measure_verbs(location, stage.home / "pulled", stage.config, on_record),
        *measure_scale(stage.config.environ, on_record),
    ]


def _packs(
    stage: Stage, case: str, suite: Suite, on_record: Callable[[Record], None], say: Callable[[str], None]
) -> list[Record]:
    files = max(100, round(_SMALL_FILES * suite.scale))
    say(f"publishing {files:,} files of 100 KB to {EMPTY}, and pulling them with and without packs")
    records = run_small_files(EMPTY, files=files, file_bytes=_SMALL_BYTES, folder=stage.home, config=stage.config)
    for record in records:
        on_record(record)
    return records


def _mounts(
    stage: Stage, case: str, suite: Suite, on_record: Callable[[Record], None], say: Callable[[str], None]
) -> list[Record]:
    peers = MOUNTS if suite.options.peers else ()
    options = mounting.Options(peers=peers, repeat=suite.options.repeat)
    material = set_material(stage, suite.scale, max(100, round(_SMALL_FILES * suite.scale)), options, say)
    return mounting.run_mounts(stage, material, options, on_record)


_RUNS = {PUBLISH: _publishes, SELECT: _selects, SMALL: _smalls, PACKS: _packs, MOUNT: _mounts}


def _served(stage: Stage, record: Record) -> Record:
    """The server's name, where there is one."""
    if record.get("place") != "bucket":
        return {}
    return {"server": "nginx" if record["public"] else stage.server}
