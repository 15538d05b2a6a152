"""Records: what was written is read again, and anything else is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hoist.bench.machine import machine_facts
from hoist.bench.records import SCHEMA, append_records, make_record, read_records
from hoist.errors import FileNotFound, InvalidFile


def test_round_trip_and_append(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "records.jsonl"
    first, second = (make_record("switch", machine_facts(), {"run": run}) for run in (0, 1))
    append_records(path, [first])
    append_records(path, [second])
    assert list(read_records(path)) == [first, second]
    assert first["schema"] == SCHEMA


def test_machine_facts_name_the_machine_s_kind_and_nothing_else() -> None:
    facts = machine_facts()
    assert facts["cores"] and facts["memory_bytes"] > 1 << 28 and facts["packages"]["torch"]
    assert str(Path.home()) not in str(facts)


@pytest.mark.parametrize("line", ["no json", "[1]", '{"schema": "other/1"}', '{"schema": "hoist.bench/1"}'])
def test_what_is_no_record_is_refused_by_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "records.jsonl"
    append_records(path, [make_record("x", {}, {})])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InvalidFile, match="line 2"):
        list(read_records(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFound, match="none"):
        list(read_records(tmp_path / "none"))
