"""What a function says of its models: budgets, states, and the figures of each. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a model is, the furthest first."""

    STORAGE = "storage"
    CACHED = "cached"
    """The host cache, or a local disk, holds all its weights."""
    HOST = "host"
    """Its weights are in host memory; pinned where there is a GPU."""
    DEVICE = "device"
    """The handler's object is ready."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """The most bytes of weights in host memory, and of models whose objects are ready on the device.

    What models share counts once. On the CPU the device is host memory: `device_bytes` is a part of `host_bytes` then.
    None is no limit.
    """

    host_bytes: int | None = None
    device_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model as it is now. `size_bytes` and `version_digest` are known once it has been opened (0 and "" before).

    `own_bytes` is what no other model in memory has. `work` says what is being done for it: "" or one of open, fetch,
    load, unload.
    """

    name: str
    location: str
    state: State
    work: str = ""
    running: int = 0
    waiting: int = 0
    pinned: bool = False
    size_bytes: int = 0
    host_bytes: int = 0
    device_bytes: int = 0
    own_bytes: int = 0
    version_digest: str = ""
    loads: int = 0
    error: str = ""
    """Why its last load failed, if it did."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What all models together take now, and what is held by objects that a handler has not let go of."""

    host_bytes: int
    device_bytes: int
    leaked_host_bytes: int
    leaked_device_bytes: int
    budgets: Budgets


@dataclass(frozen=True, slots=True)
class Moved:
    """What one load moved, in bytes: each unit of weights is in one of the first two, and on a GPU in one of the others.

    `fetched_bytes` came from the storage, the host cache or a local file; `host_reused_bytes` were in host memory;
    `device_copied_bytes` went to the device; `device_reused_bytes` were there.
    """

    size_bytes: int = 0
    fetched_bytes: int = 0
    host_reused_bytes: int = 0
    device_copied_bytes: int = 0
    device_reused_bytes: int = 0
