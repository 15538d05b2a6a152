"""The switch experiment end to end at a small scale, from a directory and a real bucket, and its table."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hoist.bench.demo import IMAGE, run_demo
from hoist.bench.fixtures import FIXTURES
from hoist.bench.records import append_records
from hoist.bench.switch import Options, Target, find_models, run_switches
from hoist.bench.switch_image import PODMAN, PULLED, podman_unable
from hoist.bench.table import align, is_switch, switch_table
from hoist.bench.targets import target_rows
from hoist.cli import main
from hoist.config import load_config
from hoist.errors import LocalError, NotFound, UsageError
from hoist.read.connect import connect
from hoist.testing.servers import DockerRegistry, RcloneServer
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
    # Who has no registry is told in the table.
    assert len(said) == (4 if DockerRegistry.unavailable() else 5)
    assert not list(folder.iterdir()), "the demo left something behind"
    return found


def test_each_model_loader_and_switch_has_a_record(demo: Any) -> None:
    switches = [record for record in demo.records if is_switch(record) and record["storage"] != IMAGE]
    keys = {(r["storage"], r["file"], r["loader"], r["switch"], r["run"]) for r in switches}
    assert len(keys) == len(switches) == 2 * 2 * 2 * 2 * 2
    assert json.loads(json.dumps(demo.records)) == demo.records
    limits = {(r["storage"], r["limit"]) for r in demo.records if r["bench"] == "limit" and r["storage"] != IMAGE}
    assert limits == {("nas", "direct"), ("nas", "cached"), ("oss", "get")}


def test_hoist_reads_once_and_a_plain_loader_twice(demo: Any) -> None:
    for record in demo.records:
        if not is_switch(record) or record["storage"] == IMAGE:
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


def of_images(demo: Any) -> list[Any]:
    """The records of switches to models in images. Skips where there is no registry; conftest fails it in CI."""
    return [record for record in demo.records if record.get("storage") == IMAGE]


@pytest.mark.usefixtures("docker_registry")
def test_an_image_is_read_by_range_and_pulled_whole(demo: Any) -> None:
    records = of_images(demo)
    switches = [record for record in records if is_switch(record)]
    reasons = {record["loader"]: record["skipped"] for record in records if "skipped" in record}
    assert set(reasons) <= {PODMAN} and all("not installed" in reason for reason in reasons.values())
    loaders = {"hoist", PULLED, PODMAN} - set(reasons)
    files = {fixture.file_name for fixture in SMALL}
    assert {(r["file"], r["loader"], r["switch"]) for r in switches} == {
        (file, loader, which) for file in files for loader in loaders for which in ("first", "second")
    }
    for record in switches:
        times = record["bytes_read"] / record["size"]
        if record["loader"] == "hoist" or record["switch"] == "first":
            assert 0.99 < times < 1.05, record
        else:
            assert times == 0, "what was pulled is not fetched again"
        assert record["kind"] == "image"
        assert record["hashed"] == (record["switch"] == "first" and record["loader"] != "hoist")
        # The registry's own page cache is emptied of the layer. Its padding nobody reads.
        assert record["cached_before"] == 0.0 if record["switch"] == "first" else record["cached_before"] > 0.9, record
    (limit,) = [record for record in records if record["bench"] == "limit"]
    assert limit["limit"] == "get" and limit["bytes_per_second"] > 0


def test_what_cannot_be_measured_is_named_with_the_reason(
    demo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = {"bench": "switch", "storage": IMAGE, "loader": PODMAN, "skipped": "not installed (podman): x"}
    rest = [record for record in demo.records if record.get("loader") != PODMAN]
    assert "not measured: podman: not installed (podman): x" in switch_table([*rest, missing])
    assert switch_table([missing])[-1] == "not measured: podman: not installed (podman): x"
    config = load_config({"HOME": str(tmp_path)}, tmp_path)
    monkeypatch.setattr("hoist.bench.switch_image.find", lambda name: name)
    assert podman_unable(config.storage("oci://localhost:5000/models")) is None
    assert podman_unable(config.storage(f"oci-layout://{tmp_path}")) == "pulls from registries only"
    monkeypatch.setattr("hoist.bench.switch_image.find", lambda name: None)
    assert "install-servers" in (podman_unable(config.storage("oci://localhost:5000/models")) or "")


@pytest.mark.long
def test_a_demo_without_a_registry_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DockerRegistry, "unavailable", lambda: "docker-registry is not installed: x")
    demo = run_demo(
        scale=0.04, server="rclone", folder=tmp_path, fixtures=SMALL[:1], options=Options(loaders=["hoist"])
    )
    assert set(demo.published) == {"nas", "oss"} and demo.same_digests
    assert switch_table(demo.records)[-1] == f"not measured: {IMAGE}: docker-registry is not installed: x"


@pytest.mark.long
@pytest.mark.usefixtures("page_cache")
def test_a_bucket_is_loaded_through_a_mount_and_a_cache(rclone_server: RcloneServer, tmp_path: Path) -> None:
    if not Path("/dev/fuse").exists():
        pytest.skip("there is no /dev/fuse: modprobe fuse")
    options = Options(mounted=True)
    demo = run_demo(scale=0.04, server="rclone", folder=tmp_path, fixtures=SMALL, options=options, images=False)
    assert not list(tmp_path.iterdir()), "something was left behind"
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    switches = [record for record in demo.records if is_switch(record)]
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


def test_all_storages_hold_the_same_versions(demo: Any) -> None:
    assert demo.same_digests
    assert all(len(items) == 2 for items in demo.published.values())
    assert [item.digest for item in demo.published["nas"]] == [item.digest for item in demo.published["oss"]]


def test_the_table_shows_every_model_on_every_storage(demo: Any) -> None:
    text = "\n".join(switch_table(demo.records, demo.real_sizes))
    for storage in ("nas", "oss"):
        for which in ("first", "second"):
            assert f"{storage}, {which} switch, median of 2 runs" in text
    if DockerRegistry.unavailable():
        assert f"not measured: {IMAGE}: docker-registry is not installed" in text
    else:
        assert f"{IMAGE}, first switch, median of 2 runs" in text and "pulled: s" in text
    shown = text.partition(IMAGE)[0]
    assert shown.count("pastelmix-fp32.ckpt") == 4
    assert shown.count("raw limit in this run") == 3
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
