"""Where a file's units land: an allocation each on the host, on the device, or both, so that each can go by itself."""

from __future__ import annotations

import ctypes
import weakref
from bisect import bisect_right
from collections.abc import Sequence
from threading import Lock

import torch

from hoist.errors import LocalError
from hoist.function.units import Unit
from hoist.memory import allocate
from hoist.read.plan import PAGE, Plan, Request, plan_ranges
from hoist.read.sink import Sink
from hoist.read.source import Source
from hoist.tensors.device import Staging


class Landing:
    """A destination of the engine for units of one file. `host` keeps what lands in host memory, else it is passed on.

    On CUDA host memory is pinned, and copies to the device overlap with what comes next.
    """

    def __init__(self, units: Sequence[Unit], copier: Copier, staging: Staging, *, host: bool, device: bool) -> None:
        self.flat = torch.empty(0, dtype=torch.uint8)
        self.host: dict[bytes, torch.Tensor] = {}
        self.device: dict[bytes, torch.Tensor] = {}
        self._units = sorted(units, key=lambda unit: unit.begin)
        self._copier, self._staging = copier, staging
        self._to_host, self._to_device = host, device
        self._staged: dict[int, torch.Tensor] = {}
        self._lock = Lock()

    @property
    def sink(self) -> Sink:
        """Itself; not kept, as a cycle would keep the memory until Python looks for those."""
        return self

    def plan(self, source: Source) -> Plan:
        """Requests of which none crosses from one unit into the next."""
        parts = [
            plan_ranges(source.blocks, [(unit.begin, unit.end)], source.traits.request_bytes, in_place=True)
            for unit in self._units
        ]
        requests = tuple(request for part in parts for request in part.requests)
        self._staging.need(max((request.size for request in requests), default=0))
        return Plan(requests, tuple(run for part in parts for run in part.runs), source.size)

    def acquire(self, request: Request) -> memoryview:
        if self._to_host:
            unit = self._unit(request)
            with self._lock:
                if unit.key not in self.host:
                    self.host[unit.key] = host_memory(unit, pinned=self._copier.cuda)
            memory = self.host[unit.key]
            return _view(memory, request.begin - unit.begin, request.size)
        slot = self._staging.take(pinned=self._copier.cuda)
        view = _view(slot, 0, request.size)
        self._staged[id(view)] = slot
        return view

    def commit(self, request: Request, view: memoryview) -> None:
        slot = self._staged.pop(id(view), None)
        copied = None
        if self._to_device:
            unit = self._unit(request)
            at = request.begin - unit.begin
            target = self._on_device(unit)[at : at + request.size]
            copied = self._copier.copy(target, slot[: request.size] if slot is not None else self._part(unit, request))
        if slot is not None:
            self._staging.give(slot, copied)

    def release(self, view: memoryview) -> None:
        slot = self._staged.pop(id(view), None)
        if slot is not None:
            self._staging.give(slot)

    def finish(self) -> None:
        self._copier.finish()

    def _on_device(self, unit: Unit) -> torch.Tensor:
        with self._lock:
            if unit.key not in self.device:
                self.device[unit.key] = self._copier.memory(unit)
            return self.device[unit.key]

    def _part(self, unit: Unit, request: Request) -> torch.Tensor:
        at = request.begin - unit.begin
        return self.host[unit.key][at : at + request.size]

    def _unit(self, request: Request) -> Unit:
        return self._units[bisect_right(self._units, request.begin, key=lambda unit: unit.begin) - 1]


class Copier:
    """Copies to a device: on CUDA in a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.cuda = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self.cuda else None  # type: ignore[no-untyped-call]

    def memory(self, unit: Unit) -> torch.Tensor:
        """Memory on the device for a unit. Raises LocalError."""
        pad = unit.begin % PAGE
        try:
            return torch.empty(pad + unit.size, dtype=torch.uint8, device=self.device)[pad:]
        except (torch.OutOfMemoryError, RuntimeError) as error:
            raise LocalError(f"no memory for {unit.size} bytes of weights on {self.device}: {error}") from None

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> torch.cuda.Event | None:
        """Copy; on CUDA what is told once it has happened."""
        if self._stream is None:
            target.copy_(source)
            return None
        with torch.cuda.stream(self._stream):
            # The memory may have been freed on another stream a moment ago.
            self._stream.wait_stream(torch.cuda.default_stream(self.device))
            target.copy_(source, non_blocking=True)
            target.record_stream(self._stream)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record(self._stream)
            return copied

    def finish(self) -> None:
        """Wait for every copy."""
        if self._stream is not None:
            self._stream.synchronize()


def host_memory(unit: Unit, *, pinned: bool) -> torch.Tensor:
    """Host memory for a unit, at its place within a page, so that what is aligned in the file is in memory.

    `pinned` where the system lets it be; torch's own pinned memory would round each up to a power of two.
    Raises LocalError.
    """
    pad = unit.begin % PAGE
    memory = allocate(pad + unit.size)
    if not pinned:
        return torch.frombuffer(memory, dtype=torch.uint8)[pad : pad + unit.size]
    whole = (ctypes.c_char * len(memory)).from_buffer(memory)
    address, runtime = ctypes.addressof(whole), torch.cuda.cudart()  # type: ignore[no-untyped-call]
    if int(runtime.cudaHostRegister(address, len(memory), 0)) == 0:
        # The tensor keeps `whole`, and that keeps the memory: it is let go of before that is.
        weakref.finalize(whole, runtime.cudaHostUnregister, address).atexit = False
    return torch.frombuffer(whole, dtype=torch.uint8)[pad : pad + unit.size]


def _view(memory: torch.Tensor, at: int, size: int) -> memoryview:
    return memoryview(memory.numpy()[at : at + size])  # type: ignore[arg-type]
