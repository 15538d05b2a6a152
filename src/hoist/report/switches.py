"""The experiment out of its records: for each storage, model, loader and switch what was measured. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from hoist.bench.fixtures import FIXTURES
from hoist.report.material import Material, Record

HOIST: Final = "hoist"
# Whom Hoist stands beside: a plain loader, and where there is none, one of what was pulled.
_BESIDE: Final = ("plain", "pulled", "podman")
_REAL: Final = {fixture.file_name: int(fixture.listed_gib * (1 << 30)) for fixture in FIXTURES}
# A fixture's real file is a little smaller or larger than the size that is listed.
_SCALED: Final = 0.9


@dataclass(frozen=True, slots=True)
class Measured:
    """One model from one storage by one loader: seconds of each run, and how often the file was read (median)."""

    seconds: tuple[float, ...]
    reads: float

    @property
    def median(self) -> float:
        """The middle run."""
        return median(self.seconds)


@dataclass(frozen=True, slots=True)
class Store:
    """One storage of an experiment: `measured` by file, loader and switch."""

    name: str
    kind: str
    measured: Mapping[tuple[str, str, str], Measured]

    @property
    def loaders(self) -> list[str]:
        """All that loaded from it, Hoist first."""
        return sorted(dict.fromkeys(loader for _, loader, _ in self.measured), key=lambda name: name != HOIST)

    @property
    def beside(self) -> str | None:
        """The loader that Hoist stands beside."""
        return next((name for name in _BESIDE if name in self.loaders), None)

    def total(self, loader: str | None, switch: str) -> float | None:
        """The time of switches to all models, if this loader went to each of them."""
        files = {file for file, _, _ in self.measured}
        found = [self.measured.get((file, loader or "", switch)) for file in files]
        return sum(each.median for each in found if each) if all(found) else None


@dataclass(frozen=True, slots=True)
class Experiment:
    """Switches on one machine, measured alike. `sizes` are the files' bytes as measured; `sources` are files of records."""

    sources: tuple[str, ...]
    machine: Mapping[str, Any]
    access: str
    stores: tuple[Store, ...]
    sizes: Mapping[str, int]
    runs: int
    hashed: bool
    cached: float | None
    limits: tuple[Record, ...]

    @property
    def scaled(self) -> tuple[int, int] | None:
        """Bytes as measured and as they stand for, where test models are narrower than the real ones; else None."""
        pairs = [(size, real_size(file, size)) for file, size in self.sizes.items()]
        measured, real = (sum(each) for each in zip(*pairs, strict=True))
        return (measured, real) if measured < real else None


def real_size(file: str, size: int) -> int:
    """The size of the model that a file stands for."""
    listed = _REAL.get(file, size)
    return listed if size < _SCALED * listed else size


def experiments(material: Material) -> list[Experiment]:
    """One for each machine and way of access; storages out of several files stand in one, unless a file has the same."""
    groups: list[tuple[Any, list[str], list[Record]]] = []
    for file, records in material.files.items():
        own = [record for record in records if record["bench"] == "switch" and "skipped" not in record]
        for key in list(dict.fromkeys((_machine(record), record["access"]) for record in own)):
            here = [record for record in own if (_machine(record), record["access"]) == key]
            names = {record["storage"] for record in here}
            group = next((g for g in groups if g[0] == key and not names & {r["storage"] for r in g[2]}), None)
            if group is None:
                groups.append((key, [file], here))
            else:
                group[1].append(file)
                group[2].extend(here)
    return [_experiment(files, records, material) for _, files, records in groups]


def _machine(record: Record) -> tuple[str, ...]:
    return tuple(str(record["machine"].get(name)) for name in ("cpu", "cores", "memory_bytes", "gpu", "kernel"))


def _experiment(files: Sequence[str], records: Sequence[Record], material: Material) -> Experiment:
    names = list(dict.fromkeys(record["storage"] for record in records))
    cached = [record["cached_before"] for record in records if record["switch"] == "first"]
    known = [value for value in cached if value is not None]
    limits: dict[tuple[str, str], Record] = {}
    for file in files:
        for record in material.files[file]:
            if record["bench"] == "limit" and record.get("storage") in names:
                best = limits.setdefault((record["storage"], record["limit"]), record)
                if record["bytes_per_second"] > best["bytes_per_second"]:
                    limits[record["storage"], record["limit"]] = record
    return Experiment(
        tuple(files),
        records[-1]["machine"],
        records[0]["access"],
        tuple(_store(name, [record for record in records if record["storage"] == name]) for name in names),
        {record["file"]: int(record["size"]) for record in records},
        max(len(measured.seconds) for measured in _measured(records).values()),
        any(record.get("hashed") for record in records),
        max(known) if known else None,
        tuple(limits.values()),
    )


def _store(name: str, records: Sequence[Record]) -> Store:
    plain = {key[1:]: measured for key, measured in _measured(records).items()}
    return Store(name, records[0]["kind"], plain)


def _measured(records: Sequence[Record]) -> dict[tuple[str, str, str, str], Measured]:
    found: dict[tuple[str, str, str, str], list[Record]] = {}
    for record in records:
        key = (record["storage"], record["file"], record["loader"], record["switch"])
        found.setdefault(key, []).append(record)
    return {
        key: Measured(
            tuple(float(record["seconds"]) for record in own),
            median(record["bytes_read"] / record["size"] for record in own),
        )
        for key, own in found.items()
    }
