"""The tables of compared images, from records. Pure: returns lines and rows, prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from hoist.bench.comparison import markdown_table
from hoist.bench.table import GIB, Record, align
from hoist.bench.works import by_work

MIB = 1 << 20
OWN, RAW = "hoist", "raw"
HEADINGS = ("tool", "s", "spread", "MB/s", "of limit", "CPU s/GiB", "peak, MiB")
_TITLES = {
    "push": "push of an image of four files",
    "pull": "pull, verify and unpack an image of four files",
    "update": "one of four files changed in an image",
    "load": "load of one file by range out of an image",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """One tool's runs of one work: medians, and the most memory of all runs."""

    name: str
    about: str
    runs: int
    size: int
    seconds: float
    spread: float
    cpu: float | None
    peak: int | None
    by_run: Mapping[int, float]

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.size / self.seconds


Works = Mapping[str, Mapping[str, Figures]]


def image_figures(records: Iterable[Record]) -> dict[str, dict[str, Figures]]:
    """The works that are timed, then their tools."""
    found = by_work(records, "image", _TITLES, "tool")
    return {work: {name: _figures(own) for name, own in tools.items()} for work, tools in found.items()}


def limit_of(tools: Mapping[str, Figures]) -> Figures | None:
    """The raw limit of a work: the best of the ways in which it was measured."""
    raw = [item for name, item in tools.items() if name.startswith(RAW)]
    return min(raw, key=lambda item: item.seconds, default=None)


def image_line(record: Record) -> str:
    """One record in words."""
    name = f"{record['work']} {record['tool']}"
    if "skipped" in record:
        return f"{name}: not measured: {record['skipped']}"
    if "sent_bytes" in record:
        return f"{name}: {record['sent_bytes']:,} bytes sent, {record['received_bytes']:,} received"
    if record["work"] == "memory":
        return f"memory of {record['of']}, {record['size'] / MIB:,.0f} MiB: {record['peak_bytes'] / MIB:,.0f} MiB"
    return f"{name}: {record['seconds']:.2f} s, {record['size'] / record['seconds'] / 1e6:,.0f} MB/s"


def image_tables(records: Sequence[Record]) -> list[str]:
    """The tables for a terminal."""
    lines: list[str] = []
    for work, tools in image_figures(records).items():
        lines += [*([""] if lines else []), _title(work, tools), "", *align([HEADINGS, *_rows(tools)])]
    for rows in (moved_rows(records), memory_rows(records)):
        lines += ["", *align(rows)] if rows else []
    notes = _notes(records)
    return lines + (["", *notes] if notes else [])


def image_markdown(records: Sequence[Record]) -> list[str]:
    """The same as Markdown."""
    lines: list[str] = []
    for work, tools in image_figures(records).items():
        lines += [f"### Images: {_title(work, tools)}", "", *markdown_table(HEADINGS, _rows(tools)), ""]
    for title, rows in (("bytes moved", moved_rows(records)), ("memory", memory_rows(records))):
        lines += [f"### Images: {title}", "", *markdown_table(rows[0], rows[1:]), ""] if rows else []
    return lines + [f"- {note}" for note in _notes(records)]


def moved_rows(records: Iterable[Record]) -> list[list[str]]:
    """A heading and a row a work whose bytes were counted, if there are records of some."""
    titles = {"update bytes": "one of four files changed", "second": "the same model to a second repository"}
    found = [
        [titles[r["work"]], f"{r['size']:,}", f"{r['sent_bytes']:,}", f"{r['received_bytes']:,}"]
        for r in records
        if r["bench"] == "image" and "sent_bytes" in r
    ]
    return [["moved by Hoist", "bytes of the files", "sent", "received"], *found] if found else []


def memory_rows(records: Iterable[Record]) -> list[list[str]]:
    """A heading and a row a step whose memory was measured, if there are records of some."""
    found = [
        [f"{r['about']}, {r['size'] / MIB:,.0f} MiB", f"{r['peak_bytes'] / MIB:,.0f}", f"{r['seconds']:.2f}"]
        for r in records
        if r["bench"] == "image" and r["work"] == "memory"
    ]
    return [["memory of the whole process", "peak, MiB", "s"], *found] if found else []


def _figures(runs: Sequence[Record]) -> Figures:
    times = [r["seconds"] for r in runs]
    cpu = [r["cpu_seconds"] for r in runs if "cpu_seconds" in r]
    peaks = [r["peak_bytes"] for r in runs if "peak_bytes" in r]
    return Figures(
        name=runs[0]["tool"],
        about=runs[0]["about"],
        runs=len(runs),
        size=runs[0]["size"],
        seconds=median(times),
        spread=(max(times) - min(times)) / median(times),
        cpu=median(cpu) if cpu else None,
        peak=max(peaks) if peaks else None,
        by_run={r["run"]: r["seconds"] for r in runs},
    )


def _rows(tools: Mapping[str, Figures]) -> list[list[str]]:
    """A row a tool, fastest first."""
    limit = limit_of(tools)
    return [
        [
            item.name,
            f"{item.seconds:.2f}",
            f"{item.spread:.0%}",
            f"{item.rate / 1e6:,.0f}",
            f"{limit.seconds / item.seconds:.2f}" if limit else "-",
            "-" if item.cpu is None else f"{item.cpu / item.size * GIB:.2f}",
            "-" if item.peak is None else f"{item.peak / MIB:,.0f}",
        ]
        for item in sorted(tools.values(), key=lambda item: item.seconds)
    ]


def _title(work: str, tools: Mapping[str, Figures]) -> str:
    first = next(iter(tools.values()))
    runs = max(item.runs for item in tools.values())
    return f"{_TITLES[work]}, {first.size / MIB:,.0f} MiB, median of {runs}"


def _notes(records: Iterable[Record]) -> list[str]:
    own = [r for r in records if r["bench"] == "image"]
    skipped = {(r["tool"], r["work"], r["skipped"]) for r in own if "skipped" in r}
    timed = [r for r in own if r["work"] in _TITLES and "skipped" not in r]
    notes = list(dict.fromkeys(f"{r['work']}, {r['tool']}: {r['about']}" for r in timed))
    return notes + [f"not measured: {name} ({work}): {why}" for name, work, why in sorted(skipped)]
