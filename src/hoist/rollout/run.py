"""A rollout: the version is brought to every region first; then the tag moves region by region, with a check between."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from threading import Event

from hoist.config import Config
from hoist.errors import Cancelled, Conflict, HoistError, UsageError, VersionNotFound
from hoist.model.reference import Reference
from hoist.parallel import for_each
from hoist.progress import Progress
from hoist.read.version import OpenedVersion
from hoist.rollout.check import Check
from hoist.rollout.outcome import RegionRolled, RolledOut, State
from hoist.rollout.regions import Region, bring, bring_back, find_version, open_region
from hoist.rollout.told import Told
from hoist.storage.base import Tag, Version
from hoist.storage.moves import printable
from hoist.storage.translate import redact
from hoist.transfer.copy import Copied
from hoist.transfer.copying import outlook

_REGIONS_AT_ONCE = 16


@dataclass(frozen=True)
class Order:
    """What shall be rolled out. `source` is where the version comes from, empty: the first region that has it.

    `put_back`: after a failure the regions that were moved go back.
    """

    reference: Reference
    tag: str
    regions: Sequence[str]
    source: str = ""
    check: Check | None = None
    wait_seconds: float = 0.0
    put_back: bool = True
    dry_run: bool = False

    @property
    def note(self) -> str:
        """What the tag's history says of its moves: by this a run knows what an earlier one, which was killed, has moved."""
        return printable(redact(f"rollout to {', '.join(self.regions)}"))


def roll_out(order: Order, config: Config, told: Told, progress: Progress, stop: Event) -> RolledOut:
    """Carry out an order; `stop` ends it, in good order. See `hoist.verbs.rollout`."""
    with ExitStack() as stack:
        regions = []
        for address in order.regions:
            regions.append(open_region(address, config))
            stack.callback(regions[-1].storage.close)
        opened = find_version(order.reference, order.source, regions, config, stack)
        if opened.version.label == order.tag:
            raise UsageError(f"{opened.version} is the version itself: a tag needs another name")
        return _Rollout(order, regions, opened, config, told, progress, stop).run()


class _Rollout:
    """One rollout under way."""

    def __init__(
        self,
        order: Order,
        regions: Sequence[Region],
        opened: OpenedVersion,
        config: Config,
        told: Told,
        progress: Progress,
        stop: Event,
    ) -> None:
        self._order = order
        self._regions = regions
        self._opened = opened
        self._config = config
        self._told = told
        self._progress = progress
        self._stop = stop
        self._began = time.monotonic()
        self._tag = Tag(opened.version.name, order.tag, opened.version.label, opened.manifest.digest)
        self._states = {region.address: RegionRolled(region.address, "waiting") for region in regions}
        # The regions that this rollout has moved, or is about to, and may have to put back.
        self._mine: list[Region] = []

    @property
    def _version(self) -> Version:
        return self._opened.version

    def run(self) -> RolledOut:
        self._told.found(self._version, self._tag.digest, self._opened.storage.address)
        there = for_each(self._look, self._regions, _REGIONS_AT_ONCE)
        lacking = [region for region, has in zip(self._regions, there, strict=True) if not has]
        if self._order.dry_run:
            return self._outlook(lacking)
        if not self._bring(lacking):
            return self._result(HoistError("not every region has the version: no tag was moved"))
        self._told.moving()
        error: HoistError | None = None
        try:
            self._go()
        except HoistError as failed:
            error = failed
            self._return(str(failed))
        except BaseException:
            self._return("cancelled")
            raise
        return self._result(error)

    def _look(self, region: Region) -> bool:
        """See what the tag names there; whether the version is there. Raises what a storage may."""
        has = region.has(self._version, self._tag.digest)
        before = region.storage.find_tag(self._tag.name, self._tag.tag)
        if before == self._tag:
            moves = region.storage.tag_moves(self._tag.name, self._tag.tag)
            if moves and moves[-1].note == self._order.note and moves[-1].label == self._tag.label:
                last = moves[-1]
                stood = Tag(self._tag.name, self._tag.tag, last.before_label, last.before_digest)
                self._mine.append(region)
                before = stood if last.before_label else None
        self._set(region, before=before)
        return has

    def _outlook(self, lacking: Sequence[Region]) -> RolledOut:
        for region in lacking:
            self._came(region, outlook(self._opened, region.storage, self._config))
        for region in self._regions:
            if self._is_there(region):
                self._set(region, state="already")
        return self._result(None)

    def _bring(self, lacking: Sequence[Region]) -> bool:
        """Bring the version to those that lack it; False if it is not everywhere then."""
        for region in self._regions:
            if region not in lacking:
                self._told.brought(region.address, None)
        done = bring(self._opened, lacking, self._config, self._progress) if lacking else []
        for region, copied in zip(lacking, done, strict=True):
            self._told.brought(region.address, copied)
            self._came(region, copied)
        return all(copied.error is None for copied in done)

    def _came(self, region: Region, copied: Copied) -> None:
        """What became, or would, of bringing the version there."""
        if copied.error is None:
            self._set(region, brought=copied)
        else:
            self._set(region, state="failed", error=copied.error)

    def _go(self) -> None:
        """Move and check, region by region. Raises what failed, and Cancelled."""
        moved = False
        for region in self._regions:
            if moved and self._order.wait_seconds:
                self._told.waiting(self._order.wait_seconds, region.address)
                self._stop.wait(self._order.wait_seconds)
            if self._stop.is_set():
                raise Cancelled("cancelled")
            moved = not self._is_there(region)
            try:
                self._move(region)
                self._check(region)
            except Cancelled:
                raise
            except HoistError as error:
                self._set(region, error=error)
                if self._states[region.address].state == "waiting":
                    self._set(region, state="failed")
                raise

    def _move(self, region: Region) -> None:
        before = self._states[region.address].before
        already = self._is_there(region)
        if not already:
            # Before it is moved: whatever becomes of that, it is looked at again when things go back.
            self._mine.append(region)
            region.storage.set_tag(self._tag, before=before, note=self._order.note)
        self._set(region, state="already" if already else "moved")
        self._told.moved(region.address, before, already=already)

    def _is_there(self, region: Region) -> bool:
        """Whether the tag names the version there without this run."""
        return self._states[region.address].before == self._tag or region in self._mine

    def _check(self, region: Region) -> None:
        """Raise HoistError if the version is not good there."""
        if self._order.check is None:
            return
        self._told.checking(region.address)
        before = self._states[region.address].before
        more = {
            "REGION": region.address,
            "LOCATION": f"{region.address}//{self._tag.name}:{self._tag.tag}",
            "NAME": self._tag.name,
            "VERSION": self._tag.label,
            "DIGEST": self._tag.digest,
            "TAG": self._tag.tag,
            "PREVIOUS": before.label if before else "",
        }
        variables = {f"HOIST_ROLLOUT_{key}": value for key, value in more.items()}
        found = self._order.check.run({**self._config.environ, **variables}, self._stop)
        self._set(region, checked=found)
        self._told.checked(region.address, found)
        if not found.passed:
            raise HoistError(f"the check failed in {region.address}: {found}")

    def _return(self, why: str) -> None:
        """What this rollout has moved goes back, the last region first; each by itself."""
        if not self._order.put_back or not self._mine:
            return
        # What a listener does must not keep anything from going back.
        with suppress(Exception):
            self._told.returning(why)
        for region in reversed(self._regions):
            if region not in self._mine:
                continue
            try:
                state = self._return_one(region, f"rollout failed: {why}")
            except HoistError as error:
                state = "failed"
                self._set(region, error=error)
            if state is not None:
                self._set(region, state=state)
                with suppress(Exception):
                    self._told.returned(self._states[region.address])

    def _return_one(self, region: Region, note: str) -> State | None:
        """What became of it; None where the move had been refused."""
        known = self._states[region.address]
        before, now = known.before, region.storage.find_tag(self._tag.name, self._tag.tag)
        if now == before:
            return None if known.state == "failed" else "back"
        if now != self._tag:
            return "left"
        try:
            if before is None:
                region.storage.remove_tag(self._tag.name, self._tag.tag)
            else:
                self._set_back(region, before, note)
        except Conflict:
            return "left"
        return "back"

    def _set_back(self, region: Region, before: Tag, note: str) -> None:
        try:
            region.storage.set_tag(before, before=self._tag, note=note)
        except VersionNotFound:
            version = Version(before.name, before.label)
            bring_back(version, before.digest, region, self._order.regions, self._config)
            region.storage.set_tag(before, before=self._tag, note=note)

    def _set(self, region: Region, **changes: object) -> None:
        self._states[region.address] = replace(self._states[region.address], **changes)  # type: ignore[arg-type]

    def _result(self, error: HoistError | None) -> RolledOut:
        return RolledOut(
            version=self._version,
            digest=self._tag.digest,
            tag=self._tag.tag,
            source=self._opened.storage.address,
            regions=tuple(self._states[region.address] for region in self._regions),
            seconds=time.monotonic() - self._began,
            error=error,
            dry_run=self._order.dry_run,
        )
