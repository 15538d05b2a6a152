"""The reading engine: fetches planned requests with a bounded number of threads, and verifies what it fetched.

Each thread takes the next request, has the source fill the sink's memory, and hashes each block while its bytes are
still in that core's cache. A passing error is tried again within a time limit; a damaged block is fetched again alone.
How many requests run at once is the governor's to say: what serves the storage best, within the memory limit, shared
fairly with the other loads of this process.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from threading import Event, Lock, Thread

from hoist.afresh import afresh
from hoist.config import EngineConfig
from hoist.errors import Cancelled, Damaged, DamagedBlock, StorageUnavailable
from hoist.model.blocks import block_digest
from hoist.pace import Pace, pace_of
from hoist.read.governor import Governor, Share, governor_of
from hoist.read.plan import Request, split
from hoist.read.sink import Sink
from hoist.read.source import Source
from hoist.retry import retrying
from hoist.storage.base import OnBytes

# A block that was damaged on the way is right the next time; one that is damaged at rest never is.
_DAMAGED_TRIES = 3
# How long a stopped engine waits for requests in flight, in seconds, before it leaves them to end by themselves.
_STOP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Job:
    """One request of one source, and the sink that its bytes go to; `whole`: it is not to be cut into smaller ones."""

    source: Source
    request: Request
    sink: Sink
    whole: bool = False


OnDamage = Callable[[Source, int, int], None]
"""Told of a damaged byte range, from any thread."""


class Engine:
    """Reads jobs. One engine may be used from several threads, each with its own call of `run`."""

    def __init__(self, config: EngineConfig | None = None) -> None:
        self.config = config or EngineConfig()

    def run(
        self,
        jobs: Iterable[Job],
        *,
        on_bytes: OnBytes | None = None,
        on_damage: OnDamage | None = None,
        stop: Event | None = None,
    ) -> None:
        """Carry out all jobs. Setting `stop`, or Ctrl-C, ends it early; where it is set before, no job is carried out.

        With `on_damage`, a damaged range is told to it and not committed, and reading goes on.

        Raises the first error of any job, after the others have stopped: DamagedBlock, StorageUnavailable (after the
        configured time of retrying), FileNotFound, PermissionDenied, Cancelled.
        """
        planned = list(jobs)
        if not planned:
            return
        with ExitStack() as stack:
            turns = {place: stack.enter_context(self._turns(place, those)) for place, those in _by_place(planned)}
            most = sum(turn.most for turn in turns.values())
            level = sum(turn.governor.climb.level for turn in turns.values())
            run = _Run(_tapered(planned, level), turns, on_bytes, on_damage, stop or Event(), self.config)
            run.work(max(1, min(most, len(planned))))

    @contextmanager
    def _turns(self, place: str, jobs: list[Job]) -> Iterator[_Turns]:
        """This load's share of the requests at one storage."""
        traits = jobs[0].source.traits
        largest = max(1, *(job.request.size for job in jobs))
        governor = governor_of(place, traits, self.config)
        with governor.share() as share:
            yield _Turns(governor, share, max(1, min(governor.climb.most, self.config.memory_bytes // largest)))


@dataclass(frozen=True, slots=True)
class _Turns:
    governor: Governor
    share: Share
    most: int


class _Run:
    """One call of the engine: the queue, the threads, the first error."""

    def __init__(
        self,
        jobs: list[Job],
        turns: Mapping[str, _Turns],
        on_bytes: OnBytes | None,
        on_damage: OnDamage | None,
        stop: Event,
        config: EngineConfig,
    ) -> None:
        self._jobs: Iterator[Job] = iter(jobs)
        self._turns = turns
        self._on_bytes = on_bytes
        self._on_damage = on_damage
        self._outer = stop
        self._stop = Event()
        self._retry_seconds = config.retry_seconds
        self._pace: Pace | None = pace_of(config.max_bandwidth) if config.max_bandwidth else None
        self._lock = Lock()
        self._error: BaseException | None = None

    def work(self, threads: int) -> None:
        workers = [Thread(target=self._worker, name=f"hoist-read-{n}", daemon=True) for n in range(threads)]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                while worker.is_alive():
                    worker.join(0.05)
                    if self._outer.is_set() and not self._stop.is_set():
                        self._fail(Cancelled("the read was cancelled"))
        finally:
            self._stop.set()
            until = time.monotonic() + _STOP_SECONDS
            for worker in workers:
                worker.join(max(0.0, until - time.monotonic()))
        if self._error is not None:
            raise self._error

    def _worker(self) -> None:
        try:
            while not self._stop.is_set():
                # Asked here too: a short load is over before the caller's thread looks again.
                if self._outer.is_set():
                    raise Cancelled("the read was cancelled")
                with self._lock:
                    job = next(self._jobs, None)
                if job is None:
                    return
                self._take_turn(job)
        except BaseException as error:  # noqa: BLE001 it is raised again in the caller's thread
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self._error is None:
                self._error = error
        self._stop.set()

    def _take_turn(self, job: Job) -> None:
        turns = self._turns[job.source.where]
        done = False
        if not turns.governor.enter(turns.share, job.request.size, self._stop):
            return
        try:
            self._carry_out(job)
            done = True
        finally:
            turns.governor.leave(turns.share, job.request.size, done=done)

    def _carry_out(self, job: Job) -> None:
        view = job.sink.acquire(job.request)
        if view is None:
            return
        try:
            whole = self._fetch_verified(job, view)
            if self._stop.is_set():
                raise Cancelled("the read was cancelled")
        except BaseException:
            job.sink.release(view)
            raise
        if not whole:
            job.sink.release(view)
            return
        job.sink.commit(job.request, view)
        if self._on_bytes:
            self._on_bytes(job.request.size)

    def _fetch_verified(self, job: Job, view: memoryview) -> bool:
        """Fill `view` with verified bytes; False if a damaged range was reported instead."""
        source, request = job.source, job.request
        try:
            self._fetch(source, request.begin, view)
            suspects = [index for index in range(request.first, request.last) if not _is_right(job, view, index)]
        except Damaged:
            suspects = list(range(request.first, request.last))
        damaged = [index for index in suspects if not self._fetch_again(job, view, index)]
        for index in damaged:
            begin, end = source.blocks.span(index)
            if self._on_damage is None:
                raise DamagedBlock(
                    f"{source.name} in {source.where} is damaged at bytes {begin} to {end}: they do not have the "
                    "digest of the version's manifest; publish the version again, or read it from another storage"
                )
            self._on_damage(source, begin, end)
        return not damaged

    def _fetch_again(self, job: Job, view: memoryview, index: int) -> bool:
        begin, end = job.source.blocks.span(index)
        part = view[begin - job.request.begin : end - job.request.begin]
        for attempt in range(1, _DAMAGED_TRIES + 1):
            try:
                with afresh(attempt):
                    self._fetch(job.source, begin, part)
            except Damaged:
                continue
            if _is_right(job, view, index):
                return True
        return False

    def _fetch(self, source: Source, offset: int, view: memoryview) -> None:
        """Fill `view`, trying again what the storage calls passing, for as long as the configuration says."""
        governor = self._turns[source.where].governor

        def fill() -> None:
            if self._pace:
                self._pace.take(len(view), self._stop)
            if self._stop.is_set():
                raise Cancelled("the read was cancelled")
            try:
                source.read_into(offset, view)
            except StorageUnavailable as error:
                governor.refused(error.retry_after)
                raise
            governor.heard(source.throttled())

        retrying(fill, self._retry_seconds, self._stop)


def _by_place(jobs: list[Job]) -> Iterable[tuple[str, list[Job]]]:
    found: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        found[job.source.where].append(job)
    return found.items()


def _tapered(jobs: list[Job], level: int) -> list[Job]:
    """The same work with the last requests cut to a block each, so that all threads end at about the same time."""
    few = max(0, len(jobs) - level)
    last = [replace(job, request=part) for job in jobs[few:] for part in _parts(job)]
    return [*jobs[:few], *last]


def _parts(job: Job) -> Iterable[Request]:
    return (job.request,) if job.whole else split(job.request, job.source.blocks)


def _is_right(job: Job, view: memoryview, index: int) -> bool:
    blocks = job.source.blocks
    if not blocks.digests:
        return True
    begin, end = blocks.span(index)
    return block_digest(view[begin - job.request.begin : end - job.request.begin]) == blocks.digest(index)
