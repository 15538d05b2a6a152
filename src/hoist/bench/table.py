"""The table of the experiment, from records. Pure: returns lines, prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

Record = Mapping[str, Any]
GIB = 1 << 30
# More do not fit beside each other.
_LOADERS_BESIDE = 2
_LIMITS = {
    "direct": "disk, direct I/O",
    "cached": "page cache, plain reads",
    "get": "ranged GETs, recv_into, no hashing",
}


def switch_table(records: Sequence[Record], real_sizes: Mapping[str, float] | None = None) -> list[str]:
    """The experiment's table, a block a storage: medians over runs, throughput, how often the file was read, raw limits.

    With several runs, the spread is that between the slowest and the fastest, as a part of the median.

    `real_sizes` gives the GiB that a scaled-down fixture stands for, by file name.
    """
    lines: list[str] = []
    switches = [record for record in records if is_switch(record)]
    skipped = [record for record in records if record["bench"] == "switch" and "skipped" in record]
    for storage in dict.fromkeys(record["storage"] for record in switches):
        if lines:
            lines.append("")
        here = [record for record in switches if record["storage"] == storage]
        lines += _block(storage, here, [r for r in records if r["bench"] == "limit"], real_sizes or {})
        lines += _skipped([record for record in skipped if record["storage"] == storage])
    measured = {record["storage"] for record in switches}
    rest = _skipped([record for record in skipped if record["storage"] not in measured])
    return lines + (["", *rest] if rest else [])


def is_switch(record: Record) -> bool:
    """Whether a record is of a switch that was measured."""
    return bool(record["bench"] == "switch" and "skipped" not in record)


def _skipped(records: Iterable[Record]) -> list[str]:
    return list(dict.fromkeys(f"not measured: {record['loader']}: {record['skipped']}" for record in records))


def align(rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """Rows as lines with aligned columns, the first `left` columns to the left, the others to the right."""
    table = [list(row) for row in rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [c.ljust(w) if n < left else c.rjust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines


def _block(storage: str, here: list[Record], limits: list[Record], real: Mapping[str, float]) -> list[str]:
    runs = len({record["run"] for record in here})
    lines: list[str] = []
    for which in ("first", "second"):
        found = [record for record in here if record["switch"] == which]
        title = f"{storage}, {which} switch" + (f", median of {runs} runs" if runs > 1 else "")
        loaders = list(dict.fromkeys(record["loader"] for record in found))
        for at in range(0, len(loaders), _LOADERS_BESIDE):
            group = loaders[at : at + _LOADERS_BESIDE]
            lines += [*align(_rows(title, [record for record in found if record["loader"] in group], real)), ""]
    for limit in (limit for limit in limits if limit["storage"] == storage):
        rate = limit["bytes_per_second"] / 1e6
        lines.append(f"raw limit in this run: {rate:,.0f} MB/s ({_LIMITS[limit['limit']]}, {limit['depth']} at once)")
    return lines + _notes(here)


def _rows(title: str, found: list[Record], real: Mapping[str, float]) -> list[list[str]]:
    """A heading, a row a model, and their sum."""
    loaders = list(dict.fromkeys(record["loader"] for record in found))
    sizes = {record["file"]: int(record["size"]) for record in found}
    many = len({record["run"] for record in found}) > 1
    heading = [title, *(["real GiB"] if real else []), "MiB"]
    for loader in loaders:
        heading += [f"{loader}: s", *(["spread"] if many else []), "MB/s", "reads"]
    rows = [heading]
    sums = {loader: [0.0, 0.0] for loader in loaders}
    for file, size in sizes.items():
        row = [file, *([f"{real[file]:.2f}" if file in real else "-"] if real else []), f"{size / (1 << 20):,.0f}"]
        for loader in loaders:
            own = [record for record in found if record["file"] == file and record["loader"] == loader]
            if not own:
                row += ["-"] * (4 if many else 3)
                continue
            times = [record["seconds"] for record in own]
            seconds = median(times)
            read = median(record["bytes_read"] for record in own)
            row += _cells(seconds, [f"{(max(times) - min(times)) / seconds:.0%}"] if many else [], read, size)
            sums[loader] = [sums[loader][0] + seconds, sums[loader][1] + read]
        rows.append(row)
    if len(sizes) > 1:
        total = sum(sizes.values())
        rows.append(
            ["all", *([f"{sum(real.get(file, 0) for file in sizes):.2f}"] if real else []), f"{total / (1 << 20):,.0f}"]
        )
        for seconds, read in sums.values():
            rows[-1] += _cells(seconds, [""] if many else [], read, total)
    return rows


def _cells(seconds: float, spread: list[str], read: float, size: int) -> list[str]:
    return [f"{seconds:.2f}", *spread, f"{size / 1e6 / seconds:,.0f}", f"{read / max(1, size):.2f}"]


def _notes(here: list[Record]) -> list[str]:
    """What a reader must know to trust the figures: whether cold was cold, memory, CPU."""
    cold = [record["cached_before"] for record in here if record["switch"] == "first"]
    if None in cold:
        proof = "first switches: no cache on this host; the server's own caches are as they were"
    elif max(cold):
        proof = f"first switches were NOT all cold: up to {max(cold):.0%} of a file was in the page cache"
    else:
        proof = "first switches began with no page of the file in the page cache (cachestat)"
    lines = [proof]
    for loader in dict.fromkeys(record["loader"] for record in here):
        own = [record for record in here if record["loader"] == loader]
        over = max(record["peak_bytes"] - record["size"] for record in own)
        cpu = sum(record["cpu_seconds"] for record in own) / sum(record["size"] for record in own) * GIB
        lines.append(f"{loader}: {cpu:.2f} CPU s per GiB; peak memory at most the model + {max(0, over) >> 20} MiB")
    return lines
