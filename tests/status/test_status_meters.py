"""What is read now: counters of mounts, disks, accelerators and mounts of Hoist's, and what two samples of them say."""

from __future__ import annotations

import os
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from mountstats_texts import ALL, V41

from conftest import require
from hoist.accelerator.live import LiveAccelerator, live_accelerators, noted
from hoist.accelerator.metrics import Metrics as AcceleratorMetrics
from hoist.accelerator.origin import parse_origin
from hoist.accelerator.run import Accelerator
from hoist.accelerator.settings import Settings
from hoist.config import StorageConfig
from hoist.expose import MetricsServer
from hoist.mount.live import LiveMounts
from hoist.mount.metrics import Metrics as MountMetrics
from hoist.status.meters import (
    DiskMeter,
    MetricsMeter,
    NfsMeter,
    Reading,
    Sample,
    folder_of,
    kernel_meter,
    meters_of,
    reading,
)
from hoist.testing.servers import FaultServer, FolderOrigin, NginxServer
from hoist.testing.servers.ports import free_port

MOUNTINFO = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /mnt/nas ro,relatime - nfs4 nas:/models rw,vers=4.1
31 22 0:41 / /mnt/far rw - cifs //host/share rw
"""
NFS = NfsMeter("/mnt/nas", "nas:/models at /mnt/nas (nfs4)")


def told(meter: MetricsMeter | NfsMeter | DiskMeter, before: Sample | None, after: Sample | None) -> Reading:
    found = reading(meter, before, after)
    assert found
    return found


def test_an_nfs_mount_between_two_samples(tmp_path: Path) -> None:
    meter = replace(NFS, table=tmp_path / "mountstats")
    meter.table.write_text(ALL)
    before = meter.sample()
    assert before
    assert before == Sample(before.at, 3 << 30, 3072, 6.144, 2)
    # 100 READs of 1 MiB more, which took 250 ms in all; one of them was sent twice.
    grown = V41.replace("3221225472", str((3 << 30) + (100 << 20))).replace(
        "READ: 3072 3074 1 638976 3221618688 210 6144", "READ: 3172 3175 1 659776 3326476288 220 6394"
    )
    assert grown != V41
    meter.table.write_text(grown)
    after = meter.sample()
    assert after
    found = told(meter, replace(before, at=10.0), replace(after, at=12.0))
    assert found.call_seconds == pytest.approx(0.0025)
    expected = Reading("nfs", NFS.source, 50 << 20, 2.0, (3 << 30) + (100 << 20), found.call_seconds, sent_again=1)
    assert found == expected
    # Mounted anew, it counts from 0; unmounted, it is not there.
    assert reading(meter, after, replace(before, at=after.at + 1)) is None
    meter.table.write_text("device proc mounted on /proc with fstype proc\n")
    assert meter.sample() is None
    assert replace(meter, table=tmp_path / "none").sample() is None


def test_a_mount_that_nobody_reads_has_no_time_of_a_call() -> None:
    found = told(NFS, Sample(1.0, 500, 7, 0.1), Sample(3.0, 500, 7, 0.1))
    assert (found.bytes_per_second, found.call_seconds) == (0.0, None)
    assert reading(NFS, Sample(1.0, 500), Sample(1.0, 500)) is None
    assert reading(NFS, None, Sample(1.0, 500)) is reading(NFS, Sample(1.0, 500), None) is None


def test_where_a_folder_lies_says_what_counts(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTINFO)
    assert kernel_meter(Path("/mnt/nas/models"), table) == NFS
    assert kernel_meter(Path("/mnt/far/models"), table) is None
    for url, folder in (
        ("/srv/models", "/srv/models"),
        ("file:///srv/a%20b", "/srv/a b"),
        ("oci-layout:///srv/layout", "/srv/layout"),
        ("nfs://nas/models", None),
        ("s3://bucket/models", None),
    ):
        assert folder_of(StorageConfig("x", url)) == (folder and Path(folder))


def test_the_disk_below_a_folder_counts_what_is_read_from_it(tmp_path: Path) -> None:
    meter = kernel_meter(tmp_path.resolve())
    if not isinstance(meter, DiskMeter):
        pytest.skip(f"{tmp_path} lies on no disk that the kernel counts")
    before = meter.sample()
    file = tmp_path / "data"
    file.write_bytes(data := os.urandom(8 << 20))
    fd = os.open(file, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        assert os.pread(fd, len(data), 0) == data
    finally:
        os.close(fd)
    after = meter.sample()
    assert before and after
    assert after.read_bytes - before.read_bytes >= len(data)
    assert told(meter, before, after).bytes_per_second > 0


def test_a_mount_of_hoists_is_found_by_its_note(tmp_path: Path) -> None:
    metrics = MountMetrics()
    server = MetricsServer(metrics.text, 0)
    try:
        LiveMounts(tmp_path).note("/mnt/models", ["far", "near"], server.port, "")
        (meter,) = meters_of(StorageConfig("far", "s3://bucket"), tmp_path)
        assert (meter.kind, meter.source) == ("mount", "/mnt/models")
        assert meters_of(StorageConfig("elsewhere", "s3://bucket"), tmp_path) == []
        before = meter.sample()
        metrics.fetched(5000)
        after = meter.sample()
        assert before and after
        assert after.read_bytes - before.read_bytes == 5000
    finally:
        server.close()
    assert meter.sample() is None


def test_an_accelerator_of_this_host_is_found_and_counts(tmp_path: Path) -> None:
    require(NginxServer)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "key").write_bytes(os.urandom(100_000))
    port = free_port()
    config = StorageConfig("oss", "s3://models", accelerator=(f"http://127.0.0.1:{port}",))
    with FaultServer(FolderOrigin(tmp_path)) as origin:
        settings = Settings(
            parse_origin("oss", f"{origin.endpoint}/models"), f"0.0.0.0:{port}", tmp_path / "cache", 64 << 20
        )
        with Accelerator(settings) as accelerator:
            server = MetricsServer(accelerator.metrics.text, 0)
            with noted(tmp_path, LiveAccelerator(settings.listen, server.port)):
                (meter,) = meters_of(config, tmp_path)
                before = meter.sample()
                host = origin.endpoint.partition("//")[2]
                request = urllib.request.Request(f"http://127.0.0.1:{port}/models/key", headers={"Host": host})
                for _ in range(2):
                    with urllib.request.urlopen(request, timeout=30) as answer:
                        assert len(answer.read()) == 100_000
                after = _when_counted(meter, 200_000)
            server.close()
    assert live_accelerators(tmp_path) == []
    assert before and after
    found = reading(meter, replace(before, at=1.0), replace(after, at=2.0))
    assert found
    assert (found.kind, found.bytes_per_second) == ("accelerator", 200_000)
    # The second time it came from the cache.
    assert found.fetched_bytes_per_second is not None and 100_000 <= found.fetched_bytes_per_second < 200_000


def _when_counted(meter: object, size: int) -> Sample | None:
    """nginx tells of a request after its answer."""
    import time

    assert isinstance(meter, MetricsMeter)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        sample = meter.sample()
        if sample and sample.read_bytes >= size:
            return sample
        time.sleep(0.02)
    return None


def test_which_accelerator_a_storage_is_read_through() -> None:
    here = LiveAccelerator("0.0.0.0:8080", 9000)
    assert here.is_at("http://127.0.0.1:8080") and here.is_at("http://localhost:8080")
    assert not here.is_at("http://127.0.0.1:8081") and not here.is_at("http://far.example:8080")
    assert LiveAccelerator("10.0.0.7:443", 9000).is_at("https://10.0.0.7")


def test_metrics_that_somebody_names(tmp_path: Path) -> None:
    server = MetricsServer(AcceleratorMetrics().text, 0)
    try:
        url = f"http://127.0.0.1:{server.port}/metrics"
        (meter,) = meters_of(StorageConfig("oss", "s3://models"), tmp_path, [url])
        assert (meter.kind, meter.source, meter.sample() is None) == ("accelerator", f"127.0.0.1:{server.port}", False)
    finally:
        server.close()
    # Nobody listens there any more.
    (silent,) = meters_of(StorageConfig("oss", "s3://models"), tmp_path, [url.replace("http://", "http://me:secret@")])
    assert (silent.source, silent.sample()) == (f"127.0.0.1:{server.port}", None)
