"""The tables of compared loads, from records. Pure: returns lines, prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from hoist.bench.table import GIB, Record, align

_STATES = {
    "cold": "cold page cache",
    "warm": "warm page cache",
    "remote": "from the server",
    "publish": "published",
}
_BENCHES = ("load", "publish", "limit")
_LIMITS = {
    "direct": "disk by direct I/O",
    "cached": "page cache by plain reads",
    "get": "ranged GETs by recv_into",
    "put": "parallel PUTs of parts",
}


@dataclass(frozen=True, slots=True)
class Summary:
    """One loader's runs on one subject and state: medians; `spread` is the slowest less the fastest over the median."""

    name: str
    about: str
    runs: int
    seconds: float
    spread: float
    rate: float
    cpu_per_gib: float
    peak_over: int
    bytes_read: int | None
    disk_bytes: int
    verified: str
    cached: float | None
    by_run: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Case:
    """One subject in one state: what was measured there, and the raw limit beside it."""

    title: str
    format: str
    place: str
    public: bool
    state: str
    size: int
    summaries: tuple[Summary, ...]
    limit: float | None
    limit_name: str
    limit_depth: int | None
    limits: Mapping[int, float]
    skipped: tuple[tuple[str, str], ...]
    server: str | None

    def of(self, name: str) -> Summary | None:
        """One loader's summary."""
        return next((item for item in self.summaries if item.name == name), None)


def cases(records: Iterable[Record]) -> list[Case]:
    """The cases in their order in the records. Records of other benchmarks are passed over."""
    own = [record for record in records if record["bench"] in _BENCHES and ("state" in record or _skip(record))]
    keys = dict.fromkeys((r["location"], r["file"], r["state"]) for r in own if "state" in r)
    return [_case(own, *key) for key in keys]


def _skip(record: Record) -> bool:
    return record["bench"] in ("load", "publish") and "skipped" in record


def _case(records: Sequence[Record], location: str, file: str, state: str) -> Case:
    here = [r for r in records if (r["location"], r["file"]) == (location, file)]
    own = [r for r in here if r.get("state") == state]
    first = own[0]
    limits = [r for r in own if r["bench"] == "limit"]
    loads = [r for r in own if r["bench"] in ("load", "publish") and "skipped" not in r]
    skipped = {r["loader"]: r["skipped"] for r in here if _skip(r) and r.get("state", state) == state}
    names = dict.fromkeys(r["loader"] for r in loads)
    return Case(
        title=f"{location} {file}, {_STATES.get(state, state)}",
        format=first["format"],
        place=first["place"],
        public=first["public"],
        state=state,
        size=first["size"],
        summaries=tuple(summarize([r for r in loads if r["loader"] == name]) for name in names),
        limit=median(r["bytes_per_second"] for r in limits) if limits else None,
        limit_name=_LIMITS[limits[0]["limit"]] if limits else "",
        limit_depth=limits[-1]["depth"] if limits else None,
        limits={r["run"]: r["bytes_per_second"] for r in limits},
        skipped=tuple(skipped.items()),
        server=first.get("server"),
    )


def summarize(runs: Sequence[Record]) -> Summary:
    """The medians of one loader's runs."""
    times = [r["seconds"] for r in runs]
    seconds, size = median(times), runs[0]["size"]
    cached = [r["cached_before"] for r in runs if r.get("cached_before") is not None]
    read = [r["bytes_read"] for r in runs if r.get("bytes_read") is not None]
    return Summary(
        name=runs[0]["loader"],
        about=runs[0]["about"],
        runs=len(runs),
        seconds=seconds,
        spread=(max(times) - min(times)) / seconds,
        rate=size / seconds,
        cpu_per_gib=median(r["cpu_seconds"] for r in runs) / size * GIB,
        peak_over=max(r["peak_bytes"] for r in runs) - (0 if runs[0]["bench"] == "publish" else size),
        bytes_read=int(median(read)) if read else None,
        disk_bytes=int(median(r["disk_bytes"] for r in runs)),
        verified=runs[0]["verified"],
        cached=max(cached) if cached else None,
        by_run={r["run"]: r["seconds"] for r in runs},
    )


def headings(case: Case) -> list[str]:
    """The columns of `rows`."""
    peak = "peak, MiB" if case.state == "publish" else "peak - model, MiB"
    return ["loader", "s", "spread", "MB/s", "of limit", "CPU s/GiB", peak, "read / size", "verified"]


def rows(case: Case) -> list[list[str]]:
    """A row a loader, fastest first."""
    found = []
    for item in sorted(case.summaries, key=lambda item: item.seconds):
        found.append(
            [
                item.name,
                f"{item.seconds:.2f}",
                f"{item.spread:.0%}",
                f"{item.rate / 1e6:,.0f}",
                f"{item.rate / case.limit:.2f}" if case.limit else "-",
                f"{item.cpu_per_gib:.2f}",
                f"{item.peak_over >> 20:,}",
                f"{item.bytes_read / case.size:.2f}" if item.bytes_read is not None else "-",
                item.verified,
            ]
        )
    return found


def selection_rows(records: Iterable[Record]) -> list[list[str]]:
    """A heading and a row a selection of tensors, if there are records of some."""
    found = [
        [
            record["selection"],
            f"{record['tensors']:,}",
            f"{record['asked_bytes'] / (1 << 20):,.1f}",
            f"{record['read_bytes'] / (1 << 20):,.1f}",
            f"{record['read_bytes'] / record['asked_bytes']:.2f}",
            f"{record['requests']:,}",
            f"{record['seconds']:.2f}",
        ]
        for record in records
        if record["bench"] == "select"
    ]
    names = ["tensors asked by name", "tensors", "asked, MiB", "read, MiB", "read / asked", "requests", "s"]
    return [names, *found] if found else []


def small_file_rows(records: Iterable[Record]) -> list[list[str]]:
    """A heading and a row a step of publishing and pulling small files, if there are records of it."""
    found = [
        [
            f"{record['files']:,} files of {record['size'] // record['files'] / 1000:g} KB: {record['step']}",
            f"{record['requests']:,}" if "requests" in record else "",
            f"{record['seconds']:.2f}",
            f"{record['cpu_seconds']:.2f}",
            f"{record['peak_bytes'] / (1 << 20):,.0f}",
        ]
        for record in records
        if record["bench"] == "small-files"
    ]
    return [["small files", "reading requests", "s", "CPU s", "peak, MiB"], *found] if found else []


def load_tables(records: Sequence[Record]) -> list[str]:
    """The tables for a terminal."""
    lines: list[str] = []
    for case in cases(records):
        lines += [
            *([""] if lines else []),
            _heading(case),
            "",
            *align([headings(case), *rows(case)]),
            "",
            *_notes(case),
        ]
    for table in (selection_rows(records), small_file_rows(records)):
        lines += ["", *align(table)] if table else []
    return lines


def load_markdown(records: Sequence[Record]) -> list[str]:
    """The same as Markdown."""
    lines: list[str] = []
    for case in cases(records):
        lines += [f"### {_heading(case)}", "", *markdown_table(headings(case), rows(case)), ""]
        lines += [f"- {note}" for note in _notes(case)]
        lines += [""]
    selected = selection_rows(records)
    if selected:
        lines += ["### Some tensors out of a large file", "", *markdown_table(selected[0], selected[1:]), ""]
    small = small_file_rows(records)
    if small:
        lines += ["### Many small files", "", *markdown_table(small[0], small[1:]), ""]
    return lines


def markdown_table(headings: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, the first column to the left, the others to the right."""
    line = ["|" + "|".join([" " + heading + " " for heading in headings]) + "|"]
    line.append("|" + "|".join(["---", *["---:"] * (len(headings) - 1)]) + "|")
    return line + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in body]


def _heading(case: Case) -> str:
    runs = max((item.runs for item in case.summaries), default=0)
    return f"{case.title}, {case.size / (1 << 20):,.0f} MiB, median of {runs}"


def _notes(case: Case) -> list[str]:
    notes = []
    if case.limit:
        notes.append(
            f"raw limit in this run: {case.limit / 1e6:,.0f} MB/s ({case.limit_name}, {case.limit_depth} at once)"
        )
    cached = [item.cached for item in case.summaries if item.cached is not None]
    if case.state == "cold" and cached:
        worst = max(cached)
        notes.append(
            f"NOT all cold: up to {worst:.0%} of the file was in the page cache"
            if worst
            else "each load began with no page of the file in the page cache (cachestat)"
        )
    reasons: dict[str, list[str]] = {}
    for name, reason in case.skipped:
        reasons.setdefault(reason, []).append(name)
    return notes + [f"not measured: {', '.join(names)}: {reason}" for reason, names in reasons.items()]
