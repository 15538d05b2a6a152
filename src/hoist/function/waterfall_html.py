"""Traces as one page that needs nothing else: no script, no network; light and dark; wide or on a phone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape

from hoist.formatting import printable, short_digest, show_rate, show_size
from hoist.function.compare import TOTAL, Compared, compare
from hoist.function.trace import DONE, Phase, Trace
from hoist.function.waterfall import Row, rows, show_ratio, show_time, ticks
from hoist.function.waterfall_style import STYLE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
# What a bar stands for decides its colour: waiting, making ready, bytes coming in, bytes going on, the rest.
COLOURS = {
    **dict.fromkeys(("queue", "provision", "evict", "unmeasured"), "wait"),
    **dict.fromkeys(("import", "network", "mount"), "ready"),
    **dict.fromkeys(("fetch", "verify"), "fetch"),
    **dict.fromkeys(("deserialize", "transfer"), "move"),
    "warmup": "warm",
}


def waterfall_page(traces: Sequence[Trace], title: str = "Hoist: traces") -> str:
    """The page of these traces, the last first; all under one time scale each."""
    shown = list(enumerate(traces, 1))[::-1]
    parts = [_section(trace, f"{number}", trace.seconds, number == len(traces)) for number, trace in shown]
    if len(traces) > 1:
        parts.insert(0, _overview(traces))
    return _page(title, "".join(parts) or "<p>No trace yet.</p>")


def comparison_page(before: Trace, after: Trace, names: tuple[str, str]) -> str:
    """The page of two traces beside each other, under one time scale; `names` tell them apart."""
    whole = max(before.seconds, after.seconds)
    sections = [
        _section(trace, f"{number}", whole, True, name)
        for number, (trace, name) in enumerate(((before, f"before: {names[0]}"), (after, f"after: {names[1]}")), 1)
    ]
    table = _compared(compare(before, after))
    return _page("Hoist: two traces", f"{table}{''.join(sections)}")


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{_text(title)}</h1>\n{body}</main>\n</body>\n</html>\n"
    )


def _text(text: str) -> str:
    """Text of a trace in the page: whoever names a model writes no markup, and a page is always UTF-8."""
    return escape(printable(text).encode("utf-8", "backslashreplace").decode())


def _overview(traces: Sequence[Trace]) -> str:
    most = max(trace.seconds for trace in traces)
    lines = "".join(
        f'<tr><td class="number">{number}</td><td><a href="#t{number}">{_text(f"{trace.kind} {trace.model}")}</a>'
        f"{_outcome(trace)}</td><td>{_bar(0, trace.seconds, most, 'total')}</td>"
        f'<td class="number">{show_time(trace.seconds)}</td>'
        f'<td class="number">{show_size(trace.fetched_bytes)}</td></tr>\n'
        for number, trace in reversed(list(enumerate(traces, 1)))
    )
    return (
        '<section><table class="list"><thead><tr><th class="number">#</th><th>what</th><th></th>'
        f'<th class="number">time</th><th class="number">fetched</th></tr></thead>'
        f"<tbody>\n{lines}</tbody></table></section>\n"
    )


def _section(trace: Trace, number: str, whole: float, opened: bool, name: str = "") -> str:
    title = f"{_text(f'{trace.kind} {trace.model}')}{_outcome(trace)}"
    named = f'<span class="name">{_text(name)}</span>' if name else ""
    error = f'<p class="error">{_text(trace.error)}</p>' if trace.error else ""
    return (
        f"<section><details{' open' if opened else ''}><summary><h2>{named}{title}</h2>"
        # A link to what lies inside opens it.
        f'<span class="big">{show_time(trace.seconds)}</span></summary>\n<div id="t{number}">{error}'
        f"{_waterfall(trace, whole)}{_bytes(trace)}{_facts(trace)}</div></details></section>\n"
    )


def _outcome(trace: Trace) -> str:
    return "" if trace.outcome == DONE else f' <span class="bad">{trace.outcome}</span>'


def _waterfall(trace: Trace, whole: float) -> str:
    marks = "".join(f'<span style="left:{100 * at / whole:.3f}%">{words}</span>' for at, words in ticks(whole))
    body = "".join(_row(row, whole) for row in rows(trace))
    return (
        '<table class="waterfall"><thead><tr><th>phase</th>'
        f'<th><div class="axis" aria-hidden="true">{marks}</div></th>'
        '<th class="number">time</th><th class="number">bytes</th><th class="number">bandwidth</th></tr></thead>'
        f"<tbody>\n{body}</tbody></table>\n"
    )


def _row(row: Row, whole: float) -> str:
    phase = row.phase
    bars = "".join(_piece(begin, end, whole, COLOURS.get(phase.name, "wait")) for begin, end in row.pieces)
    notes = "".join(f"<small>{_text(note)}</small>" for note in phase.notes)
    size = show_size(phase.bytes) if phase.bytes else ""
    rate = show_rate(phase.bytes, phase.seconds) if phase.bytes_per_second else ""
    return (
        f'<tr><th scope="row">{phase.name}</th><td class="track"><div class="bars">{bars}</div>{notes}</td>'
        f'<td class="number">{show_time(phase.seconds)}</td><td class="number">{size}</td>'
        f'<td class="number">{rate}</td></tr>\n'
    )


def _piece(begin: float, end: float, whole: float, colour: str) -> str:
    left, width = (100 * each / whole if whole > 0 else 0.0 for each in (begin, end - begin))
    said = f"{show_time(begin)} to {show_time(end)}"
    return f'<i class="{colour}" style="left:{left:.3f}%;width:{width:.3f}%" title="{said}"></i>'


def _bar(begin: float, end: float, whole: float, colour: str) -> str:
    return f'<div class="bars">{_piece(begin, end, whole, colour)}</div>'


def _bytes(trace: Trace) -> str:
    """Where the model's bytes came from, a line for host memory and one for the device."""
    lines = (
        ("host memory", (("fetched", trace.fetched_bytes, "fetch"), ("reused", trace.host_reused_bytes, "kept"))),
        (
            f"device {trace.device}",
            (("copied", trace.device_copied_bytes, "move"), ("reused", trace.device_reused_bytes, "kept")),
        ),
    )
    return "".join(_shares(place, shares) for place, shares in lines if any(count for _, count, _ in shares))


def _shares(place: str, shares: tuple[tuple[str, int, str], ...]) -> str:
    total = sum(count for _, count, _ in shares)
    bars = "".join(
        f'<i class="{colour}" style="width:{100 * count / total:.3f}%"></i>' for _, count, colour in shares if count
    )
    words = "".join(
        f'<span><em class="{colour}"></em>{word} {show_size(count)}, {100 * count / total:.0f}%</span>'
        for word, count, colour in shares
        if count
    )
    return (
        f'<div class="shares"><span class="place">{_text(place)}</span><div class="stack">{bars}</div>'
        f'<div class="legend">{words}</div></div>\n'
    )


def _facts(trace: Trace) -> str:
    facts = (
        ("version", short_digest(trace.version)),
        ("storage", trace.storage_kind),
        ("device", trace.device),
        ("size", show_size(trace.size_bytes) if trace.size_bytes else ""),
        ("began", _date(trace.began)),
        ("trace", trace.id),
    )
    return f"<dl>{''.join(f'<div><dt>{k}</dt><dd>{_text(v)}</dd></div>' for k, v in facts if v)}</dl>"


def _date(began: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(began))
    except (OverflowError, ValueError, OSError):
        return f"{began:g} s"


def _compared(found: Sequence[Compared]) -> str:
    lines = "".join(
        f'<tr{" class=total" if each.name == TOTAL else ""}><th scope="row">{each.name}</th>'
        f"{_half(each.before)}{_half(each.after)}"
        f'<td class="number ratio">{show_ratio(each.ratio)}</td></tr>\n'
        for each in found
    )
    return (
        '<section><table class="compared"><thead><tr><th>phase</th><th class="number">before</th>'
        '<th class="number">after</th><th class="number">ratio</th></tr></thead>'
        f"<tbody>\n{lines}</tbody></table></section>\n"
    )


def _half(phase: Phase | None) -> str:
    if phase is None:
        return '<td class="number">-</td>'
    moved = f"<small>{show_size(phase.bytes)}, {show_rate(phase.bytes, phase.seconds)}</small>" if phase.bytes else ""
    return f'<td class="number">{show_time(phase.seconds)}{moved}</td>'
