"""Many instances that load one model at once, from each storage under a stated model of the bandwidths.

Each instance is a process, on a host of its own where hosts can be made (`netns.py`), without a host cache: "another host".
All bandwidths are scaled down by one factor, as shared links at full rates are beyond most machines; the model may be
scaled down further, and with it all times, deadlines included. Storages take turns, in an order that rotates.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hoist.bench import netns
from hoist.bench.fixtures import FIXTURES, build
from hoist.bench.herd_model import Bandwidths, ideal_seconds, origin_ideal_bytes
from hoist.bench.herd_stage import HOW, NAMESPACES, OPENERS, THROTTLED, HerdStage, Subject, set_herd_stage
from hoist.bench.herds import Herds
from hoist.bench.measuring import available_memory, ready_memory
from hoist.bench.process_cpu import machine_busy_seconds, session_cpu_seconds
from hoist.bench.records import Recorder
from hoist.errors import LocalError, UsageError
from hoist.fleet.local import JITTER_SECONDS
from hoist.storage.base import Version

Record = dict[str, Any]
MODEL = next(fixture for fixture in FIXTURES if fixture.model == "sd15/anything-v5.0")
VERSION = Version(MODEL.model, MODEL.version)
# Function Compute's: a port has to be open, an initializer to be done.
DEADLINES: Mapping[str, float] = {"port check": 120.0, "initializer": 300.0}
# What a performance NAS gives at the start, an instance's link at most, and an accelerator of 8 TB.
STORAGE_RATE, INSTANCE_RATE, ACCELERATOR_RATE = 600e6, 5e9 / 8, 2400e6
MOST_INSTANCES = 512
# An instance needs its model, and the process around it.
_PROCESS_BYTES = 64 << 20
# After so many times the ideal an instance is given up, and never before these seconds are over.
_PATIENCE, _LEAST_PATIENCE = 6.0, 60.0


@dataclass(frozen=True)
class Options:
    """What is measured. Rates are the full ones; `scale` scales them down, and `shorten` the times.

    `size` is the model that is stood for: `size * scale * shorten` bytes are moved. `how` None: namespaces where they
    can be made. `start_jitter` is a fleet's, in seconds at full scale.
    """

    storages: Sequence[str] = tuple(OPENERS)
    instances: Sequence[int] = (1, 2, 4, 8, 16)
    size: int = 2 << 30
    scale: float = 0.25
    shorten: float = 0.5
    storage_rates: Mapping[str, float] = field(default_factory=dict)
    instance_rate: float = INSTANCE_RATE
    start_jitter: float = JITTER_SECONDS
    deadlines: Mapping[str, float] = field(default_factory=lambda: dict(DEADLINES))
    repeat: int = 1
    how: str | None = None
    folder: Path | None = None

    def check(self) -> None:
        """Raise UsageError for what cannot be measured."""
        unknown = [name for name in self.storages if name not in OPENERS]
        if unknown:
            raise UsageError(f"there is no storage {unknown[0]!r} for a herd; there are {', '.join(OPENERS)}")
        strange = [name for name in self.storage_rates if name not in OPENERS]
        if strange:
            raise UsageError(f"a bandwidth is given of {strange[0]!r}; there are {', '.join(OPENERS)}")
        if not self.instances or not all(1 <= count <= MOST_INSTANCES for count in self.instances):
            raise UsageError(f"instances are from 1 to {MOST_INSTANCES}")
        for name, value in (("--scale", self.scale), ("--shorten", self.shorten)):
            if not 0 < value <= 1:
                raise UsageError(f"{name} is above 0 and at most 1, not {value:g}")
        if self.start_jitter < 0:
            raise UsageError("--start-jitter is 0 seconds or more")
        if any(seconds <= 0 for seconds in self.deadlines.values()):
            raise UsageError("a deadline is above 0 seconds")
        if self.width > 1:
            most = MODEL.size_at(1.0)
            raise UsageError(
                f"at most {most >> 20} MiB are moved for each instance: take a smaller --scale or --shorten"
            )

    @property
    def width(self) -> float:
        """The scale of the fixture's layers at which it is about as large as what shall be moved."""
        return math.sqrt(self.size * self.scale * self.shorten / MODEL.size_at(1.0))

    def rates(self, storage: str) -> Bandwidths:
        """The full bandwidths of that storage."""
        usual = ACCELERATOR_RATE if storage == "accl" else STORAGE_RATE
        origin = self.storage_rates.get("oss", STORAGE_RATE) if storage == "accl" else None
        return Bandwidths(self.storage_rates.get(storage, usual), self.instance_rate, origin)


def run_herd_bench(
    options: Options,
    on_record: Callable[[Record], None] = lambda record: None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Record]:
    """Measure; each record is also told to `on_record` as soon as it is there. What is not to be had has one that says so.

    Raises UsageError, and LocalError where there is not memory enough, or no hosts where they were asked for.
    """
    options.check()
    how = options.how or (THROTTLED if netns.unavailable() else NAMESPACES)
    most = max(options.instances)
    with tempfile.TemporaryDirectory(prefix="hoist-herd-file-", dir=options.folder) as folder:
        say(f"making a model of {options.size * options.scale * options.shorten / 2**20:,.0f} MiB")
        file = build(MODEL, Path(folder), scale=max(options.width, 0.01))
        size = file.stat().st_size
        need, free = most * (size + _PROCESS_BYTES), available_memory()
        if need > free:
            raise LocalError(
                f"{most} instances need {need >> 20} MiB of memory, and {free >> 20} MiB are available: take fewer, or a "
                "smaller --shorten"
            )
        say(f"publishing it, and setting the stage: {HOW[how]}")
        shaped = {name: options.rates(name).scaled(options.scale) for name in options.storages}
        with set_herd_stage(file, VERSION, shaped, most, how=how, folder=options.folder) as stage:
            return _Herds(stage, options, size, on_record).run()


class _Herds:
    def __init__(self, stage: HerdStage, options: Options, size: int, on_record: Callable[[Record], None]) -> None:
        self._stage, self._options, self._size = stage, options, size
        self._time_scale = size / (options.size * options.scale)
        self._recorder = Recorder(on_record)
        self._note = partial(self._recorder.note, "herd")

    def run(self) -> list[Record]:
        for name, reason in self._stage.missing.items():
            self._note({"storage": name, "skipped": reason})
        subjects = list(self._stage.subjects.values())
        with Herds(self._stage.config.environ) as nursery:
            for subject in subjects:
                # Untimed: imports, and what the server caches.
                nursery.run(self._stage.tasks(subject, 1), self._patience(subject, 1), learn=True)
            for run in range(self._options.repeat):
                for instances in self._options.instances:
                    first = run % max(1, len(subjects))
                    for subject in [*subjects[first:], *subjects[:first]]:
                        self._note({"run": run, **self._measure(nursery, subject, instances)})
        return self._recorder.records

    def _measure(self, nursery: Herds, subject: Subject, instances: int) -> Record:
        size, rates = self._size, subject.rates
        ideal = ideal_seconds(size, instances, rates)
        ready_memory(instances * size)
        subject.renew()
        leaders = list(subject.servers())
        sent, cpu, (busy, cores) = subject.sent_bytes(), session_cpu_seconds(leaders), machine_busy_seconds()
        # As a fleet has it: one alone need not wait.
        jitter = self._options.start_jitter * self._time_scale if instances > 1 else 0.0
        results = nursery.run(self._stage.tasks(subject, instances, jitter), self._patience(subject, instances))
        sent_now, cpu_now, (busy_now, cores_now) = (
            subject.sent_bytes(),
            session_cpu_seconds(leaders),
            machine_busy_seconds(),
        )
        loaded = [each for each in results if "seconds" in each]
        read = sum(each["bytes_read"] for each in loaded)
        return {
            **self._about(subject),
            "instances": instances,
            "seconds": [each["seconds"] for each in loaded],
            "failures": [each["error"] for each in results if "error" in each],
            "ideal_seconds": ideal,
            "bytes_read": read,
            "origin_bytes": read if sent is None or sent_now is None else sent_now - sent,
            "origin_bytes_by": "readers" if sent is None else "link",
            "origin_ideal_bytes": origin_ideal_bytes(size, instances, rates),
            "instance_cpu_seconds": sum(each["cpu_seconds"] for each in loaded),
            "server_cpu_seconds": cpu_now - cpu if leaders else None,
            "machine_busy": (busy_now - busy) / max(cores_now - cores, 1e-9),
        }

    def _patience(self, subject: Subject, instances: int) -> float:
        return max(_LEAST_PATIENCE, _PATIENCE * ideal_seconds(self._size, instances, subject.rates))

    def _about(self, subject: Subject) -> Record:
        options = self._options
        return {
            "storage": subject.name,
            "server": subject.server,
            "how": self._stage.how,
            "size": self._size,
            "model_size": options.size,
            "scale": options.scale,
            "time_scale": self._time_scale,
            "start_jitter": options.start_jitter,
            "rates": options.rates(subject.name).to_json(),
            "shaped_rates": subject.rates.to_json(),
            "deadlines": {name: seconds * self._time_scale for name, seconds in options.deadlines.items()},
        }
