"""What an accelerator shall reach, beside what the records say. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import median

from hoist.bench.table import Record
from hoist.bench.target import Target


def accelerator_targets(records: Sequence[Record]) -> Iterator[Target]:
    """A line a target, of medians over runs."""
    found = [record for record in records if record["bench"] == "accelerator"]
    herds = [record for record in found if record["step"] == "herd"]
    through = [record for record in herds if record["way"] == "accelerated"]
    direct = [record for record in herds if record["way"] == "direct"]
    if through and direct:
        first = through[0]
        size = first["size"]
        rate = first["origin_bytes_per_second"]
        work = f"{first['instances']} cold instances, {size / (1 << 30):.2g} GiB, origin {rate / 1e6:,.0f} MB/s"
        most = max(record["origin_bytes"] for record in through) / size
        beside = f"direct {max(record['origin_bytes'] for record in direct) / size:.2f} x"
        yield Target(work, "origin bytes at most 1.02 x the model", f"{most:.3f} x", most <= 1.02, beside)
        slow, quick = (median(record["seconds"] for record in those) for those in (direct, through))
        times = f"{quick:.1f} s, direct {slow:.1f} s; the model alone {size / rate:.1f} s"
        yield Target(work, "3 x sooner than direct", f"{slow / quick:.1f} x", slow >= 3 * quick, times)
    rates: dict[str, list[float]] = defaultdict(list)
    for record in found:
        if record["step"] == "warm":
            rates[record["way"]].append(record["size"] / record["seconds"])
    warm = {way: median(those) for way, those in rates.items()}
    if len(warm) == 3:
        ratio = warm["accelerated"] / warm["static"]
        beside = f"{warm['accelerated'] / 1e6:,.0f} of {warm['static'] / 1e6:,.0f} MB/s"
        yield Target("warm accelerator", "0.8 of nginx with a static file", f"{ratio:.2f}", ratio >= 0.8, beside)
        cost = 1 - warm["accelerated"] / warm["unchecked"]
        beside = f"{warm['unchecked'] / 1e6:,.0f} MB/s without"
        yield Target("permission checks", "under 3% of warm throughput", f"{max(0.0, cost):.1%}", cost < 0.03, beside)
