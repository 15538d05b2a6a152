"""What `hoist bench accelerator` records, and what the table makes of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from conftest import require
from hoist.bench.accelerator import Options, run_accelerator
from hoist.bench.accelerator_targets import accelerator_targets
from hoist.bench.throttle import ThrottledRelay
from hoist.testing.servers import FaultServer, FolderOrigin, NginxServer

MIB = 1 << 20


def test_each_step_is_recorded(tmp_path: Path) -> None:
    require(NginxServer)
    noted: list[dict[str, Any]] = []
    options = Options(8 * MIB, 2, 64e6, 1)
    records = run_accelerator(tmp_path, options, noted.append)
    assert records == noted and {record["size"] for record in records} == {8 * MIB}
    direct, through = (next(r for r in records if r["way"] == way and r["step"] == "herd") for way in _HERD)
    assert direct["origin_bytes"] >= 2 * 8 * MIB
    assert 8 * MIB <= through["origin_bytes"] < direct["origin_bytes"]
    assert not direct["damaged"] and not through["damaged"]
    assert {record["way"] for record in records if record["step"] == "warm"} == {"static", "accelerated", "unchecked"}
    assert len(list(accelerator_targets(records))) == 4


_HERD = ("direct", "accelerated")


def test_targets() -> None:
    size = 100 * MIB
    herd = {"bench": "accelerator", "step": "herd", "size": size, "instances": 16, "origin_bytes_per_second": 1e8}
    warm = {"bench": "accelerator", "step": "warm", "size": size}
    records = [
        herd | {"way": "direct", "seconds": 20.0, "origin_bytes": 16 * size},
        herd | {"way": "accelerated", "seconds": 4.0, "origin_bytes": 1.01 * size},
        warm | {"way": "static", "seconds": 1.0},
        warm | {"way": "accelerated", "seconds": 1.2},
        warm | {"way": "unchecked", "seconds": 1.1},
    ]
    found = {target.target: (target.measured, target.met) for target in accelerator_targets(records)}
    assert found["origin bytes at most 1.02 x the model"] == ("1.010 x", True)
    assert found["3 x sooner than direct"] == ("5.0 x", True)
    assert found["0.8 of nginx with a static file"] == ("0.83", True)
    assert found["under 3% of warm throughput"] == ("8.3%", False)
    assert not list(accelerator_targets([]))


def test_a_relay_lets_no_more_through_than_it_may(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "key").write_bytes(data := bytes(2 * MIB))
    with FaultServer(FolderOrigin(tmp_path)) as origin:
        port = int(origin.endpoint.rpartition(":")[2])
        with ThrottledRelay(port, 8e6) as relay:
            began = time.monotonic()
            with urlopen(f"http://127.0.0.1:{relay.port}/bucket/key") as answer:
                assert answer.read() == data
            # Never sooner; how much later is the machine's.
            assert time.monotonic() - began > 0.9 * len(data) / 8e6
            assert len(data) < relay.sent < len(data) + 1000
