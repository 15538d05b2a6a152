"""hoist sync as a user runs it: what it says, its exit codes, a kill at any moment, and the watch."""

from __future__ import annotations

import json
import random
import signal
import time
import urllib.request
from pathlib import Path

import pytest
from sync_making import Regions

import hoist
from hoist.errors import StorageUnavailable
from hoist.storage.base import Version
from hoist.sync.difference import Difference
from hoist.sync.result import Lag, Problem, SyncResult, TargetResult
from hoist.sync.service import SyncMonitor
from makers import noise
from prometheus import samples
from zygote import Ended, User, Zygote

pytest_plugins = ["sync_fixtures"]
MIB = 1 << 20


def user(regions: Regions, zygote: Zygote) -> User:
    return User(zygote, regions.home, regions.environ)


def test_what_it_says_and_with_which_code_it_ends(directories: Regions, zygote: Zygote) -> None:
    someone = user(directories, zygote)
    directories.publish("eu//m/one:v1", b"1", tags=["stable"])
    shown = someone.run("sync", "--dry-run").out
    assert "us: NOT in step, 2 changes: 1 B at most\n  would bring m/one:v1\n  would tag m/one:stable -> v1" in shown
    checked = someone.tries("sync", "production", "--check", "--json", "-q")
    assert checked.code == 1
    assert [target["difference"]["bring"] for target in checked.json["targets"]] == [["m/one:v1"]] * 2
    assert directories.state("us") == ({}, {})
    done = someone.run("sync", "./hoist.toml", "-q").out
    assert "ap: in step, 1 B sent\n  brought m/one:v1\n  tagged m/one:stable -> v1\n" in done
    assert "production: in step with eu, 1 version" in done
    assert someone.run("sync", "--check", "-q").out.startswith("us: in step\nap: in step\nproduction: in step")


def test_failures_are_told_by_target(directories: Regions, zygote: Zygote) -> None:
    someone = user(directories, zygote)
    directories.publish("eu//m/one:v1", b"1", tags=["stable"])
    directories.publish("us//m/one:v1", b"other")
    refused = someone.refused("sync", "-q")
    assert refused.code == 4
    assert "hoist: error: us: m/one:v1: us has m/one:v1 with other content" in refused.error
    assert "ap: in step" in refused.out
    (directories.home / "ap").rename(directories.home / "away")
    assert someone.tries("sync", "-q").code == 1
    document = someone.tries("sync", "-q", "--json").json
    assert not document["in_step"]
    assert [target["problems"][0]["kind"] for target in document["targets"]] == ["Conflict", "StorageNotFound"]
    (directories.home / "eu").rename(directories.home / "gone")
    assert someone.refused("sync", "-q").code == 3


def test_a_plan_that_names_nothing_says_so(directories: Regions, zygote: Zygote) -> None:
    directories.publish("eu//m:v1", b"1")
    directories.plan(models=["n*"])
    done = user(directories, zygote).run("sync", "-q")
    assert "hoist: warning: the plan production names no version that eu has: see its models" in done.error


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("other",), "no plan 'other': it has production"),
        (("--interval", "5m"), "go with --watch"),
        (("--watch", "--dry-run"), "goes with neither"),
        (("--watch", "--interval", "never"), "is not a time"),
        (("--watch", "--listen", "nowhere"), "--listen wants HOST:PORT"),
    ],
)
def test_what_has_no_meaning(directories: Regions, zygote: Zygote, words: tuple[str, ...], says: str) -> None:
    refused = user(directories, zygote).refused("sync", *words)
    assert refused.code == 2
    assert says in refused.error


def test_a_kill_at_any_moment_leaves_nothing_half_done(regions: Regions, zygote: Zygote) -> None:
    """Versions are whole or not there, tags name what is there, and the next run ends it."""
    someone = user(regions, zygote)
    for number in range(4):
        regions.publish(f"eu//m/one:v{number}", noise(9 * MIB, number), b"{}", tags=[f"t{number}", "latest"])
    chance, killed = random.Random(9), 0
    for _ in range(4):
        ended = someone.tries("sync", "-q", "--max-bandwidth", "60MiB", kill=chance.uniform(0.3, 1.5))
        killed += ended.killed
        for name in ("us", "hub", "nas"):
            versions, tags = regions.state(name)
            assert {f"m/one:{label}" for label in tags.values()} <= versions.keys()
    assert killed >= 2
    someone.run("sync", "-q")
    for name in ("us", "hub", "nas"):
        assert regions.state(name) == regions.state("eu")
        regions.verified(name)


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def _until(what: str, path: Path, seconds: float = 30.0) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if what in path.read_text():
            return path.read_text()
        time.sleep(0.05)
    raise AssertionError(path.read_text())


def test_the_watch_brings_what_comes_tells_of_it_and_ends_on_sigterm(directories: Regions, zygote: Zygote) -> None:
    directories.publish("eu//m/one:v1", b"1", tags=["stable"])
    words = ("sync", "--watch", "--interval", "1s", "--listen", "127.0.0.1:0", "--json", "-q")
    started = zygote.start(directories.home, directories.environ, *words)
    try:
        url = _until("/status", started.error).partition("status at ")[2].split("/status")[0]
        _until('"brought": ["m/one:v1"]', started.out)
        directories.publish("eu//m/one:v2", b"2")
        (directories.home / "ap").rename(directories.home / "away")
        _until('"brought": ["m/one:v2"]', started.out)
        until = time.monotonic() + 20
        while 'hoist_storage_up{storage="ap"} 0' not in _get(f"{url}/metrics") and time.monotonic() < until:
            time.sleep(0.1)
        status = json.loads(_get(f"{url}/status"))["last_run"]
        assert [target["in_step"] for target in status["targets"]] == [True, False]
        found = samples(_get(f"{url}/metrics"))
        assert found["hoist_storage_up", (("storage", "ap"),)] == 0
        assert found["hoist_sync_in_step", (("plan", "production"), ("storage", "us"))] == 1
        assert found["hoist_errors_total", (("kind", "StorageNotFound"), ("storage", "ap"))] >= 1
        assert json.loads(_get(f"{url}/health")) == {"status": "ok"}
    finally:
        ended = started.end(signal.SIGTERM)
    assert (ended.code, ended.seconds < 20) == (0, True)
    assert all(json.loads(line)["plan"] == "production" for line in ended.out.splitlines())
    assert directories.state("us") == directories.state("eu")


def test_the_watch_ends_in_the_middle_of_a_run_and_goes_on_another_time(directories: Regions, zygote: Zygote) -> None:
    directories.publish("eu//m/one:v1", noise(40 * MIB, 1), tags=["stable"])
    started = zygote.start(
        directories.home, directories.environ, "sync", "--watch", "--max-bandwidth", "5MiB", "--listen", "127.0.0.1:0"
    )
    _until("/status", started.error)
    time.sleep(0.5)
    ended: Ended = started.end(signal.SIGTERM)
    assert ended.code == 0
    assert directories.state("us") == ({}, {})
    assert directories.sync().in_step


def test_a_monitor_tells_of_runs_of_all_kinds() -> None:
    monitor = SyncMonitor()
    assert monitor.status() == {"last_run": None}
    assert not monitor.unhealthy()
    samples(monitor.metrics())
    behind = TargetResult(
        "us",
        Difference(bring=(Version("m", "v1"),)),
        sent_bytes=7,
        problems=(Problem("m:v1", StorageUnavailable("down")),),
        lag=Lag(1, 1000, 2, 60.0),
    )
    monitor.told(SyncResult("p", "eu", [behind, TargetResult("ap", Difference())], read_bytes=9, seconds=2.0))
    found = samples(monitor.metrics())
    us, plan = (("plan", "p"), ("storage", "us")), (("plan", "p"),)
    assert [found[f"hoist_sync_lag_{what}", us] for what in ("versions", "bytes", "tags", "seconds")] == [
        1,
        1000,
        2,
        60,
    ]
    assert found["hoist_sync_runs_total", (*plan, ("result", "failed"))] == 1
    assert ("hoist_sync_last_in_step_timestamp_seconds", plan) not in found
    monitor.told(SyncResult("p", "eu", [TargetResult("us", Difference()), TargetResult("ap", Difference())]))
    found = samples(monitor.metrics())
    assert found["hoist_sync_lag_versions", us] == 0
    assert found["hoist_sync_sent_bytes_total", us] == 7
    assert found["hoist_sync_last_in_step_timestamp_seconds", plan] > 0
    monitor.told(SyncResult("p", "eu", error=StorageUnavailable("down")))
    found = samples(monitor.metrics())
    assert found["hoist_storage_up", (("storage", "eu"),)] == 0
    # Of targets that were not looked at nothing is said.
    assert ("hoist_storage_up", (("storage", "us"),)) not in found


def test_the_verb_stays_one_beside_the_package_of_its_name() -> None:
    from hoist.sync import plan

    assert callable(hoist.sync)
    assert plan.DEFAULT_INTERVAL == 300.0
