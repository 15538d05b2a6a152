"""What syncs shall reach, beside what the records say. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from hoist.bench.table import Record
from hoist.bench.target import Target

_MOST_SECONDS = 10.0
_PAGE = 1000
_DOCUMENTS = 3


def sync_targets(records: Sequence[Record]) -> Iterator[Target]:
    """Time and requests of a run that finds two buckets in step, and the time of one that brings a version."""
    found = [record for record in records if record["bench"] == "sync"]
    timed = [record for record in found if record["work"] == "in step" and not record.get("counted")]
    if timed:
        seconds = median(record["seconds"] for record in timed)
        work = f"sync of {_shown(timed[0])} already in step, bucket to bucket"
        beside = f"{median(record['cpu_seconds'] for record in timed):.2f} CPU s"
        yield Target(work, f"under {_MOST_SECONDS:g} s", f"{seconds:.2f} s", seconds < _MOST_SECONDS, beside)
    for record in found:
        if record.get("counted"):
            most = bound_of(record)
            requests = record["requests"]
            work = f"requests of a sync of {_shown(record)} already in step, both buckets"
            beside = f"{requests / record['versions']:.2f} a version"
            yield Target(work, f"at most {most:,}", f"{requests:,}", requests <= most, beside)
        if record["work"] == "one new version":
            work = f"sync of {_shown(record)}, of which one is new"
            yield Target(work, "the new one there, with its tag", f"{record['seconds']:.2f} s", None)


def bound_of(record: Record) -> int:
    """The most requests that a run in step may make of two buckets: the pages of their listings (three documents a version,
    one a tag) and one more of each, and each tag once."""
    versions, tags = int(record["versions"]), int(record["tags"])
    return 2 * (_pages(_DOCUMENTS * versions) + _pages(tags) + tags)


def _pages(objects: int) -> int:
    return -(-objects // _PAGE) + 1


def _shown(record: Record) -> str:
    return f"{record['models']:,} models x {record['versions'] // record['models']} versions"
