"""The tables of compared mounts, from records. Pure: returns lines and rows, prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from hoist.bench.comparison import markdown_table
from hoist.bench.table import Record, align
from hoist.bench.works import by_work

MIB = 1 << 20
HEADINGS = (
    "mount",
    "s",
    "spread",
    "MB/s",
    "files/s",
    "sent / read",
    "requests",
    "daemon CPU s/GiB",
    "daemon MiB",
    "reader CPU s/GiB",
)
_ORDER = ("first read", "second read", "second mmap", "load_file", "cold mmap", "small files", "8 at once")


@dataclass(frozen=True, slots=True)
class Figures:
    """One mount's runs of one work: medians. `rate` is in bytes a second of what was read, also where it was given up."""

    name: str
    about: str
    runs: int
    whole: bool
    seconds: float
    spread: float
    rate: float
    files_per_second: float
    size: int
    read_bytes: float
    files: float
    storage_bytes: float | None
    requests: float | None
    daemon_cpu: float | None
    daemon_peak: int | None
    reader_cpu: float | None
    rates: tuple[float, ...]

    @property
    def whole_seconds(self) -> float:
        """For all of it at its rate."""
        return self.size / self.rate if self.rate else float("inf")


def mount_figures(records: Iterable[Record]) -> dict[str, dict[str, Figures]]:
    """By work, then by mount."""
    found = by_work(records, "mount", _ORDER, "mount")
    return {work: {name: _figures(own) for name, own in mounts.items()} for work, mounts in found.items()}


def mount_line(record: Record) -> str:
    """One record in words."""
    if "skipped" in record:
        return f"{record['mount']}: not measured: {record['skipped']}"
    rate = record["bytes"] / record["seconds"] / 1e6
    asked = record["size"] * record.get("readers", 1)
    given_up = "" if record["whole"] else f", given up at {record['bytes'] / asked:.0%}"
    return f"{record['work']} {record['mount']}: {record['seconds']:.2f} s, {rate:,.0f} MB/s{given_up}"


def mount_tables(records: Sequence[Record]) -> list[str]:
    """The tables for a terminal."""
    lines: list[str] = []
    for work, figures in mount_figures(records).items():
        lines += [*([""] if lines else []), _title(work, figures), "", *align([HEADINGS, *_rows(figures)])]
    notes = _notes(records)
    return lines + (["", *notes] if notes else [])


def mount_markdown(records: Sequence[Record]) -> list[str]:
    """The same as Markdown."""
    lines: list[str] = []
    for work, figures in mount_figures(records).items():
        lines += [f"### Mounts: {_title(work, figures)}", "", *markdown_table(HEADINGS, _rows(figures)), ""]
    return lines + [f"- {note}" for note in _notes(records)]


def _figures(runs: Sequence[Record]) -> Figures:
    def middle(field: str) -> float | None:
        known = [r[field] for r in runs if r.get(field) is not None]
        return median(known) if known else None

    times, rates = [r["seconds"] for r in runs], [r["bytes"] / r["seconds"] for r in runs]
    # Of several readers each byte counts once for each.
    size = runs[0]["size"] * runs[0].get("readers", 1)
    peaks = [r["daemon_peak_bytes"] for r in runs if "daemon_peak_bytes" in r]
    return Figures(
        name=runs[0]["mount"],
        about=runs[0]["about"],
        runs=len(runs),
        whole=all(r["whole"] for r in runs),
        seconds=median(times),
        spread=(max(rates) - min(rates)) / median(rates) if median(rates) else 0.0,
        rate=median(rates),
        files_per_second=median(r.get("files_read", 1) / r["seconds"] for r in runs),
        size=size,
        read_bytes=median(r["bytes"] for r in runs),
        files=median(r.get("files_read", 1) for r in runs),
        storage_bytes=middle("storage_bytes"),
        requests=middle("storage_requests"),
        daemon_cpu=middle("daemon_cpu_seconds"),
        daemon_peak=max(peaks) if peaks else None,
        reader_cpu=middle("reader_cpu_seconds"),
        rates=tuple(rates),
    )


def _rows(figures: dict[str, Figures]) -> list[list[str]]:
    """A row a mount, fastest first."""
    rows = []
    for item in sorted(figures.values(), key=lambda item: -item.rate):
        gib = max(item.read_bytes, 1) / (1 << 30)
        rows.append(
            [
                item.name,
                f"{item.seconds:.2f}" if item.whole else f"> {item.seconds:.0f}",
                f"{item.spread:.0%}",
                f"{item.rate / 1e6:,.0f}",
                f"{item.files_per_second:,.0f}" if item.files > 1 else "-",
                "-" if item.storage_bytes is None else f"{item.storage_bytes / max(item.read_bytes, 1):.2f}",
                "-" if item.requests is None else f"{item.requests:,.0f}",
                "-" if item.daemon_cpu is None else f"{item.daemon_cpu / gib:.2f}",
                "-" if item.daemon_peak is None else f"{item.daemon_peak / MIB:,.0f}",
                "-" if item.reader_cpu is None else f"{item.reader_cpu / gib:.2f}",
            ]
        )
    return rows


def _title(work: str, figures: dict[str, Figures]) -> str:
    runs = max(item.runs for item in figures.values())
    size = max(item.size for item in figures.values()) / MIB
    return f"{work}, {size:,.0f} MiB, median of {runs}"


def _notes(records: Iterable[Record]) -> list[str]:
    own = [r for r in records if r["bench"] == "mount"]
    if not own:
        return []
    abouts = {r["mount"]: r["about"] for r in own if "skipped" not in r}
    notes = [f"{name}: {about}" for name, about in abouts.items()]
    # A cache has its own small files from the start; and what is on its way when a work ends is not counted yet.
    cold = all(r["kept_before"] < r["size"] / 100 for r in own if r.get("kept_before")) and all(
        r["storage_bytes"] >= 0.99 * r["bytes"]
        for r in own
        if r.get("work") in ("first read", "load_file") and "storage_bytes" in r and r["mount"] != "memory"
    )
    notes.append(
        "first reads began with a new mount that kept nothing, and the storage sent at least what was read"
        if cold
        else "NOT all first reads were cold"
    )
    skipped = {(r["mount"], ", ".join(r.get("works", ())), r["skipped"]) for r in own if "skipped" in r}
    notes += [f"not measured: {name}{f' ({works})' if works else ''}: {why}" for name, works, why in sorted(skipped)]
    return notes
