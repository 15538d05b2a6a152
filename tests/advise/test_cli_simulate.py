"""`hoist simulate` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_advise_validate import herd

from hoist.advise.timing import run_timing
from hoist.bench.records import append_records
from hoist.cli import main

Capture = pytest.CaptureFixture[str]


def simulated(capsys: Capture, *words: str) -> Any:
    assert main(["simulate", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: Capture, *words: str) -> str:
    assert main(["simulate", *words]) == 2
    return capsys.readouterr().err


def test_each_storage_is_simulated_with_the_same_arrivals(capsys: Capture) -> None:
    found = simulated(capsys, "--size", "1GB", "--instances", "20", "--over", "1min", "--seed", "3")
    assert [each["storage"] for each in found["storages"]] == ["image", "nas", "oss", "accl"]
    assert {each["instances"] for each in found["storages"]} == {20}
    by_kind = {each["storage"]: each for each in found["storages"]}
    assert by_kind["accl"]["origin_bytes"] == pytest.approx(1e9)
    assert by_kind["oss"]["origin_bytes"] == pytest.approx(20e9)
    assert all(each["cost"] > 0 for each in found["storages"])
    assert found == simulated(capsys, "--size", "1GB", "--instances", "20", "--over", "1min", "--seed", "3")
    assert found != simulated(capsys, "--size", "1GB", "--instances", "20", "--over", "1min", "--seed", "4")


def test_bandwidths_and_limits_are_those_that_are_given(capsys: Capture) -> None:
    words = ("--size", "6GB", "--instances", "10", "--storage", "nas", "--scale-out", "off")
    slow = simulated(capsys, *words, "--storage-rate", "nas=100MB/s")["storages"][0]
    assert slow["phases"]["fetch"]["most"] == pytest.approx(600, rel=0.05)
    assert slow["late"] == 10 and slow["late_share"] == 1
    shared = simulated(capsys, *words, "--storage-rate", "nas=100MB/s", "--instances-per-host", "10")["storages"][0]
    assert shared["storage_bytes"] == pytest.approx(6e9)
    ended = simulated(capsys, *words, "--storage-rate", "nas=100MB/s", "--retries", "1")["storages"][0]
    assert ended["failed"] == 10 and ended["starts"] == 20
    queue = simulated(capsys, *words, "--scale-out", "5,1/s")["storages"][0]["phases"]["queue"]
    assert queue["most"] == pytest.approx(5)


def test_a_trace_and_models_and_a_series(tmp_path: Path, capsys: Capture) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("seconds,model\n0,sd15\n10,sdxl\n10,sd15\n")
    words = ("--model", "sd15=2GB", "--model", "sdxl=6GB", "--trace", str(trace), "--storage", "accl", "--series", "7")
    found = simulated(capsys, *words)["storages"][0]
    assert found["origin_bytes"] == pytest.approx(8e9)
    assert found["storage_bytes"] == pytest.approx(10e9)
    assert len(found["series"]) == 7 and found["series"][-1]["asked"] == 3


def test_a_scenario_file_and_the_table(tmp_path: Path, capsys: Capture) -> None:
    scenario = tmp_path / "scenario.toml"
    scenario.write_text('size = "4GiB"\ninstances = 40\ndeadline = "30s"\n')
    assert main(["simulate", str(scenario), "--retries", "1", "--at", "0s=30", "--at", "5min=10/60s"]) == 0
    out = capsys.readouterr().out
    assert "40 instances, 4.00 GiB each" in out and "MEAN OF" in out
    assert "image: 80 starts ended at the deadline, 40 were given up" in out


def test_who_shares_a_host_does_not_hang_on_how_many_are_there_at_once(tmp_path: Path, capsys: Capture) -> None:
    scenario = tmp_path / "scenario.toml"
    scenario.write_text('size = "4GB"\ninstances_per_host = 5\n')
    (found,) = simulated(capsys, str(scenario), "--at", "0s=10", "--storage", "oss")["storages"]
    assert found["instances"] == 10 and found["storage_bytes"] == pytest.approx(8e9)


def test_the_simulator_is_timed_in_processes_of_its_own() -> None:
    (record,) = run_timing(("hosts, deadlines",), (300,))
    assert record["instances"] == 300 and record["starts"] >= 4 * 300
    assert record["seconds"] > 0 and record["peak_bytes"] > 1 << 20


def test_a_picture_is_drawn(tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "fleet.svg"
    simulated(capsys, "--size", "1GB", "--instances", "5", "--plot", str(path))
    assert "<svg" in path.read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "how large is the model"),
        (("--size", "4"), "unit is missing"),
        (("--size=-4GiB",), "cannot be negative"),
        (("--size", "4GiB", "--storage", "nsa"), "no storage 'nsa'"),
        (("--size", "4GiB", "--over", "1h", "--at", "0s=5"), "one of --over and --at"),
        (("--size", "4GiB", "--at", "soon=5"), "soon"),
        (("--size", "4GiB", "--at", "5s"), "TIME=N"),
        (("--size", "4GiB", "--scale-out", "fast"), "BURST,RATE"),
        (("--size", "4GiB", "--most", "5"), "--lifetime"),
        (("--size", "4GiB", "--storage-rate", "600MB/s"), "KIND=RATE"),
        (("--size", "4GiB", "--storage-rate", "nas=0MB/s"), "above 0"),
        (("--size", "4GiB", "--instances", "0"), "instances"),
        (("--size", "4GiB", "--hosts", "0"), "one host"),
        (("--size", "4GiB", "--even"), "--over"),
        (("--model", "a"), "NAME=SIZE"),
        (("--size", "4GiB", "--plot", "fleet.txt"), ".svg"),
    ],
)
def test_what_cannot_be_simulated_is_refused_with_the_mend(words: tuple[str, ...], says: str, capsys: Capture) -> None:
    assert says in refused(capsys, *words)


def test_herds_are_compared_with(tmp_path: Path, capsys: Capture) -> None:
    records = tmp_path / "herd.jsonl"
    append_records(records, herd(accl=1.6))
    table = tmp_path / "simulator.md"
    assert main(["simulate", "--validate", str(records), "--markdown", str(table)]) == 0
    out = capsys.readouterr().out
    assert "NOT met" in out and "NOT met" in table.read_text()
    assert main(["simulate", "--validate", str(records), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["validations"]
    assert found["worst_error"] > 0.25 and not found["met"]
