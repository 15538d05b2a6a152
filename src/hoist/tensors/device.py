"""Memory on a device, filled by the engine, and the tensors that are views of it.

On the CPU the engine writes straight into one buffer. For a GPU each request lands in one of a few pinned staging
slots and is copied from there while the next ones arrive: one device allocation a file, copies overlapped with reads.
"""

from __future__ import annotations

from queue import Queue
from threading import Lock
from typing import Protocol

import torch

from hoist.errors import LocalError, UsageError
from hoist.memory import allocate
from hoist.read.plan import Request
from hoist.read.sink import BufferSink, Sink

_STAGING_BYTES = 256 << 20
_MOST_SLOTS = 16


class Destination(Protocol):
    """Memory of one file's plan on a device. `flat` is all of it, as bytes."""

    flat: torch.Tensor

    @property
    def sink(self) -> Sink:
        """Where the engine puts the bytes."""

    def finish(self) -> None:
        """Wait until every committed byte is in `flat`."""


class HostDestination:
    """One anonymous mapping, in large pages where the system gives them; tensors are views on it."""

    def __init__(self, size: int) -> None:
        memory = allocate(size)
        self.flat = torch.frombuffer(memory, dtype=torch.uint8)
        self.sink: Sink = BufferSink(memoryview(memory))

    def finish(self) -> None:
        """The engine has written in place."""


class Staging:
    """The slots through which bytes go to a device: made at their first use, shared by all files of one load.

    On CUDA they are pinned. All together take at most 256 MiB, however many files there are.
    """

    def __init__(self) -> None:
        self._slot_bytes = 1
        self._lock = Lock()
        self._left = _MOST_SLOTS
        self._free: Queue[tuple[torch.Tensor, torch.cuda.Event | None]] = Queue()

    def need(self, slot_bytes: int) -> None:
        """Make slots large enough for such a request; before the first is taken."""
        self._slot_bytes = max(self._slot_bytes, slot_bytes)
        self._left = max(2, min(_MOST_SLOTS, _STAGING_BYTES // self._slot_bytes))

    def take(self, *, pinned: bool) -> torch.Tensor:
        """A slot whose last copy is over; waits until there is one."""
        with self._lock:
            fresh = self._left > 0 and self._free.empty()
            self._left -= fresh
        if fresh:
            try:
                return torch.empty(self._slot_bytes, dtype=torch.uint8, pin_memory=pinned)
            except RuntimeError as error:
                raise LocalError(f"no memory for staging {self._slot_bytes} bytes: {error}") from None
        slot, copied = self._free.get()
        if copied is not None:
            copied.synchronize()
        return slot

    def give(self, slot: torch.Tensor, copied: torch.cuda.Event | None = None) -> None:
        """Take a slot back; it is used again once `copied` has happened."""
        self._free.put((slot, copied))


class StagedDestination:
    """One allocation on `device`, filled through staging slots; on CUDA the copies overlap with what comes next.

    With a CPU device it does the same copies without a stream, so that this path can be tested anywhere.
    """

    def __init__(self, size: int, device: torch.device, staging: Staging) -> None:
        self._cuda = device.type == "cuda"
        self._staging = staging
        try:
            self.flat = torch.empty(max(1, size), dtype=torch.uint8, device=device)
            self._stream = torch.cuda.Stream(device) if self._cuda else None  # type: ignore[no-untyped-call]
        except (torch.OutOfMemoryError, RuntimeError) as error:
            raise LocalError(f"no memory for {size} bytes of weights on {device}: {error}") from None
        if self._stream is not None:
            # The allocation may be memory that work on the caller's stream still uses.
            self._stream.wait_stream(torch.cuda.current_stream(device))
        self._taken: dict[int, torch.Tensor] = {}

    @property
    def sink(self) -> Sink:
        """Itself; not kept, as a cycle would keep the memory until Python looks for those."""
        return self

    def acquire(self, request: Request) -> memoryview:
        slot = self._staging.take(pinned=self._cuda)
        view = memoryview(slot.numpy()[: request.size])  # type: ignore[arg-type]
        self._taken[id(view)] = slot
        return view

    def commit(self, request: Request, view: memoryview) -> None:
        slot = self._taken.pop(id(view))
        target = self.flat[request.at : request.at + request.size]
        copied = None
        if self._stream is not None:
            with torch.cuda.stream(self._stream):
                target.copy_(slot[: request.size], non_blocking=True)
                copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
                copied.record(self._stream)
        else:
            target.copy_(slot[: request.size])
        self._staging.give(slot, copied)

    def release(self, view: memoryview) -> None:
        self._staging.give(self._taken.pop(id(view)))

    def finish(self) -> None:
        if self._stream is not None:
            self._stream.synchronize()


def torch_device(device: str | int | torch.device) -> torch.device:
    """The device that a user means; a number is a GPU, as in safetensors. Raises UsageError if it is not there."""
    try:
        found = torch.device(f"cuda:{device}" if isinstance(device, int) else device)
    except RuntimeError:
        raise UsageError(f"{device!r} is not a device: write cpu, cuda or cuda:0") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"there is no device {device!r}: this torch sees no GPU")
    if found.type not in ("cpu", "cuda"):
        raise UsageError(f"Hoist loads to cpu and cuda, not to {found.type}")
    return found


def make_destination(size: int, device: torch.device, staging: Staging) -> Destination:
    """Memory for `size` bytes on `device`, which is reached through `staging` unless it is the CPU."""
    return HostDestination(size) if device.type == "cpu" else StagedDestination(size, device, staging)


def view_tensor(flat: torch.Tensor, at: int, size: int, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    """The `size` bytes of `flat` from `at` as a tensor, without a copy unless they are not aligned to the dtype."""
    if size == 0:
        return torch.empty(shape, dtype=dtype, device=flat.device)
    part = flat[at : at + size]
    if part.data_ptr() % dtype.itemsize or part.storage_offset() % dtype.itemsize:
        part = part.clone()
    return part.view(dtype).view(shape)
