"""What a look finds in four kinds of storages, and what it says when one of them is down, hangs, or holds damage."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from status_regions import QUICK, SIZES, Regions, by_name, look_until, only

import hoist
from conftest import require
from hoist.config import load_config
from hoist.errors import UsageError
from hoist.status import metrics
from hoist.status.document import document
from hoist.status.run import Observer, Options, subject_of
from hoist.status.state import Lag
from hoist.status.watch import Watch
from hoist.testing.servers import GaneshaServer, Rule
from hoist.testing.servers.fault_kinds import Refusal, Stalled
from prometheus import samples

pytest_plugins = ["status_regions"]
PATIENT = replace(QUICK, limit_seconds=600.0)
HASTY = replace(QUICK, limit_seconds=1.0)
TOTAL = sum(SIZES.values())


def test_contents_and_lag_of_each_kind(regions: Regions) -> None:
    found = by_name(regions.look())
    assert list(found) == ["eu", "nas", "reg", "us"]
    assert {name: (each.kind, each.up, each.late) for name, each in found.items()} == {
        "eu": ("oss", True, False),
        "nas": ("nas", True, False),
        "reg": ("image", True, False),
        "us": ("oss", True, False),
    }
    eu = found["eu"]
    assert (eu.models, eu.versions, eu.tags, eu.size_bytes, eu.unsized, eu.lags) == (1, 2, 1, TOTAL, 0, ())
    assert found["nas"].region == "cn-hangzhou"
    for name in ("nas", "reg", "us"):
        (lag,) = found[name].lags
        assert lag == Lag("production", "eu", in_step=False, versions=2, size_bytes=TOTAL, tags=1, seconds=lag.seconds)
        assert lag.seconds is not None and 0 <= lag.seconds < 3600
        assert (found[name].versions, found[name].size_bytes) == (0, 0)
    done = hoist.copy(["eu//m/one:v1", "eu//m/one:stable"], ["us", "nas", "reg"], config=regions.config)
    assert not [each.error for each in done if each.error]
    status = regions.look("production")
    assert [storage.address for storage in status.storages] == ["eu", "us", "nas", "reg"]
    for storage in status.storages[1:]:
        assert storage.lags == (Lag("production", "eu", in_step=True),), storage
        assert (storage.versions, storage.tags, storage.size_bytes) == (2, 1, TOTAL)
    assert (status.exit_code, document(status)["in_step"]) == (0, True)


def test_a_second_look_reads_no_manifest_of_a_bucket(regions: Regions) -> None:
    hoist.copy(["eu//m/one:v1", "eu//m/one:v2"], "us", config=regions.config)

    def asked(*words: str) -> list[str]:
        regions.sick.plan()
        assert regions.look(*words).storages[0].size_bytes == TOTAL
        return [seen.path for seen in regions.sick.seen if "manifest.json" in seen.path]

    assert len(asked("us")) == 2
    assert asked("us") == asked("us", "eu") == []


def test_a_region_that_is_down_keeps_nothing_back(regions: Regions) -> None:
    with regions.sick.down():
        status = regions.look()
    found = by_name(status)
    us = found.pop("us")
    assert (us.up, us.versions, us.size_bytes, us.lags, us.late) == (False, None, None, (), False)
    assert us.problems[0].kind == "StorageUnavailable"
    assert all(storage.up for storage in found.values())
    assert found["nas"].lags[0].versions == 2
    assert status.exit_code == 6


def test_a_region_that_hangs_is_said_to_and_not_asked_twice(regions: Regions) -> None:
    observer = regions.observer(options=PATIENT)
    regions.sick.plan(Rule(Stalled("before"), method="*"))
    looks = [by_name(look_until(observer, only("us"))) for _ in range(2)]
    for found in looks:
        us = found.pop("us")
        assert (us.up, us.late, us.answer_seconds) == (False, True, None)
        assert "no answer in" in us.problems[0].message and "--limit" in us.problems[0].message
        assert all(storage.up and not storage.late for storage in found.values())
        assert found["reg"].lags[0].versions == 2
    # The second look waits for the first one's request, and sends none of its own.
    assert len(regions.sick.seen) == 1
    began = time.monotonic()
    (us,) = regions.look("us", options=HASTY).storages
    assert (us.up, us.late) == (False, True)
    # By itself, long before any client gives up.
    assert time.monotonic() - began < 20


def test_an_nfs_server_that_is_frozen(tmp_path: Path) -> None:
    require(GaneshaServer)
    (tmp_path / "w.bin").write_bytes(bytes(5000))
    env = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    with GaneshaServer() as server:
        config = load_config({**env, "HOIST_STORAGE_NAS_URL": server.url}, tmp_path)
        hoist.publish(tmp_path / "w.bin", "nas//m:v1", config=config)
        observer = Observer(subject_of(("nas",), config), replace(HASTY, probe=True))
        patient = Observer(subject_of(("nas",), config), replace(QUICK, probe=True))
        (nas,) = patient.look().storages
        assert (nas.up, nas.kind, nas.size_bytes, nas.readings[0].total_bytes) == (True, "nas", 5000, 5000)
        server.freeze()
        try:
            (nas,) = observer.look().storages
            assert (nas.up, nas.late, nas.versions) == (False, True, None)
        finally:
            server.thaw()
        (nas,) = patient.look().storages
        assert (nas.up, nas.versions) == (True, 1)


def test_where_the_source_hangs_nobody_says_how_far_behind_the_others_are(regions: Regions) -> None:
    with (regions.home / "hoist.toml").open("a") as file:
        file.write('[sync.back]\nfrom = "us"\nto = ["nas"]\n')
    regions.sick.plan(Rule(Stalled("before"), method="*"))
    waiting = regions.observer("back", options=PATIENT)
    found = by_name(look_until(waiting, lambda looks: looks["nas"]._found.waiting))
    assert not found["us"].up
    # It waits for the other one: that is not its own fault.
    assert (found["nas"].up, found["nas"].late, found["nas"].lags) == (True, False, ())


def test_a_storage_that_hangs_in_its_manifests_has_been_listed(regions: Regions) -> None:
    hoist.copy(["eu//m/one:v1", "eu//m/one:v2"], "us", config=regions.config)
    regions.sick.plan(Rule(Stalled("before"), path="*manifest.json*"))
    us = look_until(regions.observer("us", options=PATIENT), lambda _: regions.sick.struck() == 2).storages[0]
    assert (us.up, us.late, us.versions, us.unsized, us.size_bytes) == (True, True, 2, 2, 0)
    assert "2 sizes are not known yet" in us.problems[0].message


def test_damage_denial_and_what_is_not_there(regions: Regions) -> None:
    hoist.copy(["eu//m/one:v1", "eu//m/one:v2"], "nas", config=regions.config)
    manifest = next((regions.home / "nas/.hoist/versions/m/one/v2").glob("manifest*"))
    manifest.chmod(0o600)
    manifest.write_bytes(b"{")
    regions.sick.plan(Rule(Refusal(403), method="*"))
    found = by_name(regions.look("nas", "us", "nowhere", str(regions.home / "gone")))
    nas, us, nowhere, gone = found.values()
    assert (nas.up, nas.versions, nas.unsized, nas.size_bytes) == (True, 2, 1, SIZES["v1"])
    assert [problem.kind for problem in nas.problems] == ["InvalidManifest"]
    assert (us.up, us.problems[0].kind) == (False, "PermissionDenied")
    assert (nowhere.up, nowhere.problems[0].kind) == (False, "StorageNotFound")
    assert (gone.up, gone.problems[0].kind) == (False, "StorageNotFound")
    assert regions.look("nowhere").exit_code == 3
    assert regions.look("nowhere", "us").exit_code == 1


def test_other_content_under_a_label_is_a_conflict(regions: Regions) -> None:
    (regions.home / "other").write_bytes(b"something else")
    hoist.publish(regions.home / "other", "nas//m/one:v2", config=regions.config)
    (lag,) = by_name(regions.look("eu", "nas"))["nas"].lags
    assert (lag.in_step, lag.versions, lag.conflicts, lag.stuck) == (False, 1, 1, 1)


def test_a_probe_reads_a_little_of_each(regions: Regions) -> None:
    probed = regions.look("eu", "nas", options=replace(QUICK, probe=True))
    readings = {
        storage.address: [each for each in storage.readings if each.kind == "probe"] for storage in probed.storages
    }
    (reading,) = readings["eu"]
    assert (reading.total_bytes, reading.source) == (SIZES["v2"], "m/one:v2")
    assert reading.bytes_per_second > 0
    assert readings["nas"] == []


def test_what_has_no_meaning(regions: Regions) -> None:
    with pytest.raises(UsageError, match="elsewhere, which is not looked at"):
        regions.observer("eu", options=Options(metrics_of={"elsewhere": ["http://127.0.0.1:9/metrics"]}))
    (regions.home / "hoist.toml").write_text("")
    with pytest.raises(UsageError, match="no storage is configured"):
        regions.observer()


def test_a_watch_counts_what_goes_wrong_and_no_secret_is_told(regions: Regions) -> None:
    secret = regions.env["AWS_SECRET_ACCESS_KEY"]
    with_password = "s3://someone:hunter2pass@bucket/x"
    watch = Watch(regions.observer("eu", "us", with_password))
    assert (watch.unhealthy(), watch.status()["looks"]) == ("", 0)
    assert samples(watch.metrics())["hoist_looks_total", ()] == 0
    watch.look()
    with regions.sick.down():
        watch.look()
    watch.look()
    shown = json.dumps(watch.status(), allow_nan=False)
    us = next(each for each in json.loads(shown)["storages"] if each["storage"] == "us")
    assert (us["up"], us["errors"], us["last_error"]["kind"]) == (True, {"StorageUnavailable": 1}, "StorageUnavailable")
    found = samples(watch.metrics())
    assert found["hoist_looks_total", ()] == 3
    assert found["hoist_errors_total", (("kind", "StorageUnavailable"), ("storage", "us"))] == 1
    assert found["hoist_storage_up", (("kind", "oss"), ("region", "us-east-1"), ("storage", "us"))] == 1
    assert found["hoist_storage_bytes", (("storage", "eu"),)] == TOTAL
    assert found["hoist_sync_lag_versions", (("plan", "production"), ("storage", "us"))] == 2
    assert found["hoist_sync_lag_bytes", (("plan", "production"), ("storage", "us"))] == TOTAL
    for text in (shown, watch.metrics()):
        assert "***@bucket" in text
        assert secret not in text and "hunter2" not in text


def test_every_metric_has_a_sample_and_what_is_not_known_has_none(regions: Regions) -> None:
    status = regions.look("eu", "us", "nas", options=replace(QUICK, probe=True))
    assert {key.partition("{")[0] for key, _ in metrics.values(status)} <= metrics.HELP.keys()
    with regions.sick.down():
        down = dict(metrics.values(regions.look("us")))
    assert [value for key, value in down.items() if key.startswith("storage_up")] == [0.0]
    assert not [key for key in down if key.startswith(("storage_versions", "storage_bytes", "sync_"))]
