"""Whether a target of a plan is its source by another name: pruning would remove there what nobody else has."""

from __future__ import annotations

import os

from hoist.config import Config
from hoist.errors import HoistError, InvalidConfig
from hoist.settings import StorageConfig
from hoist.sync.plan import SyncPlan


def check_places(plan: SyncPlan, config: Config) -> None:
    """Refuse a target that is the source itself, and where the plan prunes also one that has a member in common with it.

    By what their names say: no disk is asked, which might not answer. Raises InvalidConfig.
    """
    for address in plan.targets:
        try:
            source, target = (_places(config.storage(each), by_name=True) for each in (plan.source, address))
        except HoistError:
            # The run tells this of that target, and goes on with the others.
            continue
        _check(plan, address, source, target)


def check_target(plan: SyncPlan, config: Config, address: str) -> None:
    """The same of one target with links followed, which waits for a mount that hangs.

    What cannot be known here, such as two names of one server, is not found. Raises InvalidConfig, StorageNotFound.
    """
    source, target = (_places(config.storage(each), by_name=False) for each in (plan.source, address))
    _check(plan, address, source, target)


_Places = set[tuple[str, str]]


def _check(plan: SyncPlan, address: str, source: _Places, target: _Places) -> None:
    if source == target:
        raise InvalidConfig(
            f"[sync.{plan.name}]: {address!r} is the same place as {plan.source!r}, which stands in from: "
            "leave it out of to"
        )
    if plan.prune and source & target:
        raise InvalidConfig(
            f"[sync.{plan.name}]: {address!r} and {plan.source!r}, which stands in from, have a place in common, and "
            "prune = true would remove versions of the source: name the other members in their place, or leave prune out"
        )


def _places(storage: StorageConfig, *, by_name: bool) -> _Places:
    """Where a storage lies; a logical one lies where its members do."""
    return {_place(each, by_name=by_name) for each in storage.members or (storage,)}


def _place(storage: StorageConfig, *, by_name: bool) -> tuple[str, str]:
    if storage.scheme != "file":
        return storage.url.rstrip("/"), (storage.endpoint or "").rstrip("/")
    from hoist.storage.open_directory import root_of

    root = root_of(storage)
    return os.path.normpath(root) if by_name else os.path.realpath(root), ""
