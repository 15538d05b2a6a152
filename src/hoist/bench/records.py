"""Measurements as JSON lines: one record a line, under a versioned schema, with the machine's facts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hoist.bench.machine import machine_facts
from hoist.errors import InvalidFile
from hoist.read.source import local_error

SCHEMA = "hoist.bench/1"
_REQUIRED = ("schema", "bench", "date", "machine")


def make_record(bench: str, machine: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A record of the benchmark `bench`: sizes in bytes, times in seconds, the date in UTC."""
    date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"schema": SCHEMA, "bench": bench, "date": date, "machine": dict(machine), **values}


class Recorder:
    """The records of one run on this machine, each also told to `on_record` as soon as it is there."""

    def __init__(self, on_record: Callable[[dict[str, Any]], None]) -> None:
        self.records: list[dict[str, Any]] = []
        self._machine = machine_facts()
        self._on_record = on_record

    def note(self, bench: str, values: Mapping[str, Any]) -> None:
        """One more of the benchmark `bench`."""
        self.records.append(make_record(bench, self._machine, values))
        self._on_record(self.records[-1])


def append_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Append records to a file, which is made if need be. Raises PermissionDenied, LocalError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.writelines(json.dumps(record, sort_keys=True) + "\n" for record in records)
    except OSError as error:
        raise local_error(error, path) from None


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file. Raises InvalidFile, naming the line, for anything but records of this schema."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise local_error(error, path) from None
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError:
            raise InvalidFile(f"{path}, line {number}: not JSON") from None
        schema = record.get("schema") if isinstance(record, dict) else None
        if isinstance(schema, str) and schema != SCHEMA:
            raise InvalidFile(f"{path}, line {number}: its schema is {schema!r:.60}; this Hoist reads {SCHEMA}")
        if schema != SCHEMA or any(key not in record for key in _REQUIRED):
            raise InvalidFile(f"{path}, line {number}: not a record of {SCHEMA}")
        yield record
