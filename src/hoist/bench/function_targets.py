"""What a served function shall reach, beside what the records say. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from hoist.bench.switch_function import APART, FUNCTION, PLAIN, PLAIN_HASHED, THROUGH
from hoist.bench.table import Record, is_switch
from hoist.bench.target import Target

_BACK, _SHARED, _HEALTH_SECONDS, _OVERHEAD, _LOADS = 0.15, 1.05, 0.05, 0.05, 1.1
_GIB = 1 << 30
_NAMES = {"nas": "a directory", "oss": "a public bucket"}


def function_targets(records: Sequence[Record]) -> Iterator[Target]:
    """A line a target, of medians over runs; then what switches through a function took beside a plain one."""
    own = [record for record in records if record["bench"] == "function"]
    works: Mapping[str, Callable[[Sequence[Record]], Iterator[Target]]] = {
        "back": _back,
        "sharing": _sharing,
        "overhead": _overhead,
        "health": _health,
        "crowd": _crowd,
    }
    for work, of in works.items():
        found = [record for record in own if record["work"] == work]
        if found:
            yield from of(found)
    switches = [record for record in records if is_switch(record) and record.get("through") == THROUGH]
    for storage in dict.fromkeys(record["storage"] for record in switches):
        yield from _switches(storage, [record for record in switches if record["storage"] == storage])


def _back(records: Sequence[Record]) -> Iterator[Target]:
    for verified in ("now", "before"):
        here = [record for record in records if record["verified"] == verified]
        first, again = (_median(here, "seconds", step=step) for step in ("first", "back"))
        size = here[0]["size"] / _GIB
        what = "verifies" if verified == "now" else "maps what was verified before"
        work = f"function: back to a model in host memory, {size:.2g} GiB; the first load {what}"
        beside = f"{again * 1000:.0f} ms, first {first * 1000:.0f} ms, warm page cache"
        # A first load that only maps the page cache moves nothing either.
        met = again <= _BACK * first if verified == "now" else None
        yield Target(work, f"under {_BACK:g} of its first load", f"{again / first:.3f}", met, beside)


def _sharing(records: Sequence[Record]) -> Iterator[Target]:
    moved, sent, different = (_median(records, key) for key in ("fetched_bytes", "sent_bytes", "different_bytes"))
    work = f"function: to a fine-tune with the same VAE and text encoder, {records[0]['size'] / _GIB:.2g} GiB"
    beside = (
        f"{_mib(moved)} of {_mib(records[0]['size'])} moved, {_mib(different)} differ; sent {sent / different:.3f} x"
    )
    ratio = moved / different
    yield Target(
        work, f"bytes moved at most {_SHARED:g} x those that differ", f"{ratio:.4f} x", ratio <= _SHARED, beside
    )


def _overhead(records: Sequence[Record]) -> Iterator[Target]:
    for storage in dict.fromkeys(record["storage"] for record in records):
        here = [record for record in records if record["storage"] == storage]
        bare, served = (_median(here, "seconds", step=step) for step in ("bare", "function"))
        work = f"function: overhead over a bare load, {_NAMES.get(storage, storage)}, {here[0]['size'] / _GIB:.2g} GiB"
        part = served / bare - 1
        beside = f"{served:.3f} s, bare {bare:.3f} s, medians of {sum(r['step'] == 'bare' for r in here)}"
        yield Target(work, f"under {_OVERHEAD:.0%}", f"{part:+.1%}", part < _OVERHEAD, beside)


def _health(records: Sequence[Record]) -> Iterator[Target]:
    for storage in dict.fromkeys(record["storage"] for record in records):
        here = [record for record in records if record["storage"] == storage]
        p99 = _median(here, "answered_p99_seconds")
        size, checks = here[0]["size"] / _GIB, sum(record["checks"] for record in here)
        work = f"function: health check while {size:.2g} GiB load, {_NAMES.get(storage, storage)}"
        most = max(record["answered_max_seconds"] for record in here)
        beside = (
            f"{checks} checks, median {_median(here, 'answered_p50_seconds') * 1000:.1f}, at most {most * 1000:.0f} ms"
        )
        target = f"p99 under {_HEALTH_SECONDS * 1000:.0f} ms, {here[0]['rate']} a second"
        due = _median(here, "due_p99_seconds") * 1000
        beside += f"; p99 {due:.0f} ms from when it was due, with the client's own delay"
        yield Target(work, target, f"{p99 * 1000:.1f} ms", p99 < _HEALTH_SECONDS, beside)


def _crowd(records: Sequence[Record]) -> Iterator[Target]:
    first = records[0]
    work = f"function: {first['clients']} clients, {first['models']} models, memory for 2"
    answered, refused, failed, asked = (
        sum(record[key] for record in records) for key in ("answered", "refused", "failed", "requests")
    )
    most = max(record["most_overrun_seconds"] for record in records)
    beside = f"{answered} answered, {refused} refused at their deadline (at most {most * 1000:.0f} ms after it)"
    well = answered + refused == asked and not any(record["early_refusals"] or record["left"] for record in records)
    well = well and all(record["answered_after"] for record in records)
    measured = f"{answered + refused} of {asked}, {failed} failed"
    yield Target(work, "every request answered, or refused with its deadline", measured, well, beside)
    used = max(record["most_bytes"] / record["budget_bytes"] for record in records)
    anonymous = max(record["most_anonymous_bytes"] / record["budget_bytes"] for record in records)
    beside = f"the process's anonymous memory grew by {anonymous:.2f} of the budget at most"
    yield Target(work, "memory within budget", f"{used:.3f} of the budget", used <= 1, beside)
    worst = max(loads / record["needed_loads"][name] for record in records for name, loads in _asked(record))
    total, needed = (sum(sum(record[key].values()) for record in records) for key in ("loads", "needed_loads"))
    beside = f"{total} loads in all, {needed} by an LRU in the order of arrival"
    target = f"no model loaded more than {_LOADS:g} x as an LRU of two needs"
    yield Target(work, target, f"{worst:.2f} x at most", worst <= _LOADS, beside)


def _asked(record: Record) -> Iterator[tuple[str, int]]:
    return ((name, loads) for name, loads in record["loads"].items() if record["needed_loads"].get(name))


def _switches(storage: str, records: Sequence[Record]) -> Iterator[Target]:
    models = len({record["file"] for record in records})
    for which in ("first", "second"):
        sums = {
            loader: _sum(records, loader, which) for loader in dict.fromkeys(record["loader"] for record in records)
        }
        own = sums.get(FUNCTION)
        peer = sums.get(PLAIN_HASHED if which == "first" else PLAIN)
        if own is None:
            continue
        names = ((APART, "without sharing"), (PLAIN, "plain"), (PLAIN_HASHED, "plain that hashes"))
        beside = ", ".join(f"{name} {sums[loader]:.2f}" for loader, name in names if loader in sums)
        work = f"function: {which} switch to each of {models} models, {storage}, until the response"
        target = "sooner than a plain function" + (" that hashes" if which == "first" else "")
        met = own < peer if peer else None
        yield Target(work, target, f"{own:.2f} s" + (f" ({peer / own:.1f} x)" if peer else ""), met, f"{beside} s")


def _sum(records: Sequence[Record], loader: str, which: str) -> float:
    """Seconds of all models together, of each the median over runs."""
    here = [record for record in records if record["loader"] == loader and record["switch"] == which]
    files = dict.fromkeys(record["file"] for record in here)
    return float(sum(median(record["seconds"] for record in here if record["file"] == file) for file in files))


def _median(records: Sequence[Record], key: str, **where: str) -> float:
    return float(median(r[key] for r in records if all(r[name] == value for name, value in where.items())))


def _mib(size: float) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
