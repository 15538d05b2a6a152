"""The tables of herds, from records. Pure: returns lines and rows, prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from hoist.bench.comparison import markdown_table
from hoist.bench.herd_figures import Curve, Herd, herds
from hoist.bench.herd_model import show_rate
from hoist.bench.table import GIB, Record, align

_MIB = 1 << 20
_FIXED = ("storage", "instances", "p50 s", "p95 s", "slowest s", "ideal s", "x ideal", "slowest / p50")
_AFTER = ("origin GiB", "x models", "CPU s/GiB", "server CPU s/GiB", "busy")


def herd_line(record: Record) -> str:
    """One record in words."""
    if "skipped" in record:
        return f"{record['storage']}: not measured: {record['skipped']}"
    failed = f", {len(record['failures'])} failed: {record['failures'][0]}" if record["failures"] else ""
    slowest = f"{max(record['seconds']):.2f} s" if record["seconds"] else "none loaded"
    return f"{record['storage']} x {record['instances']}: {slowest}, ideal {record['ideal_seconds']:.2f} s{failed}"


def herd_tables(records: Sequence[Record]) -> list[str]:
    """The tables for a terminal."""
    lines: list[str] = []
    for herd in herds(records):
        lines += [*([""] if lines else []), _title(herd), "", *align([_headings(herd), *_rows(herd)])]
        lines += ["", *_notes(herd)]
    return lines + _skipped(records)


def herd_markdown(records: Sequence[Record]) -> list[str]:
    """The same as Markdown."""
    lines: list[str] = []
    for herd in herds(records):
        lines += [f"### {_title(herd)}", "", *markdown_table(_headings(herd), _rows(herd)), ""]
        lines += [*(f"- {note}" for note in _notes(herd)), ""]
    return lines + [f"- {line}" for line in _skipped(records)]


def _title(herd: Herd) -> str:
    runs = max(point.runs for curve in herd.curves.values() for point in curve.points.values())
    many = f", median of {runs} runs" if runs > 1 else ""
    return f"Herd: a model of {herd.model_size / GIB:.2f} GiB, loaded by many instances at once{many}"


def _headings(herd: Herd) -> list[str]:
    late = [f"late: {name}" for name in herd.deadlines]
    return [*_FIXED, *late, *_AFTER]


def _rows(herd: Herd) -> list[list[str]]:
    rows = []
    for curve in herd.curves.values():
        for point in curve.points.values():
            server = point.server_cpu_per_gib
            rows.append(
                [
                    curve.storage,
                    f"{point.instances}",
                    *(_seconds(value) for value in (point.p50, point.p95, point.slowest, point.ideal)),
                    _ratio(point.over_ideal),
                    _ratio(point.unfairness),
                    *(f"{late:g}" for late in point.late.values()),
                    f"{point.origin_bytes / GIB:.2f}",
                    f"{point.origin_bytes / herd.size:.2f}",
                    f"{point.instance_cpu_per_gib:.2f}",
                    "-" if server is None else f"{server:.2f}",
                    f"{point.busy:.0%}",
                ]
            )
    return rows


def _notes(herd: Herd) -> list[str]:
    """What a reader must know to read the figures: the model of the bandwidths, the scales, where curves cross."""
    deadlines = ", ".join(
        f"{name} {limit / herd.time_scale:.0f} s (here {limit:.1f} s)" for name, limit in herd.deadlines.items()
    )
    notes = [
        f"bandwidths are {herd.scale:g} of the full ones and {herd.size / _MIB:,.0f} MiB are moved: times here are "
        f"{herd.time_scale:.3f} of the full model's at the full bandwidths",
        f"deadlines: {deadlines}; of several instances each waits up to {herd.start_jitter:g} s before its first weights "
        f"(here {herd.start_jitter * herd.time_scale:.3f} s)",
        {
            "namespaces": "each server and instance is in a network namespace behind a shaped link (HTB)",
            "throttled": "NO shaped links: the instances share the storage's bandwidth by a wrapper around it",
        }[herd.how],
        *(_about(curve) for curve in herd.curves.values()),
    ]
    failed = sum(point.failed for curve in herd.curves.values() for point in curve.points.values())
    if failed:
        notes.append(f"{failed} instances did NOT load")
    notes += [f"{second} is never slower than {first} from {n} instances on" for first, second, n in herd.crossovers()]
    return notes


def _about(curve: Curve) -> str:
    rates, shaped = curve.rates, curve.shaped

    def both(name: str) -> str:
        return f"{show_rate(rates[name] or inf)} (here {show_rate(shaped[name] or inf)})"

    origin = f", its origin {both('origin')}" if rates.get("origin") else ""
    counted = "" if curve.origin_bytes_by == "link" else "; origin bytes are what the instances read"
    return f"{curve.storage}: {curve.server}; {both('storage')}{origin}, each instance {both('instance')}{counted}"


def _skipped(records: Iterable[Record]) -> list[str]:
    found = {(r["storage"], r["skipped"]) for r in records if r["bench"] == "herd" and "skipped" in r}
    return [f"not measured: {name}: {reason}" for name, reason in sorted(found)]


def _seconds(value: float) -> str:
    return "never" if value == inf else f"{value:.2f}"


def _ratio(value: float) -> str:
    return "-" if value == inf else f"{value:.2f}"
