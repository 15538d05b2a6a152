"""Where it can be seen what is read from a storage now: counters of the kernel's, of an accelerator's, of a mount's.

A meter counts what all processes of this host read by it (an accelerator: what all its clients do), not what this process
does. What was read between two samples is what is read now. Reading a meter asks no storage.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from hoist.accelerator.live import live_accelerators
from hoist.expose import parse_samples
from hoist.mount.live import LiveMounts
from hoist.settings import IS_URL, StorageConfig
from hoist.status.diskstats import parse_diskstats
from hoist.status.mountstats import READ, nfs_mount_at
from hoist.storage.mounts import Mount, mount_of

_NFS = ("nfs", "nfs4")
_ANSWER_SECONDS = 2.0
_MOST_BYTES = 1 << 20
# Who shows metrics, and which of them say what was read by it, and from behind it.
_METRICS = {
    "accelerator": ("hoist_accelerator_client_bytes_total", "hoist_accelerator_origin_bytes_total"),
    "mount": ("hoist_mount_storage_bytes_total", None),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A meter at a time (of the monotonic clock): bytes since it began to count, calls that brought them, the seconds of
    all calls together, calls that had to be sent again, and bytes that an accelerator had to fetch itself."""

    at: float
    read_bytes: int
    calls: int = 0
    call_seconds: float = 0.0
    sent_again: int = 0
    fetched_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read by one meter now. `kind`: `nfs`, `disk`, `accelerator`, `mount`, or `probe` for what was read to see
    it. `seconds` is how long was looked, `call_seconds` the mean time of a call, where there was one, and `total_bytes` what
    the meter counted since it began."""

    kind: str
    source: str
    bytes_per_second: float
    seconds: float
    total_bytes: int | None = None
    call_seconds: float | None = None
    sent_again: int = 0
    fetched_bytes_per_second: float | None = None


class Meter(Protocol):
    """Something that counts what is read."""

    @property
    def kind(self) -> str:
        """As `Reading` has it."""

    @property
    def source(self) -> str:
        """What is counted, for people; no secret."""

    def sample(self) -> Sample | None:
        """What it says now; None where it does not answer, or is there no longer."""


@dataclass(frozen=True, slots=True)
class NfsMeter:
    """The kernel's counters of an NFS mount: bytes that came from the server, whatever the page cache gives."""

    point: str
    source: str
    table: Path = Path("/proc/self/mountstats")
    kind: str = "nfs"

    def sample(self) -> Sample | None:
        """The mount's counters; its calls are READs, and their seconds those from sending to the answer."""
        mount = nfs_mount_at(_text(self.table), self.point)
        if mount is None:
            return None
        read = mount.calls.get(READ)
        if read is None:
            return Sample(time.monotonic(), mount.server_bytes)
        again = max(0, read.transmissions - read.count)
        return Sample(time.monotonic(), mount.server_bytes, read.count, read.round_trip_seconds, again)


@dataclass(frozen=True, slots=True)
class DiskMeter:
    """The kernel's counters of a local disk, whatever the page cache gives; `device` by its numbers, as `8:1`."""

    device: str
    source: str
    table: Path = Path("/proc/diskstats")
    kind: str = "disk"

    def sample(self) -> Sample | None:
        """The disk's counters."""
        disk = parse_diskstats(_text(self.table)).get(self.device)
        if disk is None:
            return None
        return Sample(time.monotonic(), disk.read_bytes, disk.reads, disk.read_seconds)


@dataclass(frozen=True, slots=True)
class MetricsMeter:
    """What an accelerator or a mount of Hoist's shows as metrics at `url`."""

    kind: str
    source: str
    url: str

    def sample(self) -> Sample | None:
        """Its counters; asked for two seconds at most, each time that it is silent."""
        values = read_metrics(self.url)
        name, behind = _METRICS[self.kind]
        if name not in values:
            return None
        fetched = values.get(behind) if behind else None
        return Sample(time.monotonic(), int(values[name]), fetched_bytes=None if fetched is None else int(fetched))


def reading(meter: Meter, before: Sample | None, after: Sample | None) -> Reading | None:
    """What was read between two samples; None where that cannot be told, as of a mount that was mounted anew."""
    if before is None or after is None or after.at <= before.at or after.read_bytes < before.read_bytes:
        return None
    seconds = after.at - before.at
    calls = after.calls - before.calls
    fetched = None
    if before.fetched_bytes is not None and after.fetched_bytes is not None:
        fetched = max(0, after.fetched_bytes - before.fetched_bytes) / seconds
    return Reading(
        kind=meter.kind,
        source=meter.source,
        bytes_per_second=(after.read_bytes - before.read_bytes) / seconds,
        seconds=seconds,
        total_bytes=after.read_bytes,
        call_seconds=max(0.0, after.call_seconds - before.call_seconds) / calls if calls > 0 else None,
        sent_again=max(0, after.sent_again - before.sent_again),
        fetched_bytes_per_second=fetched,
    )


def meters_of(config: StorageConfig, runtime_folder: Path, given: Sequence[str] = ()) -> list[Meter]:
    """The meters of a storage. `given` are URLs of metrics, of an accelerator or a mount of this storage elsewhere.

    It follows links on the way to a folder, which may take for ever where a server hangs.
    """
    found: list[Meter] = []
    folder = folder_of(config)
    if folder is not None:
        meter = kernel_meter(folder.resolve())
        found += [meter] if meter else []
    for mount in LiveMounts(runtime_folder).all():
        if mount.serving and mount.metrics_port and config.address in mount.storages:
            url = f"http://127.0.0.1:{mount.metrics_port}/metrics"
            found.append(MetricsMeter("mount", mount.point or f"process {mount.pid}", url))
    for accelerator in live_accelerators(runtime_folder):
        found += [
            MetricsMeter("accelerator", url, f"http://127.0.0.1:{accelerator.metrics_port}/metrics")
            for url in config.accelerator
            if accelerator.is_at(url)
        ]
    return [*found, *_given(given)]


def kernel_meter(folder: Path, table: Path = Path("/proc/self/mountinfo")) -> Meter | None:
    """What the kernel counts of where a folder lies, which has no links in it; None where it counts nothing."""
    mount = mount_of(folder, table)
    if mount is None:
        return None
    if mount.kind in _NFS:
        return NfsMeter(mount.point, f"{mount.source} at {mount.point} ({mount.kind})")
    device = _disk(mount)
    return DiskMeter(device, f"{mount.source} ({mount.kind})") if device else None


def folder_of(config: StorageConfig) -> Path | None:
    """The folder, or file, that a storage is on this machine; None if it is elsewhere."""
    scheme = config.url.partition("://")[0] if IS_URL.match(config.url) else ""
    if scheme not in ("", "file", "oci-layout", "oci-archive"):
        return None
    path = unquote(urlsplit(config.url).path) if scheme else config.url
    return Path(path).expanduser().absolute()


def read_metrics(url: str) -> Mapping[str, float]:
    """The samples that are shown at a URL; none where nobody answers."""
    try:
        with urlopen(url, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310 an http URL that was configured
            text = answer.read(_MOST_BYTES).decode(errors="replace")
    except (OSError, ValueError):
        return {}
    return parse_samples(text)


def _given(urls: Sequence[str]) -> Iterator[Meter]:
    """Meters at URLs that somebody named: what shows itself there says which kind it is."""
    for url in urls:
        values = read_metrics(url)
        kind = next((kind for kind, (name, _) in _METRICS.items() if name in values), "accelerator")
        yield MetricsMeter(kind, urlsplit(url).netloc.rpartition("@")[2], url)


def _disk(mount: Mount) -> str | None:
    """The numbers of the disk below a mount: its own, or where a file system has some of its own (btrfs), its source's."""
    known = parse_diskstats(_text(Path("/proc/diskstats")))
    if mount.device in known:
        return mount.device
    name = Path(mount.source).name
    return next(
        (numbers for numbers, disk in known.items() if mount.source.startswith("/dev/") and disk.name == name), None
    )


def _text(table: Path) -> str:
    try:
        return table.read_text(errors="surrogateescape")
    except OSError:
        return ""
