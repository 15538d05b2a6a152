"""What is no record, or lacks what it should have, is told with its file and place."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from report_making import experiment, herds, switch, write

from hoist.errors import FileNotFound, InvalidFile, UsageError
from hoist.report.material import read_material

GOOD = switch("nas", "a.ckpt", "hoist", "first", 0, 1.0, 1 << 30)
HERD = herds()[2]


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (GOOD | {"schema": "hoist.bench/2"}, r"its schema is 'hoist.bench/2'.*reads hoist.bench/1"),
        (GOOD | {"schema": 1}, "line 2"),
        (
            {key: value for key, value in GOOD.items() if key != "seconds"},
            "record 2: a record of switch without seconds",
        ),
        (GOOD | {"seconds": "1"}, "seconds of a record of switch is a number, not '1'"),
        (GOOD | {"seconds": math.nan}, "seconds of a record of switch is a number"),
        (GOOD | {"seconds": -1}, "seconds"),
        (GOOD | {"size": 0}, "size of a record of switch is above 0"),
        (GOOD | {"size": True}, "size"),
        (GOOD | {"storage": ["nas"]}, "storage of a record of switch is a text"),
        (GOOD | {"machine": "fast"}, "machine is an object"),
        (HERD | {"seconds": [1, None]}, "seconds and deadlines of a record of herd are numbers"),
        (HERD | {"seconds": []}, "without any instance"),
        (HERD | {"rates": {"storage": "x"}}, "rates of a record of herd"),
        (HERD | {"time_scale": 0}, "time_scale"),
    ],
)
def test_a_bad_record_is_told(tmp_path: Path, record: Any, told: str) -> None:
    path = write(tmp_path / "a.jsonl", [GOOD, record])
    with pytest.raises(InvalidFile, match=told) as caught:
        read_material([path])
    assert "a.jsonl, " in str(caught.value)


def test_nothing_is_no_report(tmp_path: Path) -> None:
    empty = write(tmp_path / "empty.jsonl", [])
    with pytest.raises(UsageError, match=r"empty\.jsonl: there is no record"):
        read_material([empty])
    with pytest.raises(FileNotFound):
        read_material([tmp_path / "none.jsonl"])


def test_a_file_named_twice_counts_once_and_equal_names_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    first, second = write(tmp_path / "a.jsonl", [GOOD]), write(tmp_path / "b/a.jsonl", experiment(1, 1))
    found = read_material([first, second, first])
    assert {name: len(records) for name, records in found.files.items()} == {"a.jsonl": 1, "b/a.jsonl": 16}
    assert found.records[0] == GOOD


def test_what_the_page_does_not_draw_is_only_kept(tmp_path: Path) -> None:
    other = GOOD | {"bench": "of-tomorrow", "seconds": "soon"}
    limit = GOOD | {"bench": "limit", "location": "x"}
    limit.pop("storage")
    skipped = {key: GOOD[key] for key in ("schema", "bench", "date", "machine", "storage")} | {"skipped": "none here"}
    assert read_material([write(tmp_path / "a.jsonl", [other, limit, skipped])]).records == [other, limit, skipped]
