"""A status as a document: of `hoist status --json`, and of GET /status. Pure."""

from __future__ import annotations

from dataclasses import asdict

from hoist.status.state import Status, StorageStatus

FORMAT = 1


def document(status: Status) -> dict[str, object]:
    """What JSON has; times in seconds, `at` since the epoch, sizes in bytes; null where it is not known."""
    return {
        "format": FORMAT,
        "at": status.at,
        "seconds": status.seconds,
        "plans": [{"name": plan.name, "from": plan.source, "to": list(plan.targets)} for plan in status.plans],
        "up": all(storage.up for storage in status.storages),
        "in_step": all(lag.in_step for storage in status.storages for lag in storage.lags),
        "storages": [storage_document(storage) for storage in status.storages],
    }


def storage_document(storage: StorageStatus) -> dict[str, object]:
    """One storage of it."""
    return {
        "storage": storage.address,
        "kind": storage.kind or None,
        "region": storage.region or None,
        "up": storage.up,
        "late": storage.late,
        "seconds": storage.seconds,
        "answer_seconds": storage.answer_seconds,
        "models": storage.models,
        "versions": storage.versions,
        "tags": storage.tags,
        "size_bytes": storage.size_bytes,
        "unsized_versions": storage.unsized,
        "lags": [asdict(lag) for lag in storage.lags],
        "reads": [asdict(reading) for reading in storage.readings],
        "problems": [{"kind": problem.kind, "message": problem.message} for problem in storage.problems],
    }
