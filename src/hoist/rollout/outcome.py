"""What became of a rollout, or of a rollback, in each region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hoist.errors import HoistError, common_exit_code
from hoist.storage.base import Tag, Version
from hoist.transfer.copy import Copied

State = Literal["moved", "already", "waiting", "back", "left", "failed"]
"""`moved`: the tag names the version now, by this rollout. `already`: it did before. `waiting`: its turn did not come.
`back`: it names again what it named before. `left`: somebody else has moved it since. `failed`: `error` says why."""


@dataclass(frozen=True, slots=True)
class Checked:
    """How a check ended: `status` is its exit status, negative for a signal, None if its time was over."""

    status: int | None
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the version may stay."""
        return self.status == 0

    def __str__(self) -> str:
        if self.status is None:
            return "its time was over"
        return f"signal {-self.status}" if self.status < 0 else f"exit status {self.status}"


@dataclass(frozen=True, slots=True)
class RegionRolled:
    """One region of a rollout. `before` is what the tag named before this rollout, None if it was new there.

    `brought`: the version was not there, and was copied (or would be, in a dry run). `error` is what failed in this region.
    """

    region: str
    state: State
    before: Tag | None = None
    brought: Copied | None = None
    checked: Checked | None = None
    error: HoistError | None = None


@dataclass(frozen=True, slots=True)
class RolledOut:
    """A rollout. `error` is why it did not come to its end, and in which region is in that region's own `error`."""

    version: Version
    digest: str
    tag: str
    source: str
    regions: tuple[RegionRolled, ...]
    seconds: float
    error: HoistError | None = None
    dry_run: bool = False

    @property
    def exit_code(self) -> int:
        """0, or that of what failed; 1 for several kinds of failures."""
        found = common_exit_code(region.error.exit_code for region in self.regions if region.error is not None)
        return found or (self.error.exit_code if self.error is not None else 0)


@dataclass(frozen=True, slots=True)
class RegionBack:
    """One region of a rollback: what the tag named, and what it names now. `brought`: that version had gone from there.

    `already`: an earlier run of this rollback went back here.
    """

    region: str
    before: Tag | None = None
    now: Tag | None = None
    already: bool = False
    brought: bool = False
    error: HoistError | None = None
