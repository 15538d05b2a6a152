"""What images shall reach, beside what the records say of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hoist.bench.image_table import MIB, OWN, RAW, Figures, Works, image_figures, limit_of
from hoist.bench.table import Record
from hoist.bench.target import Target

_MEMORY = 256 << 20
# Of the file that was changed, and of the model that is there already.
_CHANGE, _AGAIN = 1.01, 0.01


def image_targets(records: Sequence[Record]) -> list[Target]:
    """A row a target that the records say something of."""
    works = image_figures(records)
    found = [*_moves(works, "push", "skopeo", 1.3), *_moves(works, "pull", "podman", 2)]
    found += _update(works)
    for record in records:
        if record["bench"] == "image" and "skipped" not in record:
            found += [*_bytes(record), *_memory(record)]
    return [*found, *_load(works)]


def _moves(works: Works, work: str, peer: str, least: float) -> Iterator[Target]:
    tools = works.get(work, {})
    own = tools.get(OWN)
    if own is None:
        return
    title = f"image: {work} of {own.size / (1 << 30):.2f} GiB in four files"
    others = [item for name, item in tools.items() if name != OWN and not name.startswith(RAW)]
    # The fastest of the ways in which the peer does it.
    theirs = min((item for item in others if item.name.startswith(peer)), key=lambda item: item.seconds, default=None)
    if theirs:
        ratio = theirs.seconds / own.seconds
        beside = ", ".join([f"{own.seconds:.2f} s", *(f"{item.name} {item.seconds:.2f} s" for item in others)])
        yield Target(title, f"{least:g} x {peer}", f"{ratio:.2f} x", ratio >= least, beside)
    yield from _of_limit(title, own, limit_of(tools), 0.8)


def _load(works: Works) -> Iterator[Target]:
    tools = works.get("load", {})
    if OWN in tools:
        own = tools[OWN]
        title = f"image: load of {own.size / (1 << 30):.2f} GiB by range, verified"
        yield from _of_limit(title, own, limit_of(tools), 0.85)


def _of_limit(title: str, own: Figures, limit: Figures | None, least: float) -> Iterator[Target]:
    if limit is None:
        return
    ratio = limit.seconds / own.seconds
    # Each run against the limit of its own minutes: how far the machine's noise carries the figure.
    runs = [limit.by_run[run] / seconds for run, seconds in own.by_run.items() if run in limit.by_run]
    spread = f" (runs {min(runs):.2f} to {max(runs):.2f})" if len(runs) > 1 else ""
    beside = f"{own.rate / 1e6:,.0f} of {limit.rate / 1e6:,.0f} MB/s"
    yield Target(title, f"{least:g} of the raw limit", f"{ratio:.2f}{spread}", ratio >= least, beside)


def _update(works: Works) -> Iterator[Target]:
    tools = works.get("update", {})
    limit = limit_of(tools)
    if OWN in tools and limit:
        own = tools[OWN]
        ratio = own.seconds / limit.seconds
        beside = f"{own.seconds:.2f} s, raw {limit.seconds:.2f} s"
        title = f"image: one of four files changed, {own.size / MIB:,.0f} MiB"
        yield Target(title, "1.3 x the raw upload of the file", f"{ratio:.2f} x", ratio <= 1.3, beside)


def _bytes(record: Record) -> Iterator[Target]:
    if "sent_bytes" not in record:
        return
    ratio = record["sent_bytes"] / record["size"]
    beside = f"{record['sent_bytes']:,} bytes sent, {record['received_bytes']:,} received"
    if record["work"] == "second":
        title, target, met = "image: the model in a second repository", "under 1 % of it sent", ratio < _AGAIN
        yield Target(title, target, f"{ratio:.3%}", met, beside)
        return
    # What would be moved through this machine and back would be received.
    met = ratio <= _CHANGE and record["received_bytes"] <= (_CHANGE - 1) * record["size"]
    title = "image: one of four files changed"
    yield Target(title, f"{_CHANGE:g} x the file sent, nothing else moved", f"{ratio:.4f} x", met, beside)


def _memory(record: Record) -> Iterator[Target]:
    if record["work"] != "memory":
        return
    title = f"image: memory of {record['of']}, {record['size'] / MIB:,.0f} MiB"
    measured = f"{record['peak_bytes'] / MIB:,.0f} MiB"
    yield Target(title, "under 256 MiB", measured, record["peak_bytes"] < _MEMORY, f"{record['seconds']:.2f} s")
