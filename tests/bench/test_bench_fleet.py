"""What `hoist bench fleet` and `bench nfs` record, and what the table of targets makes of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from conftest import require
from hoist.bench.fleet import Options, run_fleet_bench
from hoist.bench.fleet_targets import fleet_targets
from hoist.bench.nfs_targets import nfs_targets
from hoist.bench.targets import target_rows
from hoist.cli import main
from hoist.testing.servers import GaneshaServer
from hoist.testing.servers.nginx import NginxBucket

MIB = 1 << 20
Record = dict[str, Any]


@pytest.mark.long
def test_instances_of_a_host_are_recorded(tmp_path: Path) -> None:
    require(NginxBucket)
    noted: list[Record] = []
    records = run_fleet_bench(Options(16 * MIB, instances=3, repeat=1, ray=False, folder=tmp_path), noted.append)
    assert records == noted and not list(tmp_path.iterdir())
    assert [(r["instances"], r["state"]) for r in records] == [(1, "cold"), (1, "warm"), (3, "cold"), (3, "warm")]
    for record in records:
        copies = record["origin_bytes"] / record["size"]
        assert 0.99 < copies < 1.05 if record["state"] == "cold" else copies < 0.01, record
        assert record["memory_bytes"] > record["size"]
    assert len(list(fleet_targets(records))) == 3


def test_targets_of_a_fleet() -> None:
    size = 1 << 30
    host = {"bench": "fleet", "step": "host", "size": size, "origin_bytes": size}
    cluster = {"bench": "fleet", "step": "cluster", "size": size, "nodes": 3, "instances": 12, "seconds": 2.0}
    records = [
        {**host, "state": state, "instances": count, "seconds": seconds, "memory_bytes": memory}
        for state, count, seconds, memory in (
            ("cold", 1, 1.0, size),
            ("cold", 8, 1.4, size),
            ("warm", 1, 0.2, size + 200 * MIB),
            ("warm", 8, 0.3, size + 500 * MIB),
        )
    ]
    records += [
        {**cluster, "through": "origin", "origin_bytes": 3.1 * size},
        {**cluster, "through": "accelerator", "origin_bytes": 1.1 * size},
    ]
    found = [(target.measured, target.met) for target in fleet_targets(records)]
    wanted = [("1.40 x", False), ("1.50 x", None), ("1.49 x the model", True), ("1.0333 x", True), ("1.1000 x", False)]
    assert found == wanted
    more = [{**record, "memory_bytes": 8 * size} for record in records if record["step"] == "host"]
    more[2]["memory_bytes"] = size
    assert [target.met for target in fleet_targets(more)][-1] is False
    assert len(target_rows(records)) == len(wanted)


def test_loads_from_nfs_are_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if os.geteuid() != 0:
        pytest.skip("nfs-ganesha needs root")
    require(GaneshaServer)
    record = tmp_path / "nfs.jsonl"
    assert main(["bench", "nfs", "--size", "32MiB", "--repeat", "1", "--quiet", "--record", str(record)]) == 0
    assert "0.85 of the best raw libnfs read" in capsys.readouterr().out
    records = [json.loads(line) for line in record.read_text().splitlines()]
    assert [r["what"] for r in records] == ["limit", "load"]
    assert all(r["bytes_per_second"] > 0 for r in records)
    (target,) = nfs_targets([{**r, "bytes_per_second": 100 if r["what"] == "limit" else 90} for r in records])
    assert (target.measured, target.met) == ("0.90", True)


def test_numbers_that_make_no_fleet_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "fleet", "--each", "0"]) == 2
    assert "--each is 1 or more, not 0" in capsys.readouterr().err
