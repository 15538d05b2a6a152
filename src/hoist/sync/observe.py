"""What there is in storages, as far as a plan asks, in few requests; and how a target differs from the source.

A bucket is listed once, and each tag read; a directory's manifests are read; a registry's tags are. Where what was seen does
not tell whether two versions are one, their manifests are read.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace

from hoist.errors import HoistError
from hoist.parallel import for_each
from hoist.storage.base import Storage, Tag, Version
from hoist.storage.seen import Seen, read_seen
from hoist.sync.difference import Difference, difference
from hoist.sync.plan import SyncPlan
from hoist.sync.state import StorageState


def observe(storage: Storage, plan: SyncPlan | None = None) -> StorageState:
    """Look at a storage: all of it, or what the plan speaks of. What a storage raises is the state's `error`."""
    began = time.monotonic()
    try:
        versions, tags = _look(storage, plan)
    except HoistError as error:
        return StorageState(storage.address, error=error, seconds=time.monotonic() - began)
    return StorageState(storage.address, versions, tags, seconds=time.monotonic() - began)


def observe_all(storages: Sequence[Storage], plan: SyncPlan | None = None) -> list[StorageState]:
    """The same of several, at once, in their order."""
    return for_each(lambda storage: observe(storage, plan), storages, max(1, len(storages)))


def compare(
    plan: SyncPlan, source: Storage, source_state: StorageState, target: Storage, target_state: StorageState
) -> Difference:
    """How the target differs; manifests are read where nothing else tells. Raises what a storage may."""
    found = difference(plan, source_state, target_state)
    if not found.doubts:
        return found
    ours = settle(source, source_state, found.doubts)
    theirs = settle(target, target_state, found.doubts)
    return difference(plan, ours, theirs)


def settle(storage: Storage, state: StorageState, versions: Collection[Version]) -> StorageState:
    """The state with the digests of these versions; one that is gone is left out. Raises what a storage may."""
    unknown = [version for version in versions if version in state.versions and not state.versions[version].digest]
    if not unknown:
        return state
    read = read_seen(storage, ((version, state.versions[version].published) for version in unknown))
    kept = {version: seen for version, seen in state.versions.items() if version in read or version not in unknown}
    return replace(state, versions=kept | read)


def _look(storage: Storage, plan: SyncPlan | None) -> tuple[dict[Version, Seen], dict[tuple[str, str], Tag]]:
    names = plan.only_names() if plan else None
    # In this order: what a tag names was there before the tag, and a listing may be behind.
    tags: dict[tuple[str, str], Tag] = {}
    versions: dict[Version, Seen] = {}
    for name in names or ("",):
        tags |= {(tag.name, tag.tag): tag for tag in storage.tags(name)}
        versions |= storage.seen_versions(name)
    if plan is not None:
        tags = {key: tag for key, tag in tags.items() if plan.names_model(tag.name)}
        versions = {version: seen for version, seen in versions.items() if plan.names_model(version.name)}
    named = {Version(tag.name, tag.label) for tag in tags.values() if tag.label}
    versions |= read_seen(storage, ((version, 0.0) for version in sorted(named - versions.keys())))
    return versions, tags
