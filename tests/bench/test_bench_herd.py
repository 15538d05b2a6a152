"""Herds, end to end on a tiny model: real servers on hosts of their own, and by the wrapper where there are none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from netns_fixtures import namespaces_of, require_namespaces

from hoist.bench.herd import Options, run_herd_bench
from hoist.bench.herd_figures import herds
from hoist.bench.herd_plot import plot_herd
from hoist.bench.herd_stage import NAMESPACES, THROTTLED
from hoist.bench.herd_table import herd_tables
from hoist.bench.herd_task import Task
from hoist.bench.herds import Herds
from hoist.bench.netns import PREFIX
from hoist.bench.records import append_records
from hoist.cli import main
from hoist.config import load_config
from hoist.errors import LocalError, UsageError
from hoist.testing.servers import DockerRegistry, GaneshaServer, NginxBucket
from makers import SOURCE, Raw, safetensors_bytes

Record = dict[str, Any]
TINY = 0.008
WIDE = dict.fromkeys(("nas", "oss", "accl", "image"), 4000000000.0)


def options(folder: Path, how: str, instances: tuple[int, ...], storages: tuple[str, ...]) -> Options:
    """Tiny, and with bandwidths that nobody waits for."""
    return Options(storages, instances, shorten=TINY, storage_rates=WIDE, instance_rate=4e9, how=how, folder=folder)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    from conftest import require

    require_namespaces()
    for server in (NginxBucket, GaneshaServer, DockerRegistry):
        require(server)
    folder = tmp_path_factory.mktemp("herd")
    told: list[Record] = []
    found = run_herd_bench(options(folder, NAMESPACES, (1, 3), ("nas", "oss", "accl", "image")), told.append)
    assert found == told
    assert not list(folder.iterdir()), "the benchmark left something behind"
    assert namespaces_of(os.getpid()) == []
    return found


@pytest.mark.long
def test_each_storage_and_number_has_a_record_of_verified_loads(records: list[Record]) -> None:
    done = {(r["storage"], r["instances"]) for r in records}
    assert done == {(name, count) for name in WIDE for count in (1, 3)}, [r for r in records if "skipped" in r]
    for record in records:
        assert record["failures"] == [] and len(record["seconds"]) == record["instances"]
        assert record["how"] == NAMESPACES and record["origin_bytes_by"] == "link"
        # Of each instance: the file, its manifest and its block table.
        assert record["bytes_read"] >= record["instances"] * record["size"]
        assert record["server_cpu_seconds"] >= 0 and record["instance_cpu_seconds"] > 0


@pytest.mark.long
def test_direct_readers_each_cost_the_origin_a_copy_and_a_cold_cache_one_in_all(records: list[Record]) -> None:
    for record in records:
        copies = record["origin_bytes"] / record["size"]
        if record["storage"] == "accl":
            assert 1 <= copies < 1.3, record
        else:
            assert record["instances"] <= copies < 1.3 * record["instances"], record


@pytest.mark.long
def test_tables_targets_and_pictures_are_made_of_them(
    records: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "\n".join(herd_tables(records))
    assert "nfs-ganesha, read by nfs://" in text and "its origin 4,000 MB/s (here 1,000 MB/s)" in text
    append_records(tmp_path / "records.jsonl", records)
    assert main(["bench", "targets", str(tmp_path / "records.jsonl")]) == 0
    out = capsys.readouterr().out
    assert "herd of 1 to 3, nas" in out and "3 cold instances through the accelerator" in out
    (herd,) = herds(records)
    for name in ("herd.svg", "herd.png"):
        plot_herd(herd, tmp_path / name)
    drawn = ET.parse(tmp_path / "herd.svg").getroot()
    assert drawn.tag.endswith("svg") and (tmp_path / "herd.png").read_bytes().startswith(b"\x89PNG")
    again = tmp_path / "again.svg"
    plot_herd(herd, again)
    assert len(again.read_text()) == len((tmp_path / "herd.svg").read_text())


@pytest.mark.long
def test_without_hosts_a_wrapper_shares_the_rate_and_the_record_says_so(tmp_path: Path) -> None:
    from conftest import require

    require(NginxBucket)
    found = run_herd_bench(options(tmp_path, THROTTLED, (2,), ("nas", "oss", "accl")))
    done = {r["storage"]: r for r in found if "skipped" not in r}
    assert set(done) == {"nas", "oss"}
    for record in done.values():
        assert record["how"] == THROTTLED and record["failures"] == [] and len(record["seconds"]) == 2
        assert record["origin_bytes_by"] == "readers"
        assert 2 * record["size"] <= record["origin_bytes"] < 2.3 * record["size"]
    assert "NO shaped links" in "\n".join(herd_tables(found))
    assert [r["storage"] for r in found if "skipped" in r] == ["accl"]
    assert not list(tmp_path.iterdir())


def test_an_instance_that_fails_or_hangs_is_told_and_the_others_load(tmp_path: Path) -> None:
    from hoist.verbs import publish

    source = tmp_path / "model.safetensors"
    source.write_bytes(safetensors_bytes([Raw("weight", "F16", [1000], bytes(2000))]))
    storage = tmp_path / "nas"
    storage.mkdir()
    publish(source, f"{storage}//m:v")
    stuck = ((str(tmp_path / "rate"), 1.0),)
    environ = load_config().environ
    with Herds(environ) as nursery:
        good = Task(f"{storage}//m:v")
        assert "seconds" in nursery.run([good], 30, learn=True)[0]
        lost, hung, right = nursery.run([Task(f"{storage}//m:none"), Task(good.location, None, stuck), good], 3)
        assert "m:none" in lost["error"]
        assert hung == {"error": "not loaded after 3 s"}
        assert right["seconds"] >= 0 and right["bytes_read"] > 0
        nowhere = Task(good.location, f"{PREFIX}-nowhere")
        (refused,) = nursery.run([nowhere], 30)
        assert f"{PREFIX}-nowhere" in refused["error"]
        assert nursery._process is not None
        nursery._process.kill()
        with pytest.raises(LocalError, match="ended with -9"):
            nursery.run([good], 5)


@pytest.mark.long
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_ended_in_the_middle_leaves_nothing(tmp_path: Path, end: signal.Signals) -> None:
    require_namespaces()
    command = [
        sys.executable, "-m", "hoist", "bench", "herd", "--storage", "oss", "--instances", "2", "--storage-rate",
        "1MB/s", "--shorten", str(TINY), "--folder", str(tmp_path),
    ]  # fmt: skip
    environ = {**os.environ, "PYTHONPATH": str(SOURCE)}
    running = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        # Its instances are there once they are among the processes on its hosts.
        until = time.monotonic() + 60
        while not (inside := _on_hosts(running.pid)):
            assert running.poll() is None and time.monotonic() < until, "no instance comes up"
            time.sleep(0.05)
        running.send_signal(end)
        assert running.wait(30) == (130 if end is signal.SIGINT else -signal.SIGKILL)
    finally:
        running.kill()
        running.communicate()
    until = time.monotonic() + 20
    while namespaces_of(running.pid) or any(Path(f"/proc/{pid}").exists() for pid in inside):
        assert time.monotonic() < until, "something stays"
        time.sleep(0.05)
    if end is signal.SIGINT:
        assert not list(tmp_path.iterdir())


def _on_hosts(pid: int) -> list[int]:
    """Processes in the namespaces of the hosts for instances that the process has made."""
    found: list[int] = []
    for name in namespaces_of(pid):
        if "instance" in name:
            said = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
            found += map(int, said.split())
    return found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--storage", "tape"], "tape"),
        (["--instances", "one"], "1,2,4"),
        (["--instances", "0"], "from 1"),
        (["--storage-rate", "quick"], "600MB/s"),
        (["--storage-rate", "tape=1MB/s"], "tape"),
        (["--scale", "2"], "--scale"),
        (["--start-jitter", "-1"], "--start-jitter"),
        (["--deadline", "soon"], "seconds"),
        (["--plot", "herd.doc"], ".svg"),
        (["--size", "2TiB"], "are moved"),
    ],
)
def test_wrong_words_are_refused_before_anything_starts(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "herd", *words]) == UsageError("").exit_code
    assert said in capsys.readouterr().err
