"""Bringing blocks through the cache: each from where it is nearest, once for all processes, to the cache and a sink.

A block that is here is read from the page cache; one that another cached file holds is copied from it; the rest comes
from the storage. Who brings a block claims it; who finds it claimed leaves it out, goes on with the others, and comes back
for it: when it is here, or when its claim was let go without it, whatever became of the holder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from threading import Event, Lock

from hoist.errors import Cancelled, LocalError
from hoist.model.blocks import FileBlocks
from hoist.read.cache.file import LOCAL_TRAITS, CachedFile
from hoist.read.cache.keep import Discard, Keep
from hoist.read.cache.neighbours import LEAST_BYTES
from hoist.read.engine import Engine, Job
from hoist.read.plan import Plan, Request, plan_ranges
from hoist.read.sink import Sink
from hoist.read.source import Source
from hoist.storage.base import OnBytes

# How long a wait for another process's block sleeps: it can only look.
_LOOK_SECONDS = 0.004


@dataclass(frozen=True, slots=True)
class Filled:
    """Where the bytes came from: the storage, another cached file, this one (before; hashed again), other processes or
    threads meanwhile. `left_out_bytes` found no room in the cache, and were not asked for by a sink."""

    fetched_bytes: int = 0
    copied_bytes: int = 0
    here_bytes: int = 0
    rechecked_bytes: int = 0
    waited_bytes: int = 0
    left_out_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Want:
    """What a plan wants of a source; without `sink`, only the cache wants it."""

    source: Source
    plan: Plan
    sink: Sink | None = None


def fill(
    cached: CachedFile,
    source: Source,
    engine: Engine,
    ranges: Iterable[tuple[int, int]],
    *,
    sink: Sink | None = None,
    on_bytes: OnBytes | None = None,
    stop: Event | None = None,
) -> Filled:
    """What `CachedFile.fill` does; with `sink` that gets the bytes too, also those that find no room in the cache."""
    plan = plan_ranges(cached.blocks, ranges, source.traits.request_bytes, in_place=True)
    filling = Filling(Want(source, plan, sink), cached)
    try:
        return _bring([filling], engine, on_bytes, stop or Event())
    finally:
        filling.close()


def fill_all(
    wants: Sequence[tuple[Want, CachedFile]],
    engine: Engine,
    on_bytes: OnBytes | None = None,
    stop: Event | None = None,
) -> list[CachedFile]:
    """Fill several files at once; those of which something was left out. Raises what `deliver` does."""
    with ExitStack() as stack:
        fillings = [stack.enter_context(Filling(want, cached)) for want, cached in wants]
        _bring(fillings, engine, on_bytes, stop or Event())
        return [cached for (_, cached), each in zip(wants, fillings, strict=True) if each.filled().left_out_bytes]


def deliver(
    wants: Sequence[Want], engine: Engine, *, on_bytes: OnBytes | None = None, stop: Event | None = None
) -> Filled:
    """Bring what is wanted to the sinks, through the cache of each source that has one and past it for the others.

    A cache that cannot be used costs a warning. Raises DamagedBlock, Cancelled, and what a storage may.
    """
    with ExitStack() as stack:
        fillings = []
        for want in wants:
            cache = want.source.cache
            cached = cache.try_file(want.source.blocks, want.source.seen_as) if cache else None
            if cached:
                stack.enter_context(cached)
            fillings.append(stack.enter_context(Filling(want, cached)))
        return _bring(fillings, engine, on_bytes, stop or Event())


def _bring(fillings: list[Filling], engine: Engine, on_bytes: OnBytes | None, stop: Event) -> Filled:
    while True:
        local = [job for filling in fillings for job in filling.local_jobs(on_bytes)]
        engine.run(local, on_bytes=on_bytes, on_damage=_spoiled, stop=stop)
        engine.run([job for filling in fillings for job in filling.storage_jobs()], on_bytes=on_bytes, stop=stop)
        waiting = [filling for filling in fillings if filling.pending]
        if not waiting:
            return _sum(filling.filled() for filling in fillings)
        while not any(filling.may_go_on() for filling in waiting):
            waiting[0].wait(_LOOK_SECONDS)
            if stop.is_set():
                raise Cancelled("the read was cancelled")


class Filling:
    """One want under way. `pending` are the blocks that it has not got yet."""

    def __init__(self, want: Want, cached: CachedFile | None) -> None:
        self.want = want
        self.cached = cached
        self.blocks = want.source.blocks
        self.pending = {index for request in want.plan.requests for index in range(request.first, request.last)}
        self._bad: set[int] = set()
        self._skipped: set[int] = set()
        self._lock = Lock()
        self._counts = dict.fromkeys(Filled.__slots__, 0)
        self._neighbours: dict[str, CachedFile | None] = {}
        self._sink = want.sink or Discard()

    def local_jobs(self, on_bytes: OnBytes | None) -> Iterator[Job]:
        """What can be had on this host: blocks that are here, suspects to hash again, other files' blocks to copy."""
        cached = self.cached
        if cached is None:
            return
        for run in self._runs(cached.has):
            if self.want.sink is None:
                self._done(run, self._how_here(run))
                if on_bytes:
                    on_bytes(run.size)
            else:
                plain = replace(self.blocks, digests=b"")
                yield Job(_local(self, plain, cached.read_into, own=True), run, Keep(self, self._sink, "here"))
        for run in self._runs(lambda index: cached.is_suspect(index) and index not in self._bad, single=True):
            sink = Keep(self, self._sink, "rechecked", claims=True)
            yield Job(_local(self, self.blocks, cached.read_into, own=True), run, sink)
        yield from self._copies(cached)

    def storage_jobs(self) -> Iterator[Job]:
        """What has to come from the storage: to the cache where there is room, past it where there is none."""
        cached = self.cached
        if cached is None:
            yield from self._past(lambda _: True)
            return
        cached.host.reserve(cached, [index for index in sorted(self.pending) if not cached.has(index)])

        def mine(index: int) -> bool:
            # Of a request that was left out, what somebody else still brings is waited for, and the rest is not.
            free = index not in self._skipped or cached.claims.is_free(index)
            return not cached.has(index) and self._keeps(index) and free

        for run in self._runs(mine):
            yield Job(self.want.source, run, Keep(self, self._sink, "fetched", claims=True, writes=True))
        yield from self._past(lambda index: not cached.has(index) and not self._keeps(index))

    def may_go_on(self) -> bool:
        """Whether a block that is pending is here now, or free to be brought."""
        cached = self.cached
        return cached is None or any(cached.has(index) or cached.claims.is_free(index) for index in self.pending)

    def wait(self, seconds: float) -> None:
        """Wait for a claim of this process to be let go, or that long."""
        if self.cached:
            with self.cached.claims.changed:
                self.cached.claims.changed.wait(seconds)

    def skipped(self, request: Request) -> None:
        """Somebody else brings some of these blocks."""
        with self._lock:
            self._skipped.update(range(request.first, request.last))

    def done(self, request: Request, how: str) -> None:
        """These blocks are where they are wanted."""
        self._done(request, self._how_here(request) if how == "here" else how)

    def spoiled(self, begin: int, end: int, *, own: bool) -> None:
        """The bytes on this host (in this file, or in another) are not those of the block: the storage has to bring it."""
        with self._lock:
            for index in self.blocks.covering(begin, end):
                self._bad.add(index)
                if self.cached and own:
                    self.cached.unmark(index)

    def filled(self) -> Filled:
        """Where the bytes came from."""
        return Filled(**self._counts)

    def close(self) -> None:
        """Let the other files go."""
        for other in self._neighbours.values():
            if other:
                other.close()

    def _keeps(self, index: int) -> bool:
        return bool(self.cached and self.cached.usable and index in self.cached.reserved)

    def _how_here(self, request: Request) -> str:
        return "waited" if request.first in self._skipped else "here"

    def _done(self, request: Request, how: str) -> None:
        with self._lock:
            self.pending.difference_update(range(request.first, request.last))
            self._counts[f"{how}_bytes"] += request.size

    def _runs(self, chosen: Callable[[int], bool], *, single: bool = False) -> Iterator[Request]:
        """The pending blocks that are chosen, as requests within those of the plan, or as one for each block."""
        for request in self.want.plan.requests:
            first = None
            for index in range(request.first, request.last + 1):
                wanted = index < request.last and index in self.pending and chosen(index)
                if first is not None and (not wanted or single):
                    yield self._part(request, first, index)
                    first = None
                if wanted and first is None:
                    first = index

    def _part(self, request: Request, first: int, last: int) -> Request:
        begin, end = self.blocks.starts[first], self.blocks.starts[last]
        return Request(begin, end, first, last, request.at + begin - request.begin)

    def _past(self, chosen: Callable[[int], bool]) -> Iterator[Job]:
        """Blocks that the cache has no room for, if anybody else wants them."""
        for run in self._runs(chosen):
            if self.want.sink is None:
                self._done(run, "left_out")
            else:
                yield Job(self.want.source, run, Keep(self, self._sink, "fetched"))

    def _copies(self, cached: CachedFile) -> Iterator[Job]:
        if cached.size < LEAST_BYTES:
            return
        wanted = [i for i in sorted(self.pending) if not cached.has(i) and i not in self._bad]
        found = cached.host.neighbours.of([self.blocks.digest(index) for index in wanted]) if wanted else {}
        near = {index: self._neighbour(found.get(self.blocks.digest(index), ()), cached.name) for index in wanted}
        cached.host.reserve(cached, [index for index in wanted if near[index]])
        for run in self._runs(lambda index: near.get(index) is not None and self._keeps(index), single=True):
            place = near[run.first]
            assert place
            other, at = place
            read_into = _shifted(other.read_into, other.blocks.starts[at] - run.begin)
            sink = Keep(self, self._sink, "copied", claims=True, writes=True)
            yield Job(_local(self, self.blocks, read_into, own=False), run, sink)

    def _neighbour(self, places: Iterable[tuple[str, int]], own: str) -> tuple[CachedFile, int] | None:
        for name, at in places:
            if name == own or not self.cached:
                continue
            if name not in self._neighbours:
                try:
                    self._neighbours[name] = self.cached.host.existing(name)
                except (OSError, LocalError):
                    self._neighbours[name] = None
            other = self._neighbours[name]
            if other and (other.has(at) or other.is_suspect(at)):
                return other, at
        return None

    def __enter__(self) -> Filling:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Local(Source):
    """A source on this host: the file itself (`own`) or another; its damage is its filling's affair."""

    filling: Filling | None = field(default=None, kw_only=True)
    own: bool = field(default=True, kw_only=True)


def _local(filling: Filling, blocks: FileBlocks, read_into: Callable[[int, memoryview], None], *, own: bool) -> Source:
    assert filling.cached
    where = str(filling.cached.host.folder)
    return _Local(filling.want.source.name, where, blocks, read_into, LOCAL_TRAITS, filling=filling, own=own)


def _spoiled(source: Source, begin: int, end: int) -> None:
    assert isinstance(source, _Local)
    assert source.filling
    source.filling.spoiled(begin, end, own=source.own)


def _shifted(read_into: Callable[[int, memoryview], None], shift: int) -> Callable[[int, memoryview], None]:
    return lambda offset, buffer: read_into(offset + shift, buffer)


def _sum(parts: Iterable[Filled]) -> Filled:
    total = dict.fromkeys(Filled.__slots__, 0)
    for part in parts:
        for name in total:
            total[name] += getattr(part, name)
    return Filled(**total)
