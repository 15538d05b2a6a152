"""Waterfalls in the page: phases of one start as bars under one time scale, of traces and of predictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hoist.formatting import show_rate, show_size
from hoist.function.trace import DONE, Phase, Trace
from hoist.function.waterfall import Row, rows, show_time, ticks
from hoist.function.waterfall_html import COLOURS
from hoist.report.strings import Writer, known, safe

# From here on bars have no room for gaps between them.
_MANY = 20


def trace_section(trace: Trace, whole: float, writer: Writer, *, opened: bool) -> str:
    """One trace, folded or not, under the time scale `whole`."""
    kind = writer.html(known("waterfall", f"kind_{trace.kind}"))
    failed = "" if trace.outcome == DONE else f' <em class="bad">{writer.say(f"waterfall.{trace.outcome}")}</em>'
    error = f'<p class="error">{safe(trace.error)}</p>' if trace.error else ""
    return (
        f'<details class="trace"{" open" if opened else ""}><summary><span>{kind} {safe(trace.model)}{failed}</span>'
        f"<b>{show_time(trace.seconds)}</b></summary>{error}{waterfall(rows(trace), whole, writer)}</details>\n"
    )


def phase_rows(phases: Iterable[tuple[str, float]]) -> tuple[Row, ...]:
    """Phases that follow one another, with their seconds, as rows."""
    found, now = [], 0.0
    for name, seconds in phases:
        end = now + seconds
        found.append(Row(Phase(name, now, end, seconds, 0), ((now, end),)))
        now = end
    return tuple(found)


def waterfall(lines: Sequence[Row], whole: float, writer: Writer) -> str:
    """Rows of bars with their times, and their bytes where there are any."""
    moved = any(row.phase.bytes for row in lines)
    head = f'<th class="n">{writer.say("waterfall.bytes")}</th>' if moved else ""
    body = "".join(_row(row, whole, writer, moved=moved) for row in lines)
    return (
        f'<table class="waterfall"><thead><tr><th>{writer.say("waterfall.phase")}</th><th>{axis(whole)}</th>'
        f'<th class="n">{writer.say("waterfall.time")}</th>{head}</tr></thead><tbody>{body}</tbody></table>\n'
    )


def axis(whole: float) -> str:
    """Round marks along a time scale."""
    marks = "".join(f'<span style="left:{100 * at / whole:.2f}%">{words}</span>' for at, words in ticks(whole))
    return f'<div class="axis" aria-hidden="true">{marks}</div>'


def _row(row: Row, whole: float, writer: Writer, *, moved: bool) -> str:
    phase = row.phase
    colour = COLOURS.get(phase.name, "wait")
    bars = "".join(piece(begin, end, whole, colour) for begin, end in row.pieces)
    notes = "".join(f"<small>{safe(note)}</small>" for note in phase.notes)
    rate = f"<small>{show_rate(phase.bytes, phase.seconds)}</small>" if phase.bytes_per_second else ""
    size = f'<td class="n">{show_size(phase.bytes) if phase.bytes else ""}{rate}</td>' if moved else ""
    return (
        f'<tr><th scope="row">{writer.html(known("phase", phase.name))}</th>'
        f'<td><div class="bars">{bars}</div>{notes}</td><td class="n">{show_time(phase.seconds)}</td>{size}</tr>'
    )


def piece(begin: float, end: float, whole: float, colour: str) -> str:
    """A bar from one time to another."""
    left, width = (100 * each / whole if whole > 0 else 0.0 for each in (begin, end - begin))
    return f'<i class="{colour}" style="left:{left:.2f}%;width:{width:.2f}%"></i>'


def ends(label: str, seconds: Sequence[float], whole: float, colour: str) -> str:
    """When each of many instances was loaded: a thin bar each."""
    bars = "".join(f'<i style="width:{100 * each / whole:.2f}%"></i>' for each in sorted(seconds))
    many = ' class="many"' if len(seconds) > _MANY else ""
    last = f"{max(seconds):.1f} s" if seconds else ""
    bars = f'<div{many} style="--own:var(--{colour})">{bars}</div>'
    return f'<div class="ends"><span>{label}</span>{bars}<b>{last}</b></div>\n'
