"""Mounts compared, end to end on tiny things with the mounts that are here; and what the records are made into."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hoist.bench.mount import WORKS, Options, choose_mounters
from hoist.bench.mount_stage import run_mount_bench
from hoist.bench.mount_table import mount_figures, mount_line, mount_markdown, mount_tables
from hoist.bench.mount_targets import mount_targets
from hoist.bench.mounters import HOIST
from hoist.bench.mounting import Mounted, Mounter, Place
from hoist.bench.records import append_records
from hoist.bench.stage import isolated_config
from hoist.cli import main
from hoist.errors import LocalError, UsageError
from hoist.mount.device import mounted_kind
from hoist.testing.servers import NginxBucket
from makers import SOURCE

Record = dict[str, Any]
OWN = ["hoist", "hoist-keep-cache", "hoist-no-cache"]


def require_mounts() -> None:
    """Skip where nothing can be mounted or served; fail instead when HOIST_REQUIRE_SERVERS=1, as in CI."""
    reason = NginxBucket.unavailable() or HOIST.unavailable()
    if reason and os.environ.get("HOIST_REQUIRE_SERVERS") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    require_mounts()
    folder = tmp_path_factory.mktemp("mounts")
    told: list[Record] = []
    options = Options(peers=choose_mounters(["s3fs", "mount-s3"]), repeat=1, patience=10)
    found = run_mount_bench(0.04, 40, folder, options, told.append)
    assert found == told
    assert not list(folder.iterdir()), "the benchmark left something behind"
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    return found


@pytest.mark.long
def test_each_mount_and_work_has_a_record(records: list[Record]) -> None:
    done = {(r["mount"], r["work"]) for r in records if "skipped" not in r}
    works = {work for steps in WORKS.values() for work in steps}
    assert {(name, work) for name in OWN for work in works} <= done
    assert {("memory", "first read"), ("raw GETs", "first read"), ("native", "second read")} <= done
    for record in records:
        if "skipped" in record:
            assert record["mount"] in ("s3fs", "mount-s3") and "installed" in record["skipped"]
        else:
            assert record["whole"] and record["seconds"] > 0


@pytest.mark.long
def test_a_first_read_is_fetched_once_and_a_second_not_at_all(records: list[Record]) -> None:
    for record in records:
        if record.get("mount") not in OWN:
            continue
        if record["work"] in ("second read", "second mmap"):
            assert record["storage_bytes"] == 0, record
        elif record["work"] == "small files":
            assert record["files"] == record["files_read"] == 40 > record["storage_requests"]
        else:
            # The rest is the manifest, the block table and listings.
            assert record["size"] <= record["storage_bytes"] < record["size"] + (200 << 10), record
            assert record["kept_before"] < 64 << 10
        if record["work"] == "8 at once":
            assert record["bytes"] == 8 * record["size"]


@pytest.mark.long
def test_tables_and_targets_are_made_of_them(
    records: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "\n".join(mount_tables(records))
    for work in ("first read", "second mmap", "load_file", "small files, 4 MiB"):
        assert work in text
    assert "the storage sent at least what was read" in text
    assert "### Mounts: 8 at once" in "\n".join(mount_markdown(records))
    works = {target.work for target in mount_targets(records)}
    for work in ("second read, hoist-keep-cache", "8 processes", "safetensors load_file", "daemon's memory"):
        assert any(work in found for found in works)
    append_records(tmp_path / "records.jsonl", records)
    assert main(["bench", "targets", str(tmp_path / "records.jsonl")]) == 0
    out = capsys.readouterr().out
    assert "0 bytes from the storage" in out and "### Mounts: first read" in out
    assert all(mount_line(record) for record in records)


def _record(mount: str, work: str, seconds: float, **more: Any) -> Record:
    figures = {"size": 1 << 30, "bytes": 1 << 30, "whole": True, "about": "", "storage_bytes": 1 << 30, "run": 0}
    return {"bench": "mount", "mount": mount, "work": work, "seconds": seconds, "kept_before": 0, **figures, **more}


def test_targets_are_judged_by_the_lower_limit_and_the_fastest_peer() -> None:
    records = [
        _record("raw GETs", "first read", 0.5),
        _record("memory", "first read", 0.8),
        _record("hoist", "first read", 1.0, daemon_peak_bytes=600 << 20),
        _record("s3fs", "first read", 2.0),
        # Given up half way: it counts at its rate.
        _record("rclone", "first read", 4.0, bytes=1 << 29, whole=False),
        {"bench": "mount", "mount": "mount-s3", "about": "", "skipped": "not installed (mount-s3)"},
    ]
    rows = {target.target: target for target in mount_targets(records)}
    assert rows["0.8 of the raw GETs or of a daemon in memory, the lower"].met
    assert rows["3 x the fastest peer"].measured == "2.0 x"
    assert rows["under 512 MiB"].met is False
    assert mount_figures(records)["first read"]["rclone"].whole_seconds == 8.0
    text = "\n".join(mount_tables(records))
    assert "> 4" in text and "not measured: mount-s3: not installed (mount-s3)" in text


def test_the_second_switch_is_compared_with_a_warm_directory() -> None:
    base = {"bench": "switch", "switch": "second", "file": "w", "size": 1}
    warm = [{**base, "kind": "nas", "loader": "hoist", "seconds": s} for s in (0.1, 0.12)]
    cached = [{**base, "kind": "oss", "loader": "hoist-cached", "seconds": s} for s in (0.11, 0.13)]
    slow = [{**base, "kind": "oss", "loader": "mounted", "seconds": s} for s in (0.51, 0.53)]
    assert [target.met for target in mount_targets([*warm, *cached, *slow])] == [True, False]


def test_a_mount_that_does_not_come_up_is_told_and_ended(tmp_path: Path) -> None:
    require_mounts()
    place = Place("nas", isolated_config(tmp_path, "", None), tmp_path / "point", tmp_path / "scratch", 0)
    dead = Mounter("dead", "", lambda place: [sys.executable, "-c", "raise SystemExit('broken')"])
    with pytest.raises(LocalError, match="broken"), Mounted(dead, place):
        pytest.fail("it was mounted")
    # What is still mounted when its daemon has been told to end is unmounted.
    with Mounted(Mounter("own", "", lambda p: [*_memory_words(p)]), place) as mounted:
        assert mounted_kind(place.point) == "fuse.hoist"
        assert mounted.usage().cpu_seconds >= 0
    assert mounted_kind(place.point) is None


def _memory_words(place: Place) -> list[str]:
    return [sys.executable, "-m", "hoist.bench.memory_mount", str(place.point), str(1 << 20)]


@pytest.mark.long
@pytest.mark.parametrize(
    ("work", "number", "code"),
    [
        ("read", signal.SIGINT, 130),
        ("herd", signal.SIGINT, 130),
        ("read", signal.SIGTERM, 143),
        ("herd", signal.SIGTERM, 143),
    ],
)
def test_ctrl_c_and_sigterm_unmount_and_leave_nothing(tmp_path: Path, work: str, number: int, code: int) -> None:
    require_mounts()
    words = ["bench", "mount", "--scale", "0.04", "--work", work, "--repeat", "50", "--folder", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "hoist", *words],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while str(tmp_path) not in Path("/proc/self/mountinfo").read_text():
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == code and "Traceback" not in said, said
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert not list(tmp_path.iterdir())


def test_wrong_arguments_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="s3fs"):
        choose_mounters(["nonesuch"])
    for words in (["--work", "none"], ["--peer", "none"], ["--patience", "0"], ["--small", "0"], ["--scale", "2"]):
        assert main(["bench", "mount", *words]) == 2
        assert capsys.readouterr().err.startswith("hoist: error: ")
