"""Loads compared, with tiny files and real servers: every loader is checked, and what fails is named, not dropped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from hoist.bench import child
from hoist.bench import load as comparing
from hoist.bench.comparison import cases, load_markdown, load_tables
from hoist.bench.contents import fingerprint, tensors_in, touch
from hoist.bench.load import COLD, REMOTE, WARM, Options, run_loads
from hoist.bench.peers import PEERS, Loaded, Peer, choose_peers
from hoist.bench.stage import isolated_config, set_stage
from hoist.config import Config
from hoist.errors import LocalError, UsageError
from hoist.pagecache import cached_fraction
from hoist.read.connect import open_location
from hoist.testing.servers import NginxServer, RcloneServer
from hoist.verbs import publish
from makers import Raw, noise, safetensors_bytes

LOCATION = "nas//m/one:v1"
PIECES = 40
WEIGHTS = safetensors_bytes([Raw(f"layer.{n}.w", "F16", (64, 512), noise(1 << 16, n)) for n in range(PIECES)])
Record = dict[str, Any]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    (folder / "nas").mkdir()
    (folder / "w.safetensors").write_bytes(WEIGHTS)
    state = {f"layer.{n}.w": torch.frombuffer(bytearray(noise(1 << 16, n)), dtype=torch.float16) for n in range(PIECES)}
    torch.save({"state_dict": state, "step": 3}, folder / "w.ckpt")
    return folder


@pytest.fixture(scope="module")
def config(home: Path) -> Config:
    config = isolated_config(home, f'[storage.nas]\nurl = "{home / "nas"}"\n', None)
    publish(home / "w.safetensors", LOCATION, config=config)
    publish(home / "w.ckpt", "nas//m/zip:v1", config=config)
    # A file is remembered as verified only when it is two seconds old: tests do not wait for that.
    for path in (home / "nas").rglob("w.*"):
        os.utime(path)
    return config


def installed(*names: str) -> list[Peer]:
    """The peers of those names; a visible skip where one is not installed."""
    found = choose_peers(names)
    for peer in found:
        if peer.unavailable():
            pytest.skip(f"{peer.name}: {peer.unavailable()}")
    return found


def loads(records: list[Record], **wanted: Any) -> list[Record]:
    return [r for r in records if r["bench"] == "load" and all(r.get(key) == value for key, value in wanted.items())]


@pytest.mark.long
@pytest.mark.usefixtures("page_cache")
def test_a_directory_cold_and_warm(config: Config, home: Path) -> None:
    peers = installed("safetensors")
    records = run_loads(LOCATION, config, Options(peers, repeat=2, folder=home))
    assert json.loads(json.dumps(records)) == records
    assert len(loads(records)) == 2 * 2 * 2
    for record in loads(records):
        assert record["cached_before"] == (0.0 if record["state"] == COLD else 1.0)
        assert record["size"] == len(WEIGHTS) and record["seconds"] > 0 and record["cpu_seconds"] > 0
        assert record["peak_bytes"] > len(WEIGHTS) // 2
        assert record["bytes_read"] >= len(WEIGHTS)
    assert {r["verified"] for r in loads(records, loader="hoist", state=COLD)} == {"now"}
    assert {r["verified"] for r in loads(records, loader="safetensors")} == {"no"}
    limits = [r for r in records if r["bench"] == "limit"]
    assert {(r["state"], r["limit"]) for r in limits} == {(COLD, "direct"), (WARM, "cached")}
    assert all(r["bytes_per_second"] == max(r["rates"].values()) for r in limits)
    # The order rotates: the first of the second run is not that of the first.
    order = [[r.get("loader", "limit") for r in records if r["run"] == run and r["state"] == COLD] for run in (0, 1)]
    assert order == [["limit", "hoist", "safetensors"], ["hoist", "safetensors", "limit"]]
    assert not list(home.glob("hoist-bench-*")), "something was left behind"


@pytest.mark.long
def test_a_checkpoint(config: Config, home: Path) -> None:
    options = Options(choose_peers(["torch", "torch-mmap", "safetensors"]), 1, (WARM,), home, limits=False)
    records = run_loads("nas//m/zip:v1", config, options)
    assert {r["loader"] for r in loads(records) if "skipped" not in r} == {"hoist", "torch", "torch-mmap"}
    (left_out,) = [r for r in loads(records) if "skipped" in r]
    assert (left_out["loader"], left_out["skipped"]) == ("safetensors", "does not load .ckpt files")


@pytest.fixture(scope="module")
def buckets(rclone_server: RcloneServer, nginx_server: NginxServer, home: Path) -> Config:
    rclone_server.create_bucket("compared")
    nginx_server.create_bucket("compared")
    text = "".join(
        f'[storage.{name}]\nurl = "s3://compared/deep"\nendpoint = "{server.endpoint}"\n{more}\n'
        for name, server, more in (("oss", rclone_server, ""), ("public", nginx_server, "anonymous = true"))
    )
    (home / "buckets").mkdir()
    config = isolated_config(home / "buckets", text, rclone_server)
    publish(home / "w.safetensors", "oss//m/one:v1", config=config)
    folder = nginx_server.data_folder / "compared" / "deep"
    folder.mkdir(parents=True)
    publish(home / "w.safetensors", f"{folder}//m/one:v1", config=config)
    return config


# What `rclone serve s3` answers to a range (200) this does not take.
NEED_206 = {"obstore"}


@pytest.mark.long
@pytest.mark.parametrize("storage", ["oss", "public"])
def test_a_bucket(storage: str, buckets: Config, home: Path) -> None:
    peers = [peer for peer in choose_peers(["all"]) if "bucket" in peer.places and peer.name != "runai-unlimited"]
    if storage == "public":
        peers = [peer for peer in peers if peer.name in NEED_206]
    records = run_loads(f"{storage}//m/one:v1", buckets, Options(peers, 1, folder=home, limits=False))
    assert {r["loader"] for r in loads(records)} == {"hoist", *(peer.name for peer in peers)}
    for record in loads(records):
        peer = next((peer for peer in peers if peer.name == record["loader"]), None)
        if peer and peer.unavailable():
            assert record["skipped"] == peer.unavailable()
        elif storage == "oss" and record["loader"] in NEED_206:
            assert record["skipped"].startswith("failed: ")
        else:
            assert "skipped" not in record and record["state"] == REMOTE, record
    (ours,) = loads(records, loader="hoist")
    assert 1.0 <= ours["bytes_read"] / len(WEIGHTS) < 1.1
    assert not list(home.glob("hoist-bench-*"))


@pytest.mark.long
def test_streaming_peers_load_the_file(config: Config, home: Path) -> None:
    peers = installed("runai", "fastsafetensors", "tensorizer")
    records = run_loads(LOCATION, config, Options(peers, 1, (COLD,), home, limits=False))
    assert [(r["loader"], r.get("skipped")) for r in loads(records)] == [
        ("hoist", None),
        *((peer.name, None) for peer in peers),
    ]


FAULTS = {
    "empty": ("return Loaded({})", "its tensors are not the file's"),
    "unlucky": ("raise ValueError('no luck')", "ValueError: no luck"),
    "dead": ("import os; os._exit(3)", "ended with 3"),
}


@pytest.mark.long
def test_a_peer_that_does_not_load_is_named(config: Config, home: Path, tmp_path: Path) -> None:
    # The child finds the peers by their names: a sitecustomize of its own puts them there.
    lines = ["import hoist.bench.peers as peers", "from hoist.bench.peers import Loaded, Peer"]
    for name, (code, _) in FAULTS.items():
        lines += [f"def {name}():", f"    {code}", f"peers.LOADERS['{name}'] = Peer('{name}', '', lambda s: {name})"]
    (tmp_path / "sitecustomize.py").write_text("\n".join(lines))
    path = f"{tmp_path}{os.pathsep}{Path(comparing.__file__).parents[2]}"
    own = Config(config.storages, config.engine, {**config.environ, "PYTHONPATH": path})
    peers = [Peer(name, "a peer of the test", lambda subject: lambda: Loaded({})) for name in FAULTS]
    records = run_loads(LOCATION, own, Options(peers, 1, (COLD,), home, limits=False))
    for name, (_, reason) in FAULTS.items():
        (named,) = loads(records, loader=name)
        assert reason in named["skipped"]
    assert loads(records, loader="hoist", state=COLD), "the others go on"


def test_what_is_not_installed_is_named(config: Config, home: Path) -> None:
    absent = Peer("absent", "nobody has it", lambda subject: lambda: Loaded({}), packages=("no-such-package",))
    records = run_loads(LOCATION, config, Options([absent], 1, (WARM,), home, limits=False))
    (named,) = loads(records, loader="absent")
    assert "no-such-package" in named["skipped"] and "pip install 'hoist[peers]'" in named["skipped"]
    assert any("absent: not installed" in line for line in load_tables(records))


def test_an_unknown_peer_is_told() -> None:
    with pytest.raises(UsageError, match="safetensors"):
        choose_peers(["nonesuch"])
    assert [peer.name for peer in choose_peers(["all"])] == list(PEERS)


def test_fingerprints_tell_names_dtypes_shapes_and_bytes_apart() -> None:
    base: Mapping[str, Any] = {"a": torch.zeros(4), "deep": [{"b": torch.ones(2, 2, dtype=torch.float16)}]}
    others: list[Mapping[str, Any]] = [
        {},
        {**base, "a": torch.zeros(2, 2)},
        {**base, "a": torch.zeros(4, dtype=torch.int32)},
        {**base, "a": torch.tensor([0.0, 0.0, 0.0, 1.0])},
        {"c": base["a"], "deep": base["deep"]},
    ]
    found = {fingerprint(base), *map(fingerprint, others)}
    assert len(found) == len(others) + 1
    assert fingerprint({name: base[name] for name in ("deep", "a")}) == fingerprint(base)
    assert [name for name, _ in tensors_in(base)] == ["a", "deep/0/b"]


@pytest.mark.long  # it waits for its turn at the page cache
@pytest.mark.usefixtures("page_cache")
def test_touching_brings_a_mapped_file_in(tmp_path: Path) -> None:
    path = tmp_path / "mapped"
    path.write_bytes(os.urandom(8 << 20))
    from hoist.pagecache import drop

    assert drop([path]) == 0.0
    tensor = torch.from_file(str(path), shared=False, size=8 << 20, dtype=torch.uint8)
    touch({"x": tensor})
    assert cached_fraction(path) == 1.0


def test_tables_have_medians_and_the_limit() -> None:
    def record(bench: str, run: int, **values: Any) -> Record:
        base = {
            "location": "nas//m",
            "file": "w.safetensors",
            "format": "safetensors",
            "place": "file",
            "public": False,
        }
        return {"bench": bench, "run": run, "state": COLD, "size": 1 << 30, **base, **values}

    def load(run: int, loader: str, seconds: float) -> Record:
        figures = {"cpu_seconds": seconds / 2, "peak_bytes": (1 << 30) + (5 << 20), "disk_bytes": 1 << 30}
        named = {"loader": loader, "about": "", "verified": "no", "cached_before": 0.0, "bytes_read": 1 << 30}
        return record("load", run, seconds=seconds, **figures, **named)

    records = [load(run, "slow", 2.0 + run) for run in range(3)] + [load(run, "quick", 1.0) for run in range(3)]
    records += [record("limit", run, limit="direct", bytes_per_second=2.0 * (1 << 30), depth=8) for run in range(3)]
    (case,) = cases(records)
    slow = case.of("slow")
    assert slow is not None
    assert (slow.seconds, slow.runs, slow.cpu_per_gib, slow.peak_over) == (3.0, 3, 1.5, 5 << 20)
    assert round(slow.spread, 3) == 0.667
    lines = load_tables(records)
    quick = next(line for line in lines if line.startswith("quick")).split()
    assert quick[:5] == ["quick", "1.00", "0%", "1,074", "0.50"]
    assert any(line.startswith("| quick | 1.00 |") for line in load_markdown(records))


def test_the_stage_serves_what_is_published(home: Path, rclone_server: RcloneServer, nginx_server: NginxServer) -> None:
    # The fixtures have asked whether the servers are here; the stage starts its own.
    with set_stage(folder=home, server="rclone") as stage:
        assert stage.server == "rclone"
        for storage in stage.storages:
            publish(home / "w.safetensors", f"{stage.publish_to(storage)}//m/one:v1", config=stage.config)
            with open_location(f"{storage}//m/one:v1", stage.config) as opened:
                assert opened.read("w.safetensors") == WEIGHTS
    assert not list(home.glob("hoist-stage-*"))


def test_a_child_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_LEAST_SECONDS", 0.2)
    with pytest.raises(LocalError, match="scale was not done after 0 s"):
        child.run_child({"do": "scale", "subject": {"size": 0}}, os.environ)
