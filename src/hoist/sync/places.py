"""Whether a target of a plan is its source by another name: pruning would remove there what nobody else has."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from hoist.config import Config
from hoist.errors import InvalidConfig, StorageNotFound
from hoist.settings import IS_URL, StorageConfig
from hoist.sync.plan import SyncPlan


def check_places(plan: SyncPlan, config: Config) -> None:
    """Refuse a target that is the source itself, and where the plan prunes also one that has a member in common with it.

    What cannot be known here, such as two names of one server, is not found. Raises InvalidConfig, StorageNotFound.
    """
    source = _places(config.storage(plan.source))
    for address in plan.targets:
        try:
            target = _places(config.storage(address))
        except StorageNotFound:
            # The run tells this of that target, and goes on with the others.
            continue
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


def _places(storage: StorageConfig) -> set[tuple[str, str]]:
    """Where a storage lies; a logical one lies where its members do."""
    return {_place(each) for each in storage.members or (storage,)}


def _place(storage: StorageConfig) -> tuple[str, str]:
    if storage.url.startswith("file:"):
        return str(Path(unquote(urlsplit(storage.url).path)).resolve()), ""
    if not IS_URL.match(storage.url):
        return str(Path(storage.url).expanduser().resolve()), ""
    return storage.url.rstrip("/"), (storage.endpoint or "").rstrip("/")
