"""The records that a report is made of: read, checked field by field, and with the traces that go with them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final

from hoist.bench.records import read_records
from hoist.errors import InvalidFile, UsageError

Record = Mapping[str, Any]
_NUMBER, _TEXT, _LIST, _TABLE = "a number", "a text", "a list", "an object"
_OPTIONAL = "a number or null"
# What the page draws of each benchmark: a record that lacks it is told, not guessed.
_SWITCH: Final = {
    **dict.fromkeys(("storage", "kind", "model", "file", "loader", "switch", "access"), _TEXT),
    **dict.fromkeys(("run", "size", "seconds", "bytes_read"), _NUMBER),
    "cached_before": _OPTIONAL,
}
_HERD: Final = {
    **dict.fromkeys(("storage", "server", "how", "origin_bytes_by"), _TEXT),
    **dict.fromkeys(("run", "instances", "size", "model_size", "scale", "time_scale", "start_jitter"), _NUMBER),
    **dict.fromkeys(("ideal_seconds", "origin_bytes", "origin_ideal_bytes", "instance_cpu_seconds"), _NUMBER),
    **dict.fromkeys(("rates", "shaped_rates", "deadlines"), _TABLE),
    **dict.fromkeys(("seconds", "failures"), _LIST),
    **{"server_cpu_seconds": _OPTIONAL, "machine_busy": _NUMBER},
}
_LIMIT: Final = {"limit": _TEXT, "bytes_per_second": _NUMBER}
_FIELDS: Final = {"switch": _SWITCH, "herd": _HERD, "limit": _LIMIT}
_SKIPPED: Final = {"storage": _TEXT, "skipped": _TEXT}
_DIVIDED: Final = ("size", "model_size", "scale", "time_scale", "ideal_seconds", "instances", "bytes_per_second")


@dataclass(frozen=True, slots=True)
class Material:
    """Records by the name of their file, in the order given."""

    files: Mapping[str, Sequence[Record]]

    @property
    def records(self) -> list[Record]:
        """All of them."""
        return [record for records in self.files.values() for record in records]

    def lines(self) -> str:
        """All of them as they are downloaded: JSON lines."""
        return "".join(json.dumps(record, sort_keys=True) + "\n" for record in self.records)


def read_material(paths: Iterable[Path]) -> Material:
    """Read and check files of records; one named twice counts once.

    Raises UsageError for none, InvalidFile, naming file and line, for records of another schema or that lack what they
    should have, and what reading a file may.
    """
    found: dict[str, list[Record]] = {}
    for path in dict.fromkeys(paths):
        records: list[Record] = list(read_records(path))
        for number, record in enumerate(records, 1):
            problem = _problem(record)
            if problem:
                raise InvalidFile(f"{path}, record {number}: {problem}")
        found[_name(path, found)] = records
    if not any(found.values()):
        raise UsageError(f"{', '.join(found) or 'nothing'}: there is no record; hoist bench and hoist demo write them")
    return Material(found)


def _name(path: Path, taken: Mapping[str, object]) -> str:
    """The file's name; with its folder where another one is called so too."""
    return path.name if path.name not in taken else f"{path.parent.name}/{path.name}"


def _problem(record: Record) -> str:
    """What is wrong with a record; empty: nothing that the page needs."""
    if not isinstance(record["machine"], Mapping) or not isinstance(record["bench"], str):
        return "machine is an object, and bench a text"
    if not _is(record["date"], _TEXT):
        return f"date is a text, not {record['date']!r:.60}"
    # A limit beside other benchmarks than the switch is not drawn.
    if record["bench"] == "limit" and "storage" not in record:
        return ""
    fields = _SKIPPED if "skipped" in record else _FIELDS.get(record["bench"], {})
    if "skipped" in record and record["bench"] not in _FIELDS:
        return ""
    for name, kind in fields.items():
        if name not in record:
            return f"a record of {record['bench']} without {name}"
        if not _is(record[name], kind):
            return f"{name} of a record of {record['bench']} is {kind}, not {record[name]!r:.60}"
        if name in _DIVIDED and not record[name] > 0:
            return f"{name} of a record of {record['bench']} is above 0, not {record[name]!r:.60}"
    return _herd_problem(record) if record["bench"] == "herd" and "skipped" not in record else ""


def _herd_problem(record: Record) -> str:
    times = [*record["seconds"], *record["deadlines"].values()]
    if not all(_is(value, _NUMBER) for value in times):
        return "seconds and deadlines of a record of herd are numbers"
    if not record["seconds"] and not record["failures"]:
        return "a record of herd without any instance"
    rates = [record[name].get("storage") for name in ("rates", "shaped_rates")]
    return "" if all(_is(value, _OPTIONAL) for value in rates) else "rates of a record of herd are numbers"


def _is(value: Any, kind: str) -> bool:
    if kind in (_NUMBER, _OPTIONAL):
        if value is None:
            return kind == _OPTIONAL
        return not isinstance(value, bool) and isinstance(value, int | float) and isfinite(value) and value >= 0
    return isinstance(value, {_TEXT: str, _LIST: list, _TABLE: dict}[kind])
