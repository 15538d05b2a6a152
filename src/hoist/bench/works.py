"""Comparisons that have several works: which there are, and what was measured in each, by who did it."""

from __future__ import annotations

from collections.abc import Iterable

from hoist.bench.table import Record
from hoist.errors import UsageError


def check_works(wanted: Iterable[str], works: Iterable[str]) -> None:
    """Raise UsageError for a work that there is not."""
    unknown = [name for name in wanted if name not in works]
    if unknown:
        raise UsageError(f"there is no work {unknown[0]!r}; there are {', '.join(works)}")


def by_work(
    records: Iterable[Record], bench: str, works: Iterable[str], who: str
) -> dict[str, dict[str, list[Record]]]:
    """What `bench` has measured, by work in the order of `works`, then by what the key `who` says."""
    own = [r for r in records if r["bench"] == bench and "skipped" not in r]
    found: dict[str, dict[str, list[Record]]] = {}
    for work in works:
        for record in [r for r in own if r["work"] == work]:
            found.setdefault(work, {}).setdefault(record[who], []).append(record)
    return found
