"""A status as Prometheus reads it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hoist.expose import exposition, labelled
from hoist.status.state import Lag, Status, StorageStatus

HELP: Mapping[str, tuple[str, str]] = {
    "storage_up": ("gauge", "whether a storage's versions and tags could be listed: 1, or 0"),
    "storage_late": ("gauge", "whether the time was over before all was known of it: 1, or 0"),
    "storage_answer_seconds": ("gauge", "time of one small request, connection included"),
    "storage_look_seconds": ("gauge", "time that the last look at it took"),
    "storage_models": ("gauge", "models that have a version there"),
    "storage_versions": ("gauge", "versions there"),
    "storage_tags": ("gauge", "tags there"),
    "storage_bytes": ("gauge", "bytes of its versions, as their manifests say"),
    "storage_unsized_versions": ("gauge", "versions whose bytes are not known, and not counted"),
    "sync_in_step": ("gauge", "whether a storage is what a plan wants of it: 1, or 0"),
    "sync_lag_versions": ("gauge", "versions that it lacks"),
    "sync_lag_bytes": ("gauge", "bytes of the versions that it lacks"),
    "sync_lag_tags": ("gauge", "tags that say something else there than at the source"),
    "sync_lag_seconds": ("gauge", "how long the oldest version that it lacks has been published; 0 if it lacks none"),
    "sync_conflicts": ("gauge", "versions of other content under the same label"),
    "sync_stuck_tags": ("gauge", "tags that cannot be moved for what stands in the way"),
    "read_bytes_per_second": ("gauge", "what was read of late, by meter: of all that lies behind it"),
    "read_bytes_total": ("counter", "what a meter has counted since it began, as the kernel does of a mount"),
    "read_call_seconds": ("gauge", "mean time of a call that read, where there was one"),
    "read_fetched_bytes_per_second": ("gauge", "what an accelerator had to fetch from its origin"),
    "errors_total": ("counter", "problems that looks at a storage had, by the error's name"),
    "looks_total": ("counter", "times that the storages were looked at"),
    "look_timestamp_seconds": ("gauge", "when they were looked at last, in seconds since the epoch"),
    "start_time_seconds": ("gauge", "when this service began, in seconds since the epoch"),
}


def values(status: Status) -> Iterator[tuple[str, float]]:
    """The samples of one status, without what only a service counts."""
    for storage in status.storages:
        yield from _storage(storage)
        for lag in storage.lags:
            yield from _lag(storage.address, lag)
        yield from _readings(storage)
    yield "look_timestamp_seconds", status.at


def text(samples: Mapping[str, float]) -> str:
    """The exposition format of Prometheus."""
    return exposition("hoist", HELP, samples)


def _storage(storage: StorageStatus) -> Iterator[tuple[str, float]]:
    name = storage.address
    yield labelled("storage_up", storage=name, kind=storage.kind, region=storage.region), float(storage.up)
    known = {
        "late": float(storage.late),
        "answer_seconds": storage.answer_seconds,
        "look_seconds": storage.seconds,
        "models": storage.models,
        "versions": storage.versions,
        "tags": storage.tags,
        "bytes": storage.size_bytes,
        "unsized_versions": storage.unsized if storage.versions is not None else None,
    }
    # What is not known has no sample: a 0 would say that there is nothing.
    yield from ((labelled(f"storage_{key}", storage=name), each) for key, each in known.items() if each is not None)


def _lag(name: str, lag: Lag) -> Iterator[tuple[str, float]]:
    known = {
        "sync_in_step": float(lag.in_step),
        "sync_lag_versions": lag.versions,
        "sync_lag_bytes": lag.size_bytes,
        "sync_lag_tags": lag.tags,
        "sync_lag_seconds": lag.seconds if lag.versions else 0.0,
        "sync_conflicts": lag.conflicts,
        "sync_stuck_tags": lag.stuck,
    }
    for key, each in known.items():
        if each is not None:
            yield labelled(key, plan=lag.plan, storage=name), each


def _readings(storage: StorageStatus) -> Iterator[tuple[str, float]]:
    for reading in storage.readings:
        labels = {"storage": storage.address, "meter": reading.kind, "source": reading.source}
        yield labelled("read_bytes_per_second", **labels), reading.bytes_per_second
        if reading.total_bytes is not None and reading.kind != "probe":
            yield labelled("read_bytes_total", **labels), reading.total_bytes
        if reading.call_seconds is not None:
            yield labelled("read_call_seconds", **labels), reading.call_seconds
        if reading.fetched_bytes_per_second is not None:
            yield labelled("read_fetched_bytes_per_second", **labels), reading.fetched_bytes_per_second
