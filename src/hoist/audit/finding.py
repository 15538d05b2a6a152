"""What an audit finds, and what it looked at. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hoist.storage.base import Version

Kind = Literal[
    "damaged",
    "missing-file",
    "missing",
    "conflict",
    "stale-tag",
    "extra",
    "unsigned",
    "unprotected",
    "garbage",
    "unreachable",
]
Severity = Literal["error", "warning", "note"]
Part = Literal["file", "document", "manifest", "pack", ""]
Span = tuple[int, int]
KINDS: Mapping[Kind, str] = {
    "unreachable": "a storage, or a part of it, that could not be looked at",
    "damaged": "bytes that are not what the manifest says",
    "missing-file": "a file that a version needs and that is not there",
    "conflict": "one label with two contents",
    "missing": "a version that the plan wants there",
    "stale-tag": "a tag that names nothing, or another version than it should",
    "unsigned": "a version without the signature that the storage requires",
    "unprotected": "what others than its owner may read or change",
    "garbage": "what belongs to no version",
    "extra": "a version that the plan does not want there",
}
"""The kinds in the order in which they are shown, and what each means."""
_ORDER = {kind: place for place, kind in enumerate(KINDS)}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. `what` names it, `mend` says what to do.

    `error`: something is lost, wrong or open to everybody; `warning`: something should be looked at; `note`: worth knowing,
    and no reason to fail. `part` says what of `version` it is, `path` which file (or digest), `spans` which half-open byte
    ranges of it. `repaired`: it is as it should be by now; `not_repaired`: why not, where that was tried.
    """

    kind: Kind
    severity: Severity
    storage: str
    what: str
    detail: str
    mend: str
    version: Version | None = None
    part: Part = ""
    path: str = ""
    spans: tuple[Span, ...] = ()
    repaired: bool = False
    not_repaired: str = ""

    @property
    def left(self) -> bool:
        """Whether it counts against the storage still."""
        return not self.repaired and self.severity != "note"

    def mended(self) -> Finding:
        """As it is when its repair was read back and is right."""
        return replace(self, repaired=True, not_repaired="")

    def unmended(self, why: str) -> Finding:
        """As it is when a repair was tried for nothing."""
        return replace(self, repaired=False, not_repaired=why)


@dataclass(frozen=True, slots=True)
class Looked:
    """How much of a storage was looked at: versions, files and bytes that it should hold, tags; of the bytes, those read."""

    storage: str
    kind: str
    versions: int = 0
    files: int = 0
    size: int = 0
    tags: int = 0
    read_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Audit:
    """All findings, and what was looked at. `sample` is what was asked for, `seed` chose the blocks: again, it chooses the
    same."""

    findings: Sequence[Finding]
    storages: Sequence[Looked]
    sample: str
    seed: int
    seconds: float
    plan: str = ""
    repair: bool = False

    @property
    def clean(self) -> bool:
        """Whether nothing is left that counts."""
        return not any(finding.left for finding in self.findings)


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Findings as they are shown: by storage in the order met, the gravest kind first."""
    met = {storage: place for place, storage in enumerate(dict.fromkeys(finding.storage for finding in findings))}
    return sorted(findings, key=lambda item: (met[item.storage], _ORDER[item.kind], item.what, item.spans))


def merged(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Half-open ranges in order, those that touch as one."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return tuple(found)
