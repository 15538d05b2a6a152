"""What `hoist bench sync` records, and what the table of targets makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conftest import require
from hoist.bench.sync import Options, run_syncs
from hoist.bench.sync_targets import bound_of, sync_targets
from hoist.bench.targets import target_rows
from hoist.testing.servers import RadosgwServer

Record = dict[str, Any]


@pytest.mark.long
def test_a_sync_in_step_and_one_that_brings_a_version(tmp_path: Path) -> None:
    require(RadosgwServer)
    noted: list[Record] = []
    records = run_syncs(Options(models=4, versions=3, repeat=1, folder=tmp_path), noted.append)
    assert records == noted and not list(tmp_path.iterdir())
    assert [(record["work"], record["brought"]) for record in records] == [
        ("in step", 0),
        ("in step", 0),
        ("one new version", 1),
    ]
    # Two listings and four tags of each bucket.
    assert records[1]["requests"] == 12 <= bound_of(records[1])
    assert len(list(sync_targets(records))) == 3


def test_targets() -> None:
    counts = {"bench": "sync", "work": "in step", "models": 1000, "versions": 5000, "tags": 1000}
    timed = [{**counts, "run": run, "seconds": seconds, "cpu_seconds": 2.0} for run, seconds in enumerate((3, 12, 4))]
    counted = {**counts, "counted": True, "seconds": 30.0, "cpu_seconds": 3.0, "requests": 2040}
    assert bound_of(counted) == 2 * (16 + 2 + 1000)
    rows = target_rows([*timed, counted])
    assert [row[2:4] for row in rows] == [["4.00 s", "yes"], ["2,040", "NO"]]
    assert [target.met for target in sync_targets([{**counted, "requests": 2036}])] == [True]
