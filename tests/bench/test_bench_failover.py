"""What `hoist bench failover` records, and what the table of targets makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conftest import require
from hoist.bench.failover import Options, run_failovers
from hoist.bench.failover_targets import limit_of
from hoist.bench.targets import target_rows
from hoist.testing.servers import RcloneServer

Record = dict[str, Any]


@pytest.mark.long
def test_loads_that_lose_a_region_end_with_the_right_bytes(tmp_path: Path) -> None:
    require(RcloneServer)
    noted: list[Record] = []
    records = run_failovers(Options(size=64 << 20, repeat=1, folder=tmp_path), noted.append)
    assert records == noted and not list(tmp_path.iterdir())
    assert [(record["way"], record["lost"]) for record in records] == [
        ("any", ""),
        ("plain", ""),
        ("any", "killed"),
        ("any", "frozen"),
    ]
    assert all(record["wrong_tensors"] == 0 for record in records)
    assert all(0 <= record["left"] <= 32 << 20 for record in records if record["lost"])


def test_targets() -> None:
    common = {"bench": "failover", "size": 1 << 30, "cpu_seconds": 1.0, "wrong_tensors": 0, "lost": ""}
    well = [{**common, "way": "any", "seconds": seconds} for seconds in (4.0, 9.0, 4.0)]
    plain = [{**common, "way": "plain", "seconds": 3.2}]
    lost = {**common, "way": "any", "lost": "killed", "left": 1 << 29, "seconds": 5.0}
    killed = [{**lost, "rest_seconds": seconds} for seconds in (2.0, 4.3)]
    frozen = [{**lost, "lost": "frozen", "rest_seconds": 4.5}]
    assert limit_of(killed[0], 4.0) == 1.2 * 2.0 + 2
    rows = target_rows([*well, *plain, *killed, *frozen])
    assert [row[2] for row in rows] == [
        "4.30 s of 4.40 s, 0 wrong tensors",
        "4.50 s of 4.40 s, 0 wrong tensors",
        "1.250 x",
    ]
    assert [row[3] for row in rows] == ["yes", "NO", "-"]
    wrong = target_rows([*well, *plain, {**killed[0], "wrong_tensors": 1}])
    assert wrong[0][3] == "NO"
