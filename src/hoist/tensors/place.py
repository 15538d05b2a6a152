"""Where a file's wanted bytes go on a device: a mapping of the file itself, one buffer, or staged copies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from threading import Event

import torch

from hoist.read.cache.file import CachedFile
from hoist.read.cache.fill import Want, deliver, fill_all
from hoist.read.direct import direct_source
from hoist.read.engine import Engine
from hoist.read.mapped import MappedFile, map_cached, map_file
from hoist.read.plan import Plan, plan_ranges
from hoist.read.sink import BufferSink, Sink
from hoist.read.source import Source
from hoist.read.trust import TrustedFiles
from hoist.storage.base import OnBytes
from hoist.tensors.device import Destination, Staging, make_destination

_NEARLY_WHOLE = 0.9
# Where parts are in memory already, hardly any of them is worth reading again.
_SURELY_WHOLE = 0.98
MakeDestination = Callable[[int, torch.device, Staging], Destination]
Scatter = Callable[[Source, list[tuple[int, int]]], tuple[Plan, Destination]]
"""How the ranges of a file are asked for that is not mapped, and the memory of each, where one for all will not do."""
OnPhase = Callable[[str], None]
"""Told when a phase of a load begins: `transfer` (memory, copies to a device), `fetch`, `deserialize`."""


def no_phase(name: str) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class Loading:
    """How to load: the engine, the device, the dtype to cast floating tensors to, who is told of what, and what ends it."""

    engine: Engine
    device: torch.device
    dtype: torch.dtype | None = None
    on_bytes: OnBytes | None = None
    on_phase: OnPhase = no_phase
    make: MakeDestination = make_destination
    scatter: Scatter | None = None
    stop: Event | None = None

    def fetch(self, wanted: Iterable[tuple[Source, list[tuple[int, int]]]], peek: Peek | None = None) -> list[Placed]:
        """Fetch ranges of several files, all at once; `peek` stands before the sinks, if somebody wants to look.

        Raises DamagedBlock, LocalError, Cancelled once `stop` is set, and what a storage may.
        """
        wanted = list(wanted)
        with ExitStack() as stack:
            if self._maps:
                self.on_phase("fetch")
                cached = self._fill(wanted, stack)
            else:
                cached = [None] * len(wanted)
            return self._fetch_placed(wanted, cached, peek)

    def _fetch_placed(
        self,
        wanted: list[tuple[Source, list[tuple[int, int]]]],
        cached: list[CachedFile | None],
        peek: Peek | None,
    ) -> list[Placed]:
        self.on_phase("transfer")
        staging = Staging()
        placed: list[Placed] = []
        try:
            for (source, ranges), file in zip(wanted, cached, strict=True):
                # Who keeps others waiting for a file waits for none.
                turn = not any(each.mapped and each.mapped.has_turn for each in placed)
                placed.append(self._place(source, ranges, staging, file, turn))
            self.on_phase("fetch")
            # Of what is mapped in the cache, its filling has told already.
            for through_cache, teller in ((False, self), (True, replace(self, on_bytes=None))):
                those = [each for each, file in zip(placed, cached, strict=True) if bool(file) is through_cache]
                wants = [want for each in those for want in teller._wants(each, peek)]
                deliver(wants, self.engine, on_bytes=teller.on_bytes, stop=self.stop)
            self.on_phase("transfer")
            for each in placed:
                each.finish()
        finally:
            for each in placed:
                each.close()
        self.on_phase("deserialize")
        return placed

    def place_whole(self, source: Source) -> Placed:
        """Memory for a whole file laid out as the file is, to be filled bit by bit. The caller closes it."""
        cached = source.cache.try_file(source.blocks, source.seen_as) if source.cache and self._maps else None
        with cached or nullcontext():
            # Of an incomplete file nothing is mapped: what comes later would not reach a page that was written to.
            return self._place(source, [(0, source.size)], Staging(), cached if cached and cached.complete else None)

    def _fill(self, wanted: list[tuple[Source, list[tuple[int, int]]]], stack: ExitStack) -> list[CachedFile | None]:
        """Bring what is wanted into the host cache, all at once; the files that can be mapped there now."""
        found: list[CachedFile | None] = []
        wants: list[tuple[Want, CachedFile]] = []
        for source, ranges in wanted:
            cached = source.cache.try_file(source.blocks, source.seen_as) if source.cache and source.size else None
            found.append(cached)
            if cached:
                stack.enter_context(cached)
                plan = plan_ranges(
                    source.blocks, self._rounded(source, ranges), source.traits.request_bytes, in_place=True
                )
                wants.append((Want(source, plan), cached))
        left_out = fill_all(wants, self.engine, self.on_bytes, self.stop)
        return [None if each in left_out else each for each in found]

    def _wants(self, placed: Placed, peek: Peek | None) -> list[Want]:
        """What the engine has to do for one file: nothing if all its pages are here, and verified before."""
        sink = peek(placed.destination.sink) if peek else placed.destination.sink
        if not (placed.mapped and placed.mapped.ready):
            return [Want(placed.source, placed.plan, sink)]
        for request in placed.plan.requests:
            view = sink.acquire(request)
            assert view is not None
            sink.commit(request, view)
        if self.on_bytes:
            self.on_bytes(placed.plan.bytes_read)
        return []

    @property
    def _maps(self) -> bool:
        """A cast copies anyway, and another device needs pinned memory: only a plain load to the CPU maps."""
        return self.device.type == "cpu" and self.dtype is None and self.make is make_destination

    def _place(
        self,
        source: Source,
        ranges: list[tuple[int, int]],
        staging: Staging,
        cached: CachedFile | None,
        turn: bool | None = None,
    ) -> Placed:
        chosen = direct_source(source) if self.engine.config.direct else source
        mapped = map_cached(source, cached) if cached else self._map(source, turn) if chosen is source else None
        if mapped:
            ranges = self._rounded(source, ranges)
        elif self.scatter:
            return Placed(chosen, *self.scatter(chosen, ranges), None)
        plan = plan_ranges(source.blocks, ranges, source.traits.request_bytes, in_place=mapped is not None)
        if mapped:
            return Placed(mapped.source, plan, MappedDestination(mapped), mapped)
        staging.need(plan.largest)
        return Placed(chosen, plan, self.make(plan.size, self.device, staging), None)

    def _map(self, source: Source, turn: bool | None) -> MappedFile | None:
        if not self._maps:
            return None
        path = source.local_path()
        trusted = TrustedFiles(self.engine.config.trusted) if self.engine.config.trusted else None
        return map_file(source, path, trusted, turn) if path else None

    def _rounded(self, source: Source, ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """The whole of a file of which nearly all is wanted: the rest is the header, read already, and with it the whole
        file is verified, and can be remembered as such."""
        nearly = _SURELY_WHOLE if self.scatter else _NEARLY_WHOLE
        whole = sum(end - begin for begin, end in ranges) >= nearly * source.size
        return [(0, source.size)] if whole else ranges


Peek = Callable[[Sink], Sink]


@dataclass(frozen=True)
class Placed:
    """One file's plan and the memory it fills."""

    source: Source
    plan: Plan
    destination: Destination
    mapped: MappedFile | None

    @property
    def flat(self) -> torch.Tensor:
        """The memory as bytes; `plan.locate` says what lies where."""
        return self.destination.flat

    def finish(self) -> None:
        """Wait for the bytes; remember a mapped file of which every block was read."""
        self.destination.finish()
        if self.mapped and self.plan.bytes_read == self.source.size:
            self.mapped.remember()

    def close(self) -> None:
        """Let the file go, if there is one."""
        if self.mapped:
            self.mapped.close()


class MappedDestination:
    """A mapped file: the engine's bytes are where they belong before it asks for them."""

    def __init__(self, mapped: MappedFile) -> None:
        self.flat = torch.frombuffer(mapped.memory, dtype=torch.uint8)
        self.sink: Sink = BufferSink(memoryview(mapped.memory))

    def finish(self) -> None:
        """Nothing is on its way."""
