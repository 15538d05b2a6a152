"""Facts from what was measured: records of `hoist bench`, with the machine and the date as their source.

| records | what they tell |
|---|---|
| `switch`, first switches | what one instance's loader draws from that kind of storage (`client-rate`) |
| `image`, loads | the same of an image |
| `accelerator`, warm reads | the same of an accelerator |
| `herd`, in namespaces | what a storage gives all instances together (`rate`), at full scale |
| `load`, from warm files | how fast a plain loader makes tensors of what the page cache has |
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from hoist.advise.facts import Fact
from hoist.advise.scenario import PLATFORMS
from hoist.bench.records import read_records
from hoist.errors import UsageError

Record = Mapping[str, Any]
# A herd's storage of which fewer instances than this were started may be held back by their links, not by itself.
_FEW = 4


@dataclass(frozen=True, slots=True)
class Learned:
    """Facts, and how many records they come from; `unused` counts the others by benchmark."""

    facts: list[Fact]
    used: int
    unused: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Sample:
    id: str
    rate: float
    record: Record
    note: str


def learn(paths: Iterable[Path], platform: str = PLATFORMS[0]) -> Learned:
    """What files of records tell, as facts of a platform. Raises InvalidFile for records of another schema or none,
    UsageError where they tell nothing."""
    samples: dict[str, list[_Sample]] = defaultdict(list)
    unused: dict[str, int] = defaultdict(int)
    names = []
    for path in paths:
        names.append(path.name)
        for record in read_records(path):
            sample = None if "skipped" in record else _sample(record, platform)
            if sample is None or not sample.rate > 0:
                unused[str(record["bench"])] += 1
            else:
                samples[sample.id].append(sample)
    facts = [_fact(samples[id]) for id in sorted(samples)]
    if not facts:
        raise UsageError(
            f"{', '.join(names) or 'nothing'}: no record there tells a rate; switch, herd, image and load do"
        )
    return Learned(facts, sum(map(len, samples.values())), dict(unused))


def _sample(record: Record, platform: str) -> _Sample | None:
    maker = {"switch": _switch, "image": _image, "herd": _herd, "load": _load, "accelerator": _accelerator}.get(
        str(record["bench"])
    )
    try:
        return maker(record, platform) if maker else None
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        # A record of that benchmark without these figures tells nothing.
        return None


def _switch(record: Record, platform: str) -> _Sample | None:
    if (
        record["loader"] != "hoist"
        or record["switch"] != "first"
        or record["kind"] not in ("nas", "oss", "accl", "image")
    ):
        return None
    id = f"{platform}.{record['kind']}.client-rate"
    return _Sample(id, record["size"] / record["seconds"], record, "first switch by Hoist, verified")


def _image(record: Record, platform: str) -> _Sample | None:
    if record["work"] != "load" or record["tool"] != "hoist":
        return None
    return _Sample(f"{platform}.image.client-rate", record["size"] / record["seconds"], record, "load by Hoist")


def _accelerator(record: Record, platform: str) -> _Sample | None:
    if record["step"] != "warm" or record["way"] != "accelerated":
        return None
    rate = record["size"] / record["seconds"]
    return _Sample(f"{platform}.accl.client-rate", rate, record, "warm reads by ranges, not verified")


def _herd(record: Record, platform: str) -> _Sample | None:
    if record["how"] != "namespaces" or record["instances"] < _FEW or record["failures"] or record["storage"] == "accl":
        return None
    moved = record["size"] * record["instances"] / max(record["seconds"]) / record["scale"]
    name = {"nas": "nas.performance.rate", "oss": "oss.rate.any"}.get(record["storage"])
    note = f"{record['instances']} instances together, at full scale"
    return _Sample(f"{platform}.{name}", moved, record, note) if name else None


def _load(record: Record, platform: str) -> _Sample | None:
    if record["place"] != "file" or record["state"] != "warm" or record["loader"] != "safetensors":
        return None
    return _Sample("loader.plain.memory-rate", record["size"] / record["seconds"], record, "safetensors, warm file")


def _fact(samples: Sequence[_Sample]) -> Fact:
    # Of a herd the most that was seen is what the storage gives; of loads the median.
    together = samples[0].id.endswith("rate") and "instances" in samples[0].record
    rate = max(each.rate for each in samples) if together else median(each.rate for each in samples)
    last = max(samples, key=lambda each: str(each.record["date"]))
    machine = last.record["machine"]
    cpu = f"{machine.get('cpu', 'unknown processor')}, {machine.get('cores', '?')} cores"
    number = f"{'most' if together else 'median'} of {len(samples)}"
    return Fact(
        samples[0].id,
        float(f"{rate / 1e6:.4g}"),
        "MB/s",
        f"hoist bench {last.record['bench']}, {number}",
        str(last.record["date"])[:10],
        "measured",
        f"{cpu}; {last.note}",
    )


def facts_toml(facts: Iterable[Fact]) -> str:
    """Facts as a file that `--facts` takes."""
    parts = []
    for fact in facts:
        lines = ["[[fact]]", f"id = {_text(fact.id)}", f"value = {fact.value:.12g}"]
        for name in ("unit", "source", "read", "certainty", "note", "url"):
            value = getattr(fact, name)
            if value:
                lines.append(f"{name} = {_text(value)}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _text(value: str) -> str:
    """A TOML basic string: JSON's escapes are among its own."""
    import json

    return json.dumps(value, ensure_ascii=True)
