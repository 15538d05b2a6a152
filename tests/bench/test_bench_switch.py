"""The switch experiment end to end at a small scale, from a directory and a real bucket, and its table."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hoist.bench.demo import run_demo
from hoist.bench.fixtures import FIXTURES
from hoist.bench.records import append_records
from hoist.bench.switch import Options, Target, find_models, run_switches
from hoist.bench.table import align, switch_table
from hoist.bench.targets import target_rows
from hoist.cli import main
from hoist.config import load_config
from hoist.errors import LocalError, NotFound, UsageError
from hoist.read.connect import connect
from hoist.testing.servers import RcloneServer
from sharing import page_cache_alone

SMALL = [fixture for fixture in FIXTURES if fixture.model.endswith(("anything-v5.0", "pastelmix"))]


@pytest.fixture(scope="module")
def demo(rclone_server: RcloneServer, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Any:
    folder = tmp_path_factory.mktemp("demo")
    said: list[str] = []
    with page_cache_alone(pytestconfig):
        found = run_demo(
            scale=0.04, server="rclone", folder=folder, fixtures=SMALL, options=Options(2), say=said.append
        )
    assert len(said) == 4
    assert not list(folder.iterdir()), "the demo left something behind"
    return found


def test_each_model_loader_and_switch_has_a_record(demo: Any) -> None:
    switches = [record for record in demo.records if record["bench"] == "switch"]
    keys = {(r["storage"], r["file"], r["loader"], r["switch"], r["run"]) for r in switches}
    assert len(keys) == len(switches) == 2 * 2 * 2 * 2 * 2
    assert json.loads(json.dumps(demo.records)) == demo.records
    limits = {(r["storage"], r["limit"]) for r in demo.records if r["bench"] == "limit"}
    assert limits == {("nas", "direct"), ("nas", "cached"), ("oss", "get")}


def test_hoist_reads_once_and_a_plain_loader_twice(demo: Any) -> None:
    for record in demo.records:
        if record["bench"] != "switch":
            continue
        times = record["bytes_read"] / record["size"]
        if record["loader"] == "hoist":
            assert 1.0 <= times < 1.05, record
        else:
            assert times == (2.0 if record["switch"] == "first" else 1.0), record


def test_cold_is_proven_and_warm_is_warm(demo: Any) -> None:
    for record in demo.records:
        if record["bench"] == "switch" and record["storage"] == "nas":
            assert record["cached_before"] == (0.0 if record["switch"] == "first" else 1.0), record


@pytest.mark.usefixtures("page_cache")
def test_a_bucket_is_loaded_through_a_mount_and_a_cache(rclone_server: RcloneServer, tmp_path: Path) -> None:
    if not Path("/dev/fuse").exists():
        pytest.skip("there is no /dev/fuse: modprobe fuse")
    options = Options(mounted=True)
    demo = run_demo(scale=0.04, server="rclone", folder=tmp_path, fixtures=SMALL, options=options)
    assert not list(tmp_path.iterdir()), "something was left behind"
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    switches = [record for record in demo.records if record["bench"] == "switch"]
    assert {r["loader"] for r in switches if r["storage"] == "nas"} == {"hoist", "plain"}
    through = [r for r in switches if r["loader"] not in ("hoist", "plain")]
    assert {(r["file"], r["loader"], r["switch"]) for r in through} == {
        (fixture.file_name, loader, which)
        for fixture in SMALL
        for loader in ("hoist-cached", "mounted", "mounted-no-cache")
        for which in ("first", "second")
    }
    for record in through:
        times = record["bytes_read"] / record["size"]
        if record["switch"] == "first":
            assert 0.99 < times < 1.05, record
        elif record["loader"] != "mounted-no-cache":
            # But for the manifest.
            assert times < 0.05, record
    works = [row[0] for row in target_rows(demo.records)]
    assert len([work for work in works if work.startswith("second switch through the host cache")]) == 4
    assert max(map(len, switch_table(demo.records, demo.real_sizes))) <= 120


def test_both_storages_hold_the_same_versions(demo: Any) -> None:
    assert demo.same_digests
    assert [item.digest for item in demo.published["nas"]] == [item.digest for item in demo.published["oss"]]


def test_the_table_shows_every_model_on_every_storage(demo: Any) -> None:
    text = "\n".join(switch_table(demo.records, demo.real_sizes))
    for storage in ("nas", "oss"):
        for which in ("first", "second"):
            assert f"{storage}, {which} switch, median of 2 runs" in text
    assert text.count("pastelmix-fp32.ckpt") == 4
    assert text.count("raw limit in this run") == 3
    assert "3.97" in text and "1.99" in text
    assert max(map(len, text.splitlines())) <= 120


def test_recorded_switches_are_shown_again(demo: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    append_records(tmp_path / "records.jsonl", demo.records)
    assert main(["bench", "table", str(tmp_path / "records.jsonl")]) == 0
    assert capsys.readouterr().out.strip() == "\n".join(switch_table(demo.records, demo.real_sizes)).strip()


def test_models_are_found_by_name_and_missing_ones_told(tmp_path: Path) -> None:
    config = load_config({"HOME": str(tmp_path)}, tmp_path)
    storage, _ = connect(str(tmp_path), config)
    with pytest.raises(UsageError, match="bench fixtures"):
        find_models(storage, Target(str(tmp_path)))
    with pytest.raises(NotFound, match="none/such"):
        run_switches([Target(str(tmp_path))], _own(tmp_path), Options(names=["none/such"]), lambda record: None)


def _own(home: Path) -> Any:
    return load_config({**os.environ, "HOME": str(home)}, home)


def test_an_unknown_server_and_a_full_disk_are_told(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="radosgw"):
        run_demo(scale=0.04, server="minio", folder=tmp_path)
    with pytest.raises(LocalError, match="--scale"):
        run_demo(scale=1, server="rclone", folder=Path("/dev/shm"), fixtures=FIXTURES)
    assert not list(tmp_path.iterdir())


def test_align_pads_columns() -> None:
    assert align([["a", "1"], ["bbb", "22"]]) == ["a     1", "bbb  22"]
