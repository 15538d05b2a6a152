"""What copies shall reach, beside what the records say. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from hoist.bench.table import GIB, Record
from hoist.bench.target import Target

_LEAST, _MOST = 0.8, 1.02


def copy_targets(records: Sequence[Record]) -> Iterator[Target]:
    """A line a work, of medians over runs."""
    found = [record for record in records if record["bench"] == "copy"]
    plain = [record for record in found if record["work"] == "bucket to bucket"]
    yield from _beside_rclone(plain)
    for record in found:
        if record["work"] == "one changed file":
            ratio = record["sent_bytes"] / record["changed"]
            work = f"copy of a version with one changed file of {record['files']}"
            beside = f"{record['seconds']:.2f} s, {record['copied_bytes'] / 1e6:,.0f} MB copied inside the target"
            yield Target(work, f"at most {_MOST} x that file moved", f"{ratio:.3f} x", ratio <= _MOST, beside)
        if record["work"] == "to three targets":
            ratio = record["read_bytes"] / record["size"]
            work = f"copy to {len(record['targets'])} targets at once, {record['size'] / GIB:.2g} GiB"
            beside = f"{record['seconds']:.2f} s"
            yield Target(work, f"source read at most {_MOST} x", f"{ratio:.3f} x", ratio <= _MOST, beside)


def _beside_rclone(records: Sequence[Record]) -> Iterator[Target]:
    times = {
        way: median(record["seconds"] for record in records if record["way"] == way)
        for way in {record["way"] for record in records}
    }
    if "hoist" not in times:
        return
    size, own = records[0]["size"], times["hoist"]
    work = f"copy from bucket to bucket, {size / GIB:.2g} GiB, verified"
    rclone = times.get("rclone")
    measured = f"{rclone / own:.2f} x" if rclone else f"{own:.2f} s"
    met = rclone / own >= _LEAST if rclone else None
    beside = f"{own:.2f} s, {size / own / 1e6:,.0f} MB/s" + (f"; rclone {rclone:.2f} s" if rclone else "")
    yield Target(work, f"{_LEAST} of rclone copy, unverified", measured, met, beside)
