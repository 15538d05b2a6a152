"""What a checkup finds: findings in groups, none of which holds a secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from hoist.storage.discretion import Discretion

Status = Literal["ok", "warning", "missing", "failed"]
# The order in which a summary names them.
STATUSES: tuple[Status, ...] = ("failed", "warning", "missing", "ok")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    `ok`: it works. `warning`: it works, with a catch. `missing`: something optional is not there. `failed`: something
    that was asked for does not work. `mend` says what to do, and is empty for `ok`. `figures` are what was measured:
    sizes in bytes, times in seconds, rates in bytes a second.
    """

    group: str
    name: str
    status: Status
    detail: str
    mend: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """Makes the findings of one group."""

    name: str

    def ok(self, name: str, detail: str, **figures: float) -> Finding:
        """It works."""
        return Finding(self.name, name, "ok", detail, "", figures)

    def warning(self, name: str, detail: str, mend: str, **figures: float) -> Finding:
        """It works, with a catch."""
        return Finding(self.name, name, "warning", detail, mend, figures)

    def missing(self, name: str, detail: str, mend: str, **figures: float) -> Finding:
        """Something optional is not there."""
        return Finding(self.name, name, "missing", detail, mend, figures)

    def failed(self, name: str, detail: str, mend: str, **figures: float) -> Finding:
        """Something that was asked for does not work."""
        return Finding(self.name, name, "failed", detail, mend, figures)


@dataclass(frozen=True, slots=True)
class Report:
    """All findings of a checkup, in groups, and how long it took in seconds."""

    findings: tuple[Finding, ...]
    seconds: float

    @property
    def healthy(self) -> bool:
        """Whether nothing failed."""
        return all(finding.status != "failed" for finding in self.findings)

    def count(self, status: Status) -> int:
        """How many findings have this status."""
        return sum(finding.status == status for finding in self.findings)


class Discreet(Discretion):
    """Takes out of findings what nobody may read."""

    def clean(self, finding: Finding) -> Finding:
        """The finding without secrets."""
        return replace(
            finding,
            group=self.text(finding.group),
            detail=self.text(finding.detail),
            mend=self.text(finding.mend),
        )

    def clean_all(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """The findings without secrets."""
        return tuple(map(self.clean, findings))
