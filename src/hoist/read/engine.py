"""The reading engine: fetches planned requests with a bounded number of threads, and verifies what it fetched.

Each thread takes the next request, has the source fill the sink's memory, and hashes each block while its bytes are
still in that core's cache. A passing error is tried again within a time limit; a damaged block is fetched again alone.
Memory in flight is at most one request a thread.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Event, Lock, Thread

from hoist.config import EngineConfig
from hoist.errors import Cancelled, Damaged, DamagedBlock, HoistError, StorageUnavailable
from hoist.model.blocks import block_digest
from hoist.read.plan import Request
from hoist.read.sink import Sink
from hoist.read.source import Source
from hoist.storage.base import OnBytes

_FIRST_WAIT = 0.1
_LONGEST_WAIT = 5.0
# A block that was damaged on the way is right the next time; one that is damaged at rest never is.
_DAMAGED_TRIES = 3
# How long a stopped engine waits for requests in flight, in seconds, before it leaves them to end by themselves.
_STOP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Job:
    """One request of one source, and the sink that its bytes go to."""

    source: Source
    request: Request
    sink: Sink


OnDamage = Callable[[Source, int, int], None]
"""Told of a damaged byte range, from any thread."""


class Engine:
    """Reads jobs. One engine may be used from several threads, each with its own call of `run`."""

    def __init__(self, config: EngineConfig | None = None) -> None:
        self.config = config or EngineConfig()

    def connections(self, jobs: list[Job]) -> int:
        """How many threads serve these jobs: what the storage likes, within the memory limit."""
        if not jobs:
            return 0
        largest = max(job.request.size for job in jobs)
        wanted = self.config.connections or max(job.source.traits.connections for job in jobs)
        return max(1, min(wanted, len(jobs), self.config.memory_bytes // max(1, largest)))

    def run(
        self,
        jobs: Iterable[Job],
        *,
        on_bytes: OnBytes | None = None,
        on_damage: OnDamage | None = None,
        stop: Event | None = None,
    ) -> None:
        """Carry out all jobs. Setting `stop`, or Ctrl-C, ends it early.

        With `on_damage`, a damaged range is told to it and not committed, and reading goes on.

        Raises the first error of any job, after the others have stopped: DamagedBlock, StorageUnavailable (after the
        configured time of retrying), FileNotFound, PermissionDenied, Cancelled.
        """
        planned = list(jobs)
        run = _Run(planned, on_bytes, on_damage, stop or Event(), self.config.retry_seconds)
        run.work(self.connections(planned))


class _Run:
    """One call of the engine: the queue, the threads, the first error."""

    def __init__(
        self,
        jobs: list[Job],
        on_bytes: OnBytes | None,
        on_damage: OnDamage | None,
        stop: Event,
        retry_seconds: float,
    ) -> None:
        self._jobs: Iterator[Job] = iter(jobs)
        self._on_bytes = on_bytes
        self._on_damage = on_damage
        self._outer = stop
        self._stop = Event()
        self._retry_seconds = retry_seconds
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
                with self._lock:
                    job = next(self._jobs, None)
                if job is None:
                    return
                self._carry_out(job)
        except BaseException as error:  # noqa: BLE001 it is raised again in the caller's thread
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self._error is None:
                self._error = error
        self._stop.set()

    def _carry_out(self, job: Job) -> None:
        view = job.sink.acquire(job.request)
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
        for _ in range(_DAMAGED_TRIES):
            try:
                self._fetch(job.source, begin, part)
            except Damaged:
                continue
            if _is_right(job, view, index):
                return True
        return False

    def _fetch(self, source: Source, offset: int, view: memoryview) -> None:
        """Fill `view`, trying again what the storage calls passing, for as long as the configuration says."""
        wait = _FIRST_WAIT
        until = None
        while True:
            try:
                source.read_into(offset, view)
                return
            except StorageUnavailable as error:
                now = time.monotonic()
                until = until if until is not None else now + self._retry_seconds
                if now + wait > until or self._stop.is_set():
                    raise self._gave_up(error) from None
            self._stop.wait(wait * random.uniform(0.5, 1.0))  # noqa: S311 spreads retries, keeps no secret
            wait = min(2 * wait, _LONGEST_WAIT)

    def _gave_up(self, error: HoistError) -> StorageUnavailable:
        return StorageUnavailable(f"{error} (tried for {self._retry_seconds:g} s)")


def _is_right(job: Job, view: memoryview, index: int) -> bool:
    blocks = job.source.blocks
    if not blocks.digests:
        return True
    begin, end = blocks.span(index)
    return block_digest(view[begin - job.request.begin : end - job.request.begin]) == blocks.digest(index)
