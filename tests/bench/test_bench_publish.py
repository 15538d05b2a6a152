"""Publishes, selections, small figures and targets: measured on tiny things, on a real server, and shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hoist.bench.peers import UPLOADERS, choose_peers
from hoist.bench.publish import Options, run_publishes
from hoist.bench.records import append_records
from hoist.bench.select import LAYER, LAYER_BYTES, run_selections, selections, write_layers
from hoist.bench.small import measure_scale, measure_verbs
from hoist.bench.stage import isolated_config
from hoist.bench.targets import target_rows
from hoist.cli import main
from hoist.config import Config
from hoist.errors import HoistError, UsageError
from hoist.read.connect import connect
from hoist.testing.servers import RcloneServer
from hoist.verbs import publish
from makers import Raw, noise, safetensors_bytes

Record = dict[str, Any]


@pytest.fixture
def config(tmp_path: Path, rclone_server: RcloneServer) -> Config:
    rclone_server.create_bucket("published")
    (tmp_path / "nas").mkdir()
    bucket = f'[storage.oss]\nurl = "s3://published/{tmp_path.name}"\nendpoint = "{rclone_server.endpoint}"\n'
    return isolated_config(tmp_path, f'[storage.nas]\nurl = "{tmp_path / "nas"}"\n\n{bucket}', rclone_server)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "w.safetensors"
    path.write_bytes(safetensors_bytes([Raw("w", "U8", (3 << 20,), noise(3 << 20))]))
    return path


def ignore(record: Record) -> None:
    """A record that nobody waits for."""


def test_publishes_are_compared_and_removed(config: Config, source: Path) -> None:
    records = run_publishes(source, "oss", config, Options(choose_peers(["boto3", "rclone"], UPLOADERS), 2))
    puts = [r for r in records if r["bench"] == "publish"]
    assert {(r["loader"], r["run"]) for r in puts} == {(n, run) for n in ("hoist", "boto3", "rclone") for run in (0, 1)}
    assert not [r for r in puts if "skipped" in r]
    limits = [r for r in records if r["bench"] == "limit"]
    assert [r["limit"] for r in limits] == ["put", "put"] and all(r["bytes_per_second"] > 0 for r in limits)
    storage, _ = connect("oss", config)
    with storage:
        assert not list(storage.versions())
        left = [item.key for item in storage.objects.list("")]  # type: ignore[attr-defined]
    assert not left
    assert [row[0] for row in target_rows(records)] == ["publish to a bucket", "peak memory of publish"]


def test_a_file_that_is_there_already_is_no_measure(config: Config, source: Path) -> None:
    publish(source, "oss//other/model:v1", config=config)
    storage, _ = connect("oss", config)
    with storage:
        if not any(True for _ in storage.objects.list(".hoist/files/")):  # type: ignore[attr-defined]
            pytest.fail("files of this size are not looked up by their digest any more")
    with pytest.raises(HoistError, match="empty"):
        run_publishes(source, "oss", config, Options(repeat=1, limits=False))


def test_a_directory_is_refused(config: Config, source: Path) -> None:
    with pytest.raises(UsageError, match="bucket"):
        run_publishes(source, "nas", config, Options())


def test_some_tensors_of_a_large_file(config: Config, tmp_path: Path) -> None:
    assert sum(LAYER.values()) == LAYER_BYTES
    path = write_layers(tmp_path / "layers.safetensors", 2)
    assert path.stat().st_blocks * 512 < 1 << 20, "the file is sparse"
    publish(path, "oss//bench/layers:two", config=config)
    chosen = {name: selections(2)[name] for name in ("a whole layer", "small tensors of all layers")}
    layer, small = run_selections("oss//bench/layers:two", config, chosen, ignore)
    assert (layer["tensors"], layer["asked_bytes"]) == (6, LAYER_BYTES)
    assert 1.0 <= layer["read_bytes"] / LAYER_BYTES < 1.1
    assert small["read_bytes"] > small["asked_bytes"]
    assert [row[3] for row in target_rows([layer, small])] == ["yes", "-"]


def test_the_selections_name_tensors_that_are_there() -> None:
    for layers in (4, 96):
        names = {f"layers.{layer}.{name}" for layer in range(layers) for name in LAYER}
        for wanted in selections(layers).values():
            assert wanted and set(wanted) <= names


def test_small_figures(config: Config, source: Path, tmp_path: Path) -> None:
    publish(source, "nas//m/one:v1", config=config)
    records = measure_verbs("nas//m/one:v1", tmp_path / "pulled", config, ignore)
    assert [(r["verb"], r["size"]) for r in records] == [(verb, source.stat().st_size) for verb in ("verify", "pull")]
    assert (tmp_path / "pulled" / "w.safetensors").read_bytes() == source.read_bytes()
    (scale,) = measure_scale(config.environ, ignore)
    assert (scale["files"], scale["model_bytes"]) == (10_000, 10**12)
    assert scale["blocks"] > 100_000


def _load(loader: str, seconds: float, **more: Any) -> Record:
    base: Record = {
        "bench": "load",
        "location": "oss//m",
        "file": "w.safetensors",
        "format": "safetensors",
        "place": "bucket",
    }
    base |= {"public": False, "state": "remote", "run": 0, "size": 1 << 30, "about": "", "cached_before": None}
    figures = {"cpu_seconds": 0.9, "peak_bytes": (1 << 30) + (300 << 20), "disk_bytes": 0, "bytes_read": 1 << 30}
    return {**base, **figures, "loader": loader, "seconds": seconds, "verified": "no", "server": "radosgw", **more}


def test_targets_are_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limit = {**_load("x", 1), "bench": "limit", "limit": "get", "bytes_per_second": (1 << 30) / 1.8, "depth": 8}
    del limit["loader"]
    records = [_load("hoist", 2.0), _load("runai", 2.5), _load("runai-unlimited", 3.0), limit]
    rows = {row[1]: row for row in target_rows(records)}
    assert rows["0.85 of the raw limit"][2:4] == ["0.90", "yes"]
    # The quicker of runai's modes counts.
    assert rows["1.3 x runai-model-streamer"][2:4] == ["1.25 x", "NO"]
    assert rows["under 1.0"][3] == "yes"
    assert rows["model + 256 MiB"][2:4] == ["model + 300 MiB", "NO"]
    machine = {"schema": "hoist.bench/1", "date": "2026-11-22T00:00:00Z"}
    machine["machine"] = {"cpu": "a cpu", "cores": 2, "kernel": "6"}  # type: ignore[assignment]
    append_records(tmp_path / "r.jsonl", [{**record, **machine} for record in records])
    assert main(["bench", "targets", str(tmp_path / "r.jsonl"), "--markdown", str(tmp_path / "t.md")]) == 0
    text = (tmp_path / "t.md").read_text()
    assert "| 0.90 | yes |" in text and "| runai | 2.50 |" in text and "a cpu, 2 cores" in text
    assert main(["bench", "targets", str(tmp_path / "r.jsonl")]) == 0
    assert "| 0.90 | yes |" in capsys.readouterr().out


def test_warm_and_checkpoint_targets() -> None:
    warm = {"state": "warm", "place": "file"}
    records = [_load("hoist", 1.0, verified="now", **warm), _load("safetensors", 2.0, **warm)]
    assert [(row[1], row[3]) for row in target_rows(records)] == [
        ("not slower than safetensors load_file", "yes"),
        ("no second hash", "NO"),
    ]
    zipped = {"state": "cold", "place": "file", "format": "ckpt", "file": "w.ckpt"}
    rows = target_rows([_load("hoist", 1.0, **zipped), _load("torch", 1.5, **zipped)])
    assert rows[0][1:4] == ["2 x torch.load", "1.50 x", "NO"]


@pytest.mark.parametrize(
    "words",
    [
        ["load", "nas//m", "--repeat", "0"],
        ["load", "nas//m", "--peer", "nonesuch"],
        ["suite", "--case", "nonesuch"],
        ["suite", "--scale", "2"],
        ["profile", "--scale", "0"],
        ["publish", "none.safetensors", "nas"],
    ],
)
def test_wrong_arguments_are_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) in (2, 3)
    assert capsys.readouterr().err.startswith("hoist: error: ")
