"""What there is in storages, as far as a plan asks, in few requests; and how a target differs from the source.

A bucket is listed once, and each tag read; a directory's manifests are read; a registry's tags are. Where what was seen does
not tell whether two versions are one, their manifests are read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from hoist.errors import HoistError, StorageUnsupported
from hoist.parallel import for_each
from hoist.storage.base import Storage, Tag, Version
from hoist.storage.seen import Seen, read_seen
from hoist.sync.difference import Difference, difference
from hoist.sync.plan import SyncPlan
from hoist.sync.state import StorageState

_FEW_NAMES = 8


def observe(storage: Storage, plan: SyncPlan | None = None) -> StorageState:
    """Look at a storage: all of it, or what the plan speaks of. What a storage raises is the state's `error`."""
    try:
        versions, tags = _look(storage, plan)
    except HoistError as error:
        return StorageState(storage.address, error=error)
    return StorageState(storage.address, versions, tags)


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
    told = {version: replace(seen, signers=state.versions[version].signers) for version, seen in read.items()}
    kept = {version: seen for version, seen in state.versions.items() if version in read or version not in unknown}
    return replace(state, versions=kept | told)


def _look(storage: Storage, plan: SyncPlan | None) -> tuple[dict[Version, Seen], dict[tuple[str, str], Tag]]:
    versions: dict[Version, Seen] = {}
    tags: dict[tuple[str, str], Tag] = {}
    for seen, named in _surveys(storage, plan):
        versions |= {version: each for version, each in seen.items() if plan is None or plan.names_model(version.name)}
        tags |= {(tag.name, tag.tag): tag for tag in named if plan is None or plan.names_model(tag.name)}
    # A listing may be behind.
    unlisted = {Version(tag.name, tag.label) for tag in tags.values() if tag.label} - versions.keys()
    return versions | read_seen(storage, ((version, 0.0) for version in sorted(unlisted))), tags


def _surveys(storage: Storage, plan: SyncPlan | None) -> list[tuple[Mapping[Version, Seen], Sequence[Tag]]]:
    """All there is, in one go; or model by model, where the plan names few, or the storage does not list them."""
    names = plan.only_names() if plan else None
    if names is None or len(names) > _FEW_NAMES:
        try:
            return [storage.survey()]
        except StorageUnsupported:
            if names is None:
                raise
    return for_each(storage.survey, names, _FEW_NAMES)
