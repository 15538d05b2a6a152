"""A rollback: in each region the tag names again what it named before, wherever that can be reached."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from threading import Condition

from hoist.config import Config
from hoist.errors import HoistError, VersionNotFound
from hoist.model.manifest import Manifest
from hoist.model.reference import Reference
from hoist.parallel import for_each
from hoist.rollout.history import no_tag
from hoist.rollout.outcome import RegionBack
from hoist.rollout.regions import Region, bring_back, open_region
from hoist.rollout.stack import stood_before, went_back_from
from hoist.rollout.told import Told
from hoist.storage.base import Tag, Version
from hoist.storage.moves import TagMove

# So long a region waits to hear what the tag names in the others. One that is down is not waited for any longer.
_PATIENCE_SECONDS = 10.0
_NOTE = "rollback"


@dataclass(frozen=True, slots=True)
class Looked:
    """What a tag names in a region, and how it came to that."""

    now: Tag
    moves: Sequence[TagMove]


def roll_back(
    name: str, tag: str, regions: Sequence[str], to: str | None, config: Config, told: Told
) -> list[RegionBack]:
    """See `hoist.verbs.rollback`."""
    run = _Rollback(name, tag, regions, to, config, told)
    # All at once: each of them waits for the others.
    return for_each(run.one, regions, len(regions))


def is_back(region: str, looked: Mapping[str, Looked | None], regions: int) -> bool:
    """Whether a region is where the others go back to: a rollout did not reach it, or an earlier run of this rollback went
    back there. `looked` has None for a region that failed, and nothing for one that has not answered. Pure."""
    mine = looked[region]
    if mine is None:
        return False
    others = [each for address, each in looked.items() if address != region]
    seen = [each for each in others if each is not None]
    if any(each.now != mine.now and stood_before(each.moves, each.now) == mine.now for each in seen):
        return True
    left = went_back_from(mine.moves, mine.now)
    # One that cannot be seen may still name what this one left.
    unseen = len(seen) < regions - 1
    return left is not None and (unseen or any((each.now.label, each.now.digest) == left for each in seen))


class _Rollback:
    """One rollback under way, in all regions at once."""

    def __init__(self, name: str, tag: str, regions: Sequence[str], to: str | None, config: Config, told: Told) -> None:
        self._name = name
        self._tag = tag
        self._regions = regions
        self._to = to
        self._config = config
        self._told = told
        self._until = time.monotonic() + _PATIENCE_SECONDS
        self._heard = Condition()
        self._looked: dict[str, Looked | None] = {}

    def one(self, address: str) -> RegionBack:
        """Go back in one region."""
        before: Tag | None = None
        with ExitStack() as stack:
            try:
                region, looked = self._look(address, stack)
                before = looked.now
                found = self._go_back(region, looked)
            except HoistError as error:
                found = RegionBack(address, before, before, error=error)
        self._told.rolled_back(found)
        return found

    def _look(self, address: str, stack: ExitStack) -> tuple[Region, Looked]:
        looked: Looked | None = None
        try:
            region = open_region(address, self._config)
            stack.callback(region.storage.close)
            now = region.storage.find_tag(self._name, self._tag)
            if now is None:
                raise no_tag(region.storage, address, self._name, self._tag)
            looked = Looked(now, region.storage.tag_moves(self._name, self._tag))
        finally:
            with self._heard:
                self._looked[address] = looked
                self._heard.notify_all()
        return region, looked

    def _others(self) -> dict[str, Looked | None]:
        with self._heard:
            while len(self._looked) < len(self._regions):
                left = self._until - time.monotonic()
                if left <= 0 or not self._heard.wait(left):
                    break
            return dict(self._looked)

    def _go_back(self, region: Region, looked: Looked) -> RegionBack:
        now = looked.now
        if self._to is None:
            if is_back(region.address, self._others(), len(self._regions)):
                return RegionBack(region.address, now, now, already=True)
            target = stood_before(looked.moves, now)
            if target is None:
                raise VersionNotFound(
                    f"nothing is known to have stood in {region.address} before {self._name}:{now.label or '(damaged)'}: "
                    "name a version with --to"
                )
        else:
            target = self._named(region, self._to)
        if target == now:
            return RegionBack(region.address, now, now, already=True)
        version = Version(target.name, target.label)
        brought = not region.has(version, target.digest)
        if brought:
            bring_back(version, target.digest, region, self._regions, self._config)
        region.storage.set_tag(target, before=now, note=_NOTE)
        return RegionBack(region.address, now, target, brought=brought)

    def _named(self, region: Region, label: str) -> Tag:
        """What a label means in a region, or in the first other one that has it. Raises VersionNotFound."""
        reference = Reference(self._name, label)
        try:
            version, manifest = region.storage.resolve(reference)
        except VersionNotFound:
            found = self._resolve_elsewhere(region, reference)
            if found is None:
                raise
            version, manifest = found
        return Tag(self._name, self._tag, version.label, manifest.digest)

    def _resolve_elsewhere(self, region: Region, reference: Reference) -> tuple[Version, Manifest] | None:
        for address in self._regions:
            if address == region.address:
                continue
            with suppress(HoistError):
                other = open_region(address, self._config)
                with other.storage:
                    return other.storage.resolve(reference)
        return None
