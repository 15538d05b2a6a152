"""What the loss of a region may cost, beside what the records say. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from hoist.bench.table import GIB, Record
from hoist.bench.target import Target

_FACTOR, _MORE_SECONDS = 1.2, 2.0


def failover_targets(records: Sequence[Record]) -> Iterator[Target]:
    """A line for each way to lose a region, of the worst run, and one for what it costs while all is well."""
    found = [record for record in records if record["bench"] == "failover"]
    well = [record["seconds"] for record in found if record["way"] == "any" and not record["lost"]]
    if not well:
        return
    whole = median(well)
    for lost in ("killed", "frozen"):
        those = [record for record in found if record["lost"] == lost]
        if those:
            yield _lost(lost, those, whole)
    plain = [record for record in found if record["way"] == "plain"]
    if plain:
        alone = median(record["seconds"] for record in plain)
        cpu = [
            median(record["cpu_seconds"] for record in found if record["way"] == way and not record["lost"])
            for way in ("any", "plain")
        ]
        beside = f"{whole:.2f} s; the region alone {alone:.2f} s; CPU {cpu[0]:.2f} s beside {cpu[1]:.2f} s"
        work = f"load of {plain[0]['size'] / GIB:.2g} GiB through kind any, all well"
        yield Target(work, "what it costs", f"{whole / alone:.3f} x", None, beside)


def limit_of(record: Record, whole: float) -> float:
    """How long the rest may take, where the whole takes so long."""
    return float(_FACTOR * whole * record["left"] / record["size"] + _MORE_SECONDS)


def _lost(lost: str, records: Sequence[Record], whole: float) -> Target:
    worst = max(records, key=lambda record: record["rest_seconds"] - limit_of(record, whole))
    wrong = sum(record["wrong_tensors"] for record in records)
    limit = limit_of(worst, whole)
    work = f"load of {worst['size'] / GIB:.2g} GiB, region {lost} in the middle"
    measured = f"{worst['rest_seconds']:.2f} s of {limit:.2f} s, {wrong} wrong tensors"
    met = worst["rest_seconds"] <= limit and not wrong
    usual = whole * worst["left"] / worst["size"]
    beside = f"the rest takes {usual:.2f} s otherwise; worst of {len(records)}"
    return Target(work, f"{_FACTOR} x the remaining time + {_MORE_SECONDS:g} s, no wrong byte", measured, met, beside)
