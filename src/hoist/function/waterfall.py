"""A trace as rows of bars under one time scale: what the terminal and the page draw. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hoist.formatting import show_seconds
from hoist.function.trace import Phase, Span, Trace

UNMEASURED = "unmeasured"
"""The row of what no span claims."""
# What rounding, and a line of code between two phases, leave over.
_LEAST_SHARE, _LEAST_SECONDS = 0.01, 0.001
_MOST_TICKS, _LEAST_SCALE = 5, 1e-9
_FULL, _LEFT_HALF, _RIGHT_HALF, _PLAIN = "━", "╸", "╺", "="

Piece = tuple[float, float]
"""From when to when, in seconds from the trace's beginning."""


@dataclass(frozen=True, slots=True)
class Row:
    """One phase and the pieces of time in which it ran, in order and apart."""

    phase: Phase
    pieces: tuple[Piece, ...]


def rows(trace: Trace) -> tuple[Row, ...]:
    """A row a phase, as they first began; last what no span claims, if that is more than a hundredth of the whole."""
    found = [Row(phase, merged(span for span in trace.spans if span.phase == phase.name)) for phase in trace.phases]
    gaps = _gaps(merged(trace.spans))
    seconds = sum(end - begin for begin, end in gaps)
    if seconds > max(_LEAST_SECONDS, _LEAST_SHARE * trace.seconds):
        found.append(Row(Phase(UNMEASURED, gaps[0][0], gaps[-1][1], seconds, 0), gaps))
    return tuple(found)


def merged(spans: Iterable[Span]) -> tuple[Piece, ...]:
    """When at least one of these spans runs."""
    found: list[Piece] = []
    for span in sorted(spans, key=lambda span: (span.begin, span.end)):
        if found and span.begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], span.end))
        else:
            found.append((span.begin, span.end))
    return tuple(found)


def _gaps(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    ends = [0.0, *(end for _, end in pieces)]
    return tuple((end, begin) for end, (begin, _) in zip(ends, pieces, strict=False) if begin > end)


def bar(pieces: Sequence[Piece], whole_seconds: float, width: int, *, plain: bool = False) -> str:
    """The pieces on a line of `width` characters, to half a character; `plain`: in ASCII. Every piece is seen."""
    halves = [False] * (2 * width)
    for begin, end in pieces:
        left, right = ((at / whole_seconds if whole_seconds > 0 else 0.0) * 2 * width for at in (begin, end))
        first = min(int(left), 2 * width - 1)
        last = max(first + 1, min(round(right), 2 * width))
        halves[first:last] = [True] * (last - first)
    cells = zip(halves[::2], halves[1::2], strict=True)
    if plain:
        return "".join(_PLAIN if any(cell) else " " for cell in cells).rstrip()
    drawn = {(True, True): _FULL, (True, False): _LEFT_HALF, (False, True): _RIGHT_HALF, (False, False): " "}
    return "".join(drawn[cell] for cell in cells).rstrip()


def show_time(seconds: float) -> str:
    """A phase's time: to the millisecond where it is short."""
    return f"{seconds:.3f} s" if seconds < 9.9995 else show_seconds(max(10.0, seconds))


def ticks(whole_seconds: float) -> tuple[tuple[float, str], ...]:
    """Round marks from 0 on, three to six for a time scale, with what stands there: `(0.5, "500 ms")`."""
    if whole_seconds < _LEAST_SCALE:
        return ()
    power = 10.0 ** math.floor(math.log10(whole_seconds / _MOST_TICKS))
    step = next((each * power for each in (1, 2, 5) if whole_seconds / (each * power) <= _MOST_TICKS), 10 * power)
    return tuple((n * step, _mark(n * step)) for n in range(int(whole_seconds / step) + 1))


def _mark(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{1000 * seconds:g} ms" if seconds else "0"


def show_ratio(ratio: float | None) -> str:
    """`1.25 x`; a dash where there is none."""
    return "-" if ratio is None else f"{ratio:.2f} x" if ratio < 99.995 else f"{ratio:,.0f} x"


def moved(trace: Trace) -> tuple[tuple[str, int], ...]:
    """What became of the model's bytes, in words: each way that there was, with its bytes."""
    said = (
        ("fetched", trace.fetched_bytes),
        ("reused in host memory", trace.host_reused_bytes),
        ("copied to the device", trace.device_copied_bytes),
        ("reused on the device", trace.device_reused_bytes),
    )
    return tuple((words, count) for words, count in said if count)
