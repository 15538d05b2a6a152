"""What `hoist bench function` and the switches of a served function record, and what tables and targets make of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from conftest import require
from hoist.bench.demo import run_demo
from hoist.bench.fixtures import FIXTURES
from hoist.bench.function import WORKS, Options, run_function_bench
from hoist.bench.function_crowd import Outcome, counted, needed_loads
from hoist.bench.function_health import percentile
from hoist.bench.function_targets import function_targets
from hoist.bench.switch import Options as SwitchOptions
from hoist.bench.switch import Target
from hoist.bench.switch_function import APART, FUNCTION, PLAIN, PLAIN_HASHED, run_function_switches
from hoist.bench.table import is_switch, switch_table
from hoist.bench.targets import target_rows
from hoist.cli import main
from hoist.config import load_config
from hoist.errors import UsageError
from hoist.testing.servers import RcloneServer
from hoist.testing.servers.nginx import NginxBucket

MIB = 1 << 20
TWINS = [fixture for fixture in FIXTURES if fixture.model.endswith(("anything-v5.0", "deliberate"))]
Record = dict[str, Any]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    require(NginxBucket)
    folder, noted = tmp_path_factory.mktemp("function"), list[Record]()
    options = Options(scale=0.04, samples=10, clients=40, requests=2, crowd_bytes=MIB, repeat=1, folder=folder)
    found = run_function_bench(options, noted.append)
    assert found == noted and json.loads(json.dumps(found)) == found
    assert not list(folder.iterdir()), "something was left behind"
    return found


def of(records: list[Record], work: str) -> list[Record]:
    return [record for record in records if record["work"] == work]


@pytest.mark.long
def test_a_switch_back_moves_nothing(records: list[Record]) -> None:
    found = of(records, "back")
    assert [(r["verified"], r["step"]) for r in found] == [
        (verified, step) for verified in ("now", "before") for step in ("first", "back")
    ]
    for record in found:
        moved = record["fetched_bytes"] / record["size"]
        assert moved > 0.9 if record["step"] == "first" else moved == 0, record
        assert record["cpu_seconds"] >= 0 and record["peak_bytes"] >= 0 and "deserialize" in record["phases"]
    assert all(record["cached_before"] == 1 for record in found if record["step"] == "first")


@pytest.mark.long
def test_a_fine_tune_moves_what_differs(records: list[Record]) -> None:
    (record,) = of(records, "sharing")
    assert 0 < record["different_bytes"] < record["size"]
    # The origin has counted more than the function says: manifest, block table and header.
    assert record["different_bytes"] <= record["fetched_bytes"] < record["sent_bytes"]
    (target,) = function_targets([record])
    assert target.met is True and target.measured.startswith("1.0")


@pytest.mark.long
def test_both_ways_of_a_load_are_timed_in_turns(records: list[Record]) -> None:
    found = of(records, "overhead")
    assert Counter((r["storage"], r["step"]) for r in found) == {
        (storage, step): 3 for storage in ("nas", "oss") for step in ("bare", "function")
    }
    assert all(r["fetched_bytes"] > 0.9 * r["size"] for r in found if r["step"] == "function")


@pytest.mark.long
def test_health_is_checked_while_loads_run(records: list[Record]) -> None:
    found = of(records, "health")
    assert [record["storage"] for record in found] == ["nas", "oss"]
    for record in found:
        # The first check of a load can be due a moment before it begins, and its last one after its end.
        assert record["checks"] >= 10 - 2 * record["loads"] and record["loads"] >= 1
        assert 0 < record["answered_p50_seconds"] <= record["answered_p99_seconds"] <= record["answered_max_seconds"]


@pytest.mark.long
def test_a_crowd_is_answered_or_refused(records: list[Record]) -> None:
    (record,) = of(records, "crowd")
    assert record["answered"] + record["refused"] == record["requests"] == 80 and record["failed"] == 0
    assert record["early_refusals"] == record["left"] == 0 and record["answered_after"]
    assert record["size"] <= record["most_bytes"] <= record["budget_bytes"]
    assert set(record["loads"]) <= set(record["needed_loads"]) | {"crowd-1"}
    assert sum(record["loads"].values()) <= 1.1 * sum(record["needed_loads"].values())
    assert [target.met for target in function_targets([record])] == [True] * 3


@pytest.mark.long
def test_every_target_has_a_line(records: list[Record]) -> None:
    rows = target_rows(records)
    assert len(rows) == 2 + 1 + 2 + 2 + 3
    assert [row[3] for row in rows].count("-") == 1, "a load that was verified before is shown, and judged by nobody"


def test_an_lru_loads_what_it_does_not_have() -> None:
    assert needed_loads("aabab", 2) == {"a": 1, "b": 1}
    assert needed_loads("abcabc", 2) == {"a": 2, "b": 2, "c": 2}
    assert needed_loads("abacab", 2) == {"a": 1, "b": 2, "c": 1}


def test_who_was_refused_when() -> None:
    refused = Outcome(0, "a", 1, 503, 1.25, "deadline")
    found = [Outcome(0, "a", 1, 200, 0.5), refused, Outcome(0, "a", 1, 500, 2, "load_failed")]
    assert counted(found) == {
        "answered": 1, "refused": 1, "failed": 1, "early_refusals": 0, "most_overrun_seconds": 0.25,
        "codes": {"200": 1, "503 deadline": 1, "500 load_failed": 1},
    }  # fmt: skip
    assert counted([Outcome(0, "a", 1, 503, 0.5, "deadline")])["early_refusals"] == 1


def test_percentiles() -> None:
    assert [percentile(range(1, 101), part) for part in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert percentile([3.0], 0.99) == 3 and percentile([], 0.5) == 0


def test_targets_that_are_missed() -> None:
    back = {"bench": "function", "work": "back", "size": 1 << 30, "storage": "nas", "verified": "now"}
    before = {**back, "verified": "before"}
    loads = {"bench": "function", "work": "overhead", "storage": "oss", "size": 1 << 30}
    found = list(
        function_targets(
            [
                {**back, "step": "first", "seconds": 1.0},
                {**back, "step": "back", "seconds": 0.2},
                {**before, "step": "first", "seconds": 0.2},
                {**before, "step": "back", "seconds": 0.2},
                {**loads, "step": "bare", "seconds": 1.0},
                {**loads, "step": "function", "seconds": 1.06},
            ]
        )
    )
    assert [(t.measured, t.met) for t in found] == [("0.200", False), ("1.000", None), ("+6.0%", False)]


@pytest.fixture(scope="module")
def demo(rclone_server: RcloneServer, tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    require(NginxBucket)
    folder = tmp_path_factory.mktemp("demo")
    found = run_demo(
        scale=0.04, server="rclone", folder=folder, fixtures=TWINS, options=SwitchOptions(), images=False, function=True
    )
    assert not list(folder.iterdir()), "the demo left something behind"
    return [record for record in found.records if is_switch(record)]


@pytest.mark.long
def test_every_function_switches_to_every_model_twice(demo: list[Record]) -> None:
    plain = (PLAIN, PLAIN_HASHED)
    loaders = {"nas": (FUNCTION, APART, *plain), "oss": (FUNCTION, APART, *plain), "accl": (FUNCTION, APART)}
    wanted = {
        (storage, loader, fixture.file_name, which)
        for storage, found in loaders.items()
        for loader in found
        for fixture in TWINS
        for which in ("first", "second")
    }
    assert {(r["storage"], r["loader"], r["file"], r["switch"]) for r in demo} == wanted
    assert len(demo) == len(wanted) and all(record["through"] == "function" for record in demo)


@pytest.mark.long
def test_what_the_models_share_is_moved_once_unless_they_are_apart(demo: list[Record]) -> None:
    first, second = (fixture.file_name for fixture in TWINS)
    for record in demo:
        moved = record["bytes_read"] / record["size"]
        if record["loader"] in (FUNCTION, APART):
            if record["switch"] == "second":
                assert moved == 0 and record["state_before"] == "host"
            elif record["file"] == second and record["loader"] == FUNCTION:
                assert 0.5 < moved < 0.9 and record["reused_bytes"] > 0.1 * record["size"]
            else:
                assert 0.9 < moved <= 1 and record["reused_bytes"] == 0
        else:
            assert moved == (2 if record["hashed"] else 1)
            assert record["hashed"] == (record["loader"] == PLAIN_HASHED and record["switch"] == "first")
    assert first != second


@pytest.mark.long
def test_switches_of_functions_have_a_table_and_lines(demo: list[Record]) -> None:
    text = "\n".join(switch_table(demo))
    assert "accl, second switch" in text and "function-apart: s" in text and "plain-function-hashed: s" in text
    assert max(map(len, text.splitlines())) <= 120
    assert len(target_rows(demo)) == 2 * 3


def test_what_cannot_be_measured_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="no work 'bakc'"):
        run_function_bench(Options(works=["bakc"]), lambda record: None)
    with pytest.raises(UsageError, match="at most 1"):
        run_function_bench(Options(scale=2), lambda record: None)
    with pytest.raises(UsageError, match="no model"):
        config = load_config({"HOME": str(tmp_path)}, tmp_path)
        run_function_switches([Target(str(tmp_path))], config, SwitchOptions(), lambda record: None)
    assert main(["bench", "function", "--clients", "0"]) == 2
    assert "--clients is 1 or more, not 0" in capsys.readouterr().err
    assert main(["bench", "switch", str(tmp_path), "--function", "--mounted"]) == 2
    assert "--function goes with neither" in capsys.readouterr().err
    assert set(WORKS) == {"back", "sharing", "overhead", "health", "crowd"}
