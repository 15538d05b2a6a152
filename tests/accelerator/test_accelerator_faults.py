"""Loads through an accelerator that is killed, full, or damaged, and before an origin that throttles: the right bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from accelerator_fixtures import MIB, Accelerate, Bucket, Running

import hoist
from hoist.config import Config, StorageConfig
from hoist.storage import accelerated
from hoist.testing.servers import FaultServer, FolderOrigin, Rule
from hoist.testing.servers.fault_kinds import Refusal
from makers import noise

pytest_plugins = ["accelerator_fixtures"]
SIZE = 40 * MIB
LOCATION = "models//sd/one:v1"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    (folder / "weights.bin").write_bytes(noise(SIZE))
    return folder


@pytest.fixture
def published(rgw_bucket: Bucket, model: Path) -> Bucket:
    hoist.publish(str(model), LOCATION, config=rgw_bucket.config())
    return rgw_bucket


def is_right(config: Config) -> bool:
    """Whether every byte of the version comes and is right, by an engine of its own."""
    return not hoist.verify(LOCATION, config=config).damaged


def settled(running: Running, name: str) -> float:
    """A counter, when it has stopped: nginx tells of a request after its end."""
    before = -1.0
    while (now := running.count(name)) != before:
        before = now
        time.sleep(0.1)
    return now


def slices(running: Running) -> list[Path]:
    folder = running.accelerator.settings.cache / "slices"
    return sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_many_cold_loads_cost_the_origin_one_copy(published: Bucket, accelerate: Accelerate) -> None:
    running = accelerate(f"{published.base}/in")
    config = published.config([running.url])
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(is_right, [config] * 16))
    assert settled(running, "origin_bytes_total") < 1.02 * SIZE
    assert settled(running, "client_bytes_total") >= 16 * SIZE


def test_restarted_with_its_cache(published: Bucket, accelerate: Accelerate, tmp_path: Path) -> None:
    cache = tmp_path / "kept"
    first = accelerate(f"{published.base}/in", cache=cache)
    assert is_right(published.config([first.url]))
    first.stop()
    unfinished = slices(first)[0].with_name("0" * 32 + ".0000000001")
    unfinished.write_bytes(b"what a killed one left")
    second = accelerate(f"{published.base}/in", cache=cache)
    assert is_right(published.config([second.url]))
    assert settled(second, "client_bytes_total") >= SIZE
    assert settled(second, "origin_bytes_total") < MIB
    assert not unfinished.exists()


def test_killed_and_started_again_in_the_middle_of_many_loads(published: Bucket, accelerate: Accelerate) -> None:
    running = accelerate(f"{published.base}/in")
    config = published.config([running.url])
    with ThreadPoolExecutor(16) as pool:
        loads = [pool.submit(is_right, config) for _ in range(16)]
        while running.count("client_bytes_total") < 2 * SIZE and not all(load.done() for load in loads):
            time.sleep(0.01)
        os.killpg(running.accelerator.pid, signal.SIGKILL)
        assert all(load.result() for load in loads)
    until = time.monotonic() + 15
    while running.count("restarts_total") < 1 and time.monotonic() < until:
        time.sleep(0.05)
    assert any("SIGKILL" in line for line in running.said)
    before = settled(running, "client_bytes_total")
    # Readers let one that failed rest for some seconds, and go to the origin meanwhile.
    until = time.monotonic() + 60
    while settled(running, "client_bytes_total") - before < SIZE and time.monotonic() < until:
        assert is_right(config)
    assert settled(running, "client_bytes_total") - before >= SIZE


def test_it_is_gone_for_good(published: Bucket, accelerate: Accelerate) -> None:
    running = accelerate(f"{published.base}/in")
    running.stop()
    assert is_right(published.config([running.url]))


def test_two_hold_each_slice_once_and_one_is_enough(
    published: Bucket, accelerate: Accelerate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerated, "STRIPE_BYTES", 8 * MIB)
    pair = [accelerate(f"{published.base}/in") for _ in range(2)]
    config = published.config([running.url for running in pair])
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(is_right, [config] * 4))
    assert sum(settled(running, "origin_bytes_total") for running in pair) < 1.02 * SIZE
    assert len(slices(pair[0])) + len(slices(pair[1])) == SIZE // (8 * MIB)
    pair[0].stop()
    assert is_right(config)


def test_altered_and_truncated_slices(published: Bucket, accelerate: Accelerate) -> None:
    running = accelerate(f"{published.base}/in")
    config = published.config([running.url])
    assert is_right(config)
    altered, truncated = slices(running)[-2:]
    with altered.open("r+b") as file:
        file.seek(5 * MIB)
        file.write(b"not what it was")
    os.truncate(truncated, 4 * MIB)
    before = settled(running, "origin_bytes_total")
    assert is_right(config)
    # It has them right again by now, for others too.
    brought = settled(running, "origin_bytes_total")
    assert brought > before
    assert is_right(config)
    assert settled(running, "origin_bytes_total") - brought < MIB


def test_a_machine_that_stopped_suddenly(published: Bucket, accelerate: Accelerate, tmp_path: Path) -> None:
    """Slices that were not written to their end are noticed before they are served: no load waits for one."""
    cache = tmp_path / "kept"
    first = accelerate(f"{published.base}/in", cache=cache)
    assert is_right(published.config([first.url]))
    settled(first, "origin_bytes_total")
    first.stop()
    whole = slices(first)
    os.truncate(whole[-1], 4 * MIB)
    os.truncate(whole[-2], 0)
    (cache / "in-use").touch()
    second = accelerate(f"{published.base}/in", cache=cache)
    assert slices(second) == whole[:-2]
    assert any("dropped 2 slices" in line for line in second.said)
    assert is_right(published.config([second.url]))


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk is a tmpfs, which only root can mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("keep_free", [0, 4 * MIB])
def test_its_disk_is_full(published: Bucket, accelerate: Accelerate, tmp_path: Path, keep_free: int) -> None:
    with small_disk(tmp_path / "small", 20 * MIB) as folder:
        running = accelerate(f"{published.base}/in", cache=folder / "cache", keep_free=keep_free, size=1 << 30)
        config = published.config([running.url])
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(is_right, [config] * 4))
        running.stop()


def test_an_origin_that_throttles(model: Path, tmp_path: Path, accelerate: Accelerate) -> None:
    """A third of its answers is 503: each slice is still brought once, and all loads come to their end."""
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "weights.bin").symlink_to(model / "weights.bin")
    config = Config({"models": StorageConfig("models", str(tmp_path / "bucket"))})
    hoist.publish(str(model), LOCATION, config=config)
    with FaultServer(FolderOrigin(tmp_path), [Rule(Refusal(503), path="*weights.bin", chance=0.3)], seed=3) as origin:
        running = accelerate(f"{origin.endpoint}/bucket", check_seconds=60)
        storage = StorageConfig(
            "models", "s3://bucket", endpoint=origin.endpoint, anonymous=True, accelerator=(running.url,)
        )
        through = replace(config, storages={"models": storage})
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(is_right, [through] * 8))
        seen = [each for each in origin.seen if each.path.endswith("weights.bin")]
        assert any(each.fault for each in seen)
        # One check of the one URL, and each slice once.
        assert sum(1 for each in seen if not each.fault) == 1 + SIZE // (8 * MIB)
