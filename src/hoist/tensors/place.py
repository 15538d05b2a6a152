"""Where a file's wanted bytes go on a device: a mapping of the file itself, one buffer, or staged copies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from hoist.read.direct import direct_source
from hoist.read.engine import Engine, Job
from hoist.read.mapped import MappedFile, map_file
from hoist.read.plan import Plan, plan_ranges
from hoist.read.sink import BufferSink, Sink
from hoist.read.source import Source
from hoist.read.trust import TrustedFiles
from hoist.storage.base import OnBytes
from hoist.tensors.device import Destination, Staging, make_destination

_NEARLY_WHOLE = 0.9
MakeDestination = Callable[[int, torch.device, Staging], Destination]
OnPhase = Callable[[str], None]
"""Told when a phase of a load begins: `transfer` (memory, copies to a device), `fetch`, `deserialize`."""


def no_phase(name: str) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class Loading:
    """How to load: the engine, the device, the dtype to cast floating tensors to, and who is told of what."""

    engine: Engine
    device: torch.device
    dtype: torch.dtype | None = None
    on_bytes: OnBytes | None = None
    on_phase: OnPhase = no_phase
    make: MakeDestination = make_destination

    def fetch(self, wanted: Iterable[tuple[Source, list[tuple[int, int]]]], peek: Peek | None = None) -> list[Placed]:
        """Fetch ranges of several files, all at once; `peek` stands before the sinks, if somebody wants to look.

        Raises DamagedBlock, LocalError, and what a storage may.
        """
        self.on_phase("transfer")
        staging = Staging()
        placed: list[Placed] = []
        try:
            for source, ranges in wanted:
                placed.append(self._place(source, ranges, staging))
            self.on_phase("fetch")
            self.engine.run([job for each in placed for job in self._jobs(each, peek)], on_bytes=self.on_bytes)
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
        return self._place(source, [(0, source.size)], Staging())

    def _jobs(self, placed: Placed, peek: Peek | None) -> list[Job]:
        """What the engine has to do for one file: nothing if all its pages are here, and verified before."""
        sink = peek(placed.destination.sink) if peek else placed.destination.sink
        if not (placed.mapped and placed.mapped.ready):
            return [Job(placed.source, request, sink) for request in placed.plan.requests]
        for request in placed.plan.requests:
            sink.commit(request, sink.acquire(request))
        if self.on_bytes:
            self.on_bytes(placed.plan.bytes_read)
        return []

    def _place(self, source: Source, ranges: list[tuple[int, int]], staging: Staging) -> Placed:
        chosen = direct_source(source) if self.engine.config.direct else source
        mapped = self._map(source) if chosen is source else None
        if mapped and sum(end - begin for begin, end in ranges) >= _NEARLY_WHOLE * source.size:
            # The rest is the header, read already: with it the whole file is verified, and can be remembered as such.
            ranges = [(0, source.size)]
        plan = plan_ranges(source.blocks, ranges, source.traits.request_bytes, in_place=mapped is not None)
        if mapped:
            return Placed(mapped.source, plan, MappedDestination(mapped), mapped)
        staging.need(plan.largest)
        return Placed(chosen, plan, self.make(plan.size, self.device, staging), None)

    def _map(self, source: Source) -> MappedFile | None:
        """A cast copies anyway, and another device needs pinned memory: only a plain load to the CPU maps."""
        if self.device.type != "cpu" or self.dtype is not None or self.make is not make_destination:
            return None
        path = source.local_path()
        trusted = TrustedFiles(self.engine.config.trusted) if self.engine.config.trusted else None
        return map_file(source, path, trusted) if path else None


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
