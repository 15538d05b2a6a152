"""What a run of a plan did, target by target, and what is left to be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hoist.errors import HoistError
from hoist.storage.base import Tag, Version
from hoist.sync.difference import Difference


@dataclass(frozen=True, slots=True)
class Problem:
    """What could not be done (a version, a tag; empty: anything at all), and why."""

    what: str
    error: HoistError


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a target is behind: versions that it lacks, bytes of their files, tags that are elsewhere, and how long ago
    the oldest of those versions was published at the source (0: not known)."""

    versions: int = 0
    size: int = 0
    tags: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class TargetResult:
    """One target. `difference` is what was found before anything was done, None where the target could not be seen.

    `brought` versions were copied there, with `sent_bytes` and bytes that were copied inside it; `signed` ones, there
    before, got signatures that the source has; `tags` were moved, `untagged` and `removed` are gone. `later` is what
    changed at the source or the target meanwhile: the next run looks again. `problems` are what failed. `lag` is what is
    left to be done at the end; a dry run has only that and a difference.
    """

    storage: str
    difference: Difference | None = None
    brought: tuple[Version, ...] = ()
    sent_bytes: int = 0
    copied_bytes: int = 0
    signed: tuple[Version, ...] = ()
    tags: tuple[Tag, ...] = ()
    untagged: tuple[Tag, ...] = ()
    removed: tuple[Version, ...] = ()
    later: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    lag: Lag = Lag()
    dry_run: bool = False

    @property
    def in_step(self) -> bool:
        """Whether the target is what the plan wants, as far as this run has seen."""
        found = self.difference
        if found is None or self.problems or self.later:
            return False
        return found.in_step or not (self.dry_run or found.conflicts or found.doubts or found.stuck)


@dataclass(frozen=True)
class SyncResult:
    """One run of a plan. `versions` were seen in the source, `read_bytes` were read of it for all targets together; `began`
    is in seconds since the epoch. `error`: why nothing could be done at all, as the source could not be seen; then there are
    no targets."""

    plan: str
    source: str
    targets: Sequence[TargetResult] = ()
    versions: int = 0
    read_bytes: int = 0
    began: float = 0.0
    seconds: float = 0.0
    dry_run: bool = False
    error: HoistError | None = None

    @property
    def in_step(self) -> bool:
        """Whether all targets are what the plan wants."""
        return self.error is None and all(target.in_step for target in self.targets)

    @property
    def errors(self) -> list[HoistError]:
        """Everything that failed."""
        found = [problem.error for target in self.targets for problem in target.problems]
        return [self.error, *found] if self.error else found
