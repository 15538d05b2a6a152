"""What a look at storages found. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from hoist.errors import common_exit_code
from hoist.status.meters import Reading
from hoist.sync.plan import SyncPlan


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong: `kind` is the error's name, `exit_code` as of a command that ends with it. No secret."""

    kind: str
    message: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a storage is behind the source of a plan: versions that it lacks and their bytes, tags that say something else
    there, and how long the oldest of those versions has been published, in seconds (None: none is missing, or not known).

    `conflicts`: versions of other content under the same label; `stuck`: tags that cannot be moved for what stands in the
    way; `surplus`: versions and tags that a sync would remove, as the plan prunes. `in_step`: nothing of all that.
    """

    plan: str
    source: str
    in_step: bool
    versions: int = 0
    size_bytes: int = 0
    tags: int = 0
    seconds: float | None = None
    conflicts: int = 0
    stuck: int = 0
    surplus: int = 0


@dataclass(frozen=True, slots=True)
class StorageStatus:
    """How a storage is. `up`: its versions and tags could be listed; else the first of `problems` says why.

    `answer_seconds` is the time of one small request, connection included. `size_bytes` is what the manifests say of its
    versions, without `unsized` ones whose manifest is not known; a count that is not known is None. `late`: the time was
    over before all was known.
    """

    address: str
    kind: str
    region: str
    up: bool
    late: bool
    seconds: float
    answer_seconds: float | None = None
    models: int | None = None
    versions: int | None = None
    tags: int | None = None
    size_bytes: int | None = None
    unsized: int = 0
    lags: tuple[Lag, ...] = ()
    readings: tuple[Reading, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """How the storages are: `at` in seconds since the epoch, `seconds` how long it took, `plans` by which lags are told."""

    at: float
    seconds: float
    storages: tuple[StorageStatus, ...]
    plans: tuple[SyncPlan, ...] = ()

    @property
    def late(self) -> bool:
        """Whether some storage was not done in time: a thread still waits for it."""
        return any(storage.late for storage in self.storages)

    @property
    def exit_code(self) -> int:
        """0 if every storage is up; else the code of what is wrong, or 1 if several kinds are."""
        down = [storage for storage in self.storages if not storage.up]
        found = common_exit_code(problem.exit_code for storage in down for problem in storage.problems[:1])
        return found or int(bool(down))
