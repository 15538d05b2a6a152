"""One run of a plan: look at all storages, then for each target that answered tags, versions with their tags, and removals.

A target that does not answer holds nobody back: those that did are brought into step first.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import replace
from threading import Event

from hoist.config import Config
from hoist.errors import HoistError
from hoist.parallel import for_each
from hoist.progress import Progress
from hoist.read.connect import connect
from hoist.read.engine import Engine
from hoist.storage.base import Storage, Version
from hoist.sync.apply import Target
from hoist.sync.bring import Bringer, measure
from hoist.sync.difference import Difference, age, difference
from hoist.sync.observe import compare, observe, settle
from hoist.sync.places import check_places, check_target
from hoist.sync.plan import SyncPlan
from hoist.sync.result import Lag, Problem, SyncResult, TargetResult
from hoist.sync.state import StorageState
from hoist.transfer.copy import Options
from hoist.transfer.copying import connect_target

_PATIENCE_SECONDS = 10.0


def run_plan(
    plan: SyncPlan,
    config: Config,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    stop: Event | None = None,
) -> SyncResult:
    """Bring all targets into step, or (`dry_run`) only say what differs. Setting `stop` begins nothing new.

    What goes wrong with a target is in its result. Raises UsageError, InvalidConfig, and what the source raises when it is
    looked at.
    """
    check_places(plan, config)
    cap = plan.max_bandwidth or config.engine.max_bandwidth
    config = replace(config, engine=replace(config.engine, max_bandwidth=cap))
    return _Run(plan, config, dry_run, progress or Progress(), stop or Event()).run()


class _Run:
    def __init__(self, plan: SyncPlan, config: Config, dry_run: bool, progress: Progress, stop: Event) -> None:
        self._plan, self._config, self._dry_run = plan, config, dry_run
        self._progress, self._stop = progress, stop
        self._results: dict[str, TargetResult] = {}
        self._read_bytes = 0

    def run(self) -> SyncResult:
        plan, began, wall = self._plan, time.monotonic(), time.time()
        with ExitStack() as stack:
            source, engine = connect(plan.source, self._config)
            stack.enter_context(source)
            targets = {address: connect_target(address, self._config, stack) for address in plan.targets}
            up = {address: target for address, target in targets.items() if isinstance(target, Storage)}
            for address, error in targets.items():
                if isinstance(error, HoistError):
                    self._unseen(address, error)
            state = self._see(source, engine, up)
        return SyncResult(
            plan=plan.name,
            source=source.address,
            targets=[self._results[address] for address in plan.targets],
            versions=len(state.versions),
            read_bytes=self._read_bytes,
            began=wall,
            seconds=time.monotonic() - began,
            dry_run=self._dry_run,
        )

    def _see(self, source: Storage, engine: Engine, targets: Mapping[str, Storage]) -> StorageState:
        """Look at all at once; bring into step those that answer in time, then the others."""
        pool = ThreadPoolExecutor(len(targets) + 1, "hoist-observe")
        try:
            looking = {pool.submit(self._look, address, target): address for address, target in targets.items()}
            state = pool.submit(observe, source, self._plan).result()
            if state.error is not None:
                raise state.error
            done, late = wait(looking, _PATIENCE_SECONDS)
            for some in (done, late):
                self._group(source, engine, state, {looking[each]: (targets[looking[each]], each) for each in some})
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return state

    def _look(self, address: str, target: Storage) -> StorageState:
        try:
            check_target(self._plan, self._config, address)
        except HoistError as error:
            return StorageState(target.address, error=error)
        return observe(target, self._plan)

    def _group(
        self,
        source: Storage,
        engine: Engine,
        state: StorageState,
        group: Mapping[str, tuple[Storage, Future[StorageState]]],
    ) -> None:
        """Bring some targets into step together."""
        states = [seeing.result() for _, seeing in group.values()]
        doubts = {version for seen in states if seen.error is None for version in self._doubts(state, seen)}
        # Once, whatever the number of targets that cannot be compared without it.
        state = settle(source, state, doubts)

        def look(address: str) -> Difference | None:
            storage, seeing = group[address]
            seen = seeing.result()
            try:
                if seen.error is not None:
                    raise seen.error
                return compare(self._plan, source, state, storage, seen)
            except HoistError as error:
                self._unseen(address, error)
                return None

        differences = dict(zip(group, for_each(look, group, max(1, len(group)), self._stop), strict=True))
        found = {address: each for address, each in differences.items() if each is not None}
        lacking = {version for each in found.values() for version in each.bring}
        versions = sorted(lacking, key=lambda each: age(state, each))
        sizes = measure(source, versions)
        if self._dry_run:
            for address, each in found.items():
                lag = lag_of(each.bring, len(each.retag) + len(each.untag), sizes, state)
                self._results[address] = TargetResult(group[address][0].address, each, dry_run=True, lag=lag)
            return
        targets = {address: Target(source, group[address][0], each) for address, each in found.items()}
        self._apply(source, engine, list(targets.values()), versions, sizes)
        for address, target in targets.items():
            self._results[address] = replace(target.result(), lag=lag_of(target.lacks, target.tags_left, sizes, state))

    def _doubts(self, source: StorageState, target: StorageState) -> Sequence[Version]:
        return difference(self._plan, source, target).doubts

    def _apply(
        self,
        source: Storage,
        engine: Engine,
        targets: Sequence[Target],
        versions: Sequence[Version],
        sizes: Mapping[Version, int],
    ) -> None:
        at_once = max(1, len(targets))
        for_each(Target.sign, targets, at_once, self._stop)
        for_each(Target.move_tags, targets, at_once, self._stop)
        if versions:
            bringer = Bringer(source, engine, Options.of(self._config.engine), self._stop)
            total = sum(
                sizes.get(version, 0) * sum(target.wants(version) for target in targets) for version in versions
            )
            count = f"{len(versions)} version" + "s" * (len(versions) != 1)
            self._progress.begin(f"bringing {count} to {', '.join(each.storage.address for each in targets)}", total)
            try:
                bringer.bring(versions, sizes, targets, _Share(self._progress))
            finally:
                self._read_bytes += bringer.read_bytes
                self._progress.end()
        if not self._stop.is_set():
            for_each(Target.end, targets, at_once, self._stop)

    def _unseen(self, address: str, error: HoistError) -> None:
        self._results[address] = TargetResult(address, problems=(Problem("", error),), dry_run=self._dry_run)


class _Share(Progress):
    """The progress of one copy as a part of the whole."""

    def __init__(self, whole: Progress) -> None:
        self._whole = whole

    def advance(self, count: int) -> None:
        self._whole.advance(count)


def lag_of(versions: Sequence[Version], tags: int, sizes: Mapping[Version, int], source: StorageState) -> Lag:
    """How far behind a target is that lacks these versions and so many moves of tags."""
    known = [source.versions[version].published for version in versions if source.versions[version].published]
    age_seconds = max(0.0, time.time() - min(known)) if known else 0.0
    return Lag(len(versions), sum(sizes.get(version, 0) for version in versions), tags, age_seconds)
