"""What many instances of one model shall cost, beside what the records say. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from hoist.bench.table import Record
from hoist.bench.target import Target

_MOST_BYTES, _MOST_TIME = 1.05, 1.3
_OWN_BYTES = 64 << 20
"""What an instance has in memory besides the model: its share of torch, its heap."""


def fleet_targets(records: Sequence[Record]) -> Iterator[Target]:
    """A line a target, of medians over runs."""
    found = [record for record in records if record["bench"] == "fleet"]
    yield from _host([record for record in found if record["step"] == "host"])
    for record in found:
        if record["step"] == "cluster":
            yield _cluster(record)


def _host(records: Sequence[Record]) -> Iterator[Target]:
    counts = sorted({record["instances"] for record in records})
    if len(counts) < 2:
        return
    alone, many = counts[0], counts[-1]
    for state in ("cold", "warm"):
        one, all_of_them = (_median(records, state, count, "seconds") for count in (alone, many))
        ratio = all_of_them / one
        work = f"{many} instances of one host, host cache {'empty' if state == 'cold' else 'full'}"
        beside = f"{all_of_them:.2f} s, one alone {one:.2f} s"
        met = ratio <= _MOST_TIME if state == "cold" else None
        yield Target(work, f"start within {_MOST_TIME} x the time of one", f"{ratio:.2f} x", met, beside)
    size = records[0]["size"]
    held = _median(records, "warm", many, "memory_bytes")
    single = _median(records, "warm", alone, "memory_bytes")
    beside = f"{held / 2**20:,.0f} MiB together (PSS), one alone {single / 2**20:,.0f} MiB"
    met = held <= single + (many - alone) * _OWN_BYTES
    work = f"{many} instances of one host, {size / 2**30:.2g} GiB"
    yield Target(work, "one copy in memory", f"{held / size:.2f} x the model", met, beside)


def _median(records: Sequence[Record], state: str, count: int, key: str) -> float:
    return float(median(r[key] for r in records if r["state"] == state and r["instances"] == count))


def _cluster(record: Record) -> Target:
    near = record["through"] == "accelerator"
    copies = record["origin_bytes"] / record["size"] / (1 if near else record["nodes"])
    work = f"Ray, {record['nodes']} nodes x {record['instances'] // record['nodes']} instances"
    target = f"origin bytes at most {_MOST_BYTES} x the model {'in all, with accelerator' if near else 'a node'}"
    return Target(work, target, f"{copies:.4f} x", copies <= _MOST_BYTES, f"{record['seconds']:.1f} s")
