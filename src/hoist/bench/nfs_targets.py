"""What a load from NFS shall reach, beside what the records say. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median, mode

from hoist.bench.table import Record
from hoist.bench.target import Target

_LEAST = 0.85


def nfs_targets(records: Sequence[Record]) -> Iterator[Target]:
    """A line, of medians over runs."""
    found = [record for record in records if record["bench"] == "nfs"]
    loads, limits = ([record for record in found if record["what"] == what] for what in ("load", "limit"))
    if loads and limits:
        load, limit = (median(record["bytes_per_second"] for record in those) for those in (loads, limits))
        work = f"nfs:// from nfs-ganesha, {found[0]['size'] / (1 << 30):.2g} GiB, verified"
        best = mode(record["best"] for record in limits)
        beside = f"{load / 1e6:,.0f} of {limit / 1e6:,.0f} MB/s (contexts x request: {best})"
        target = f"{_LEAST} of the best raw libnfs read"
        yield Target(work, target, f"{load / limit:.2f}", load >= _LEAST * limit, beside)
