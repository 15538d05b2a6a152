"""Bars under one time scale: where they begin and end, and what no span claims."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trace_making import START, SWITCH, TRACES

from hoist.function.trace import Span, Trace
from hoist.function.waterfall import UNMEASURED, bar, merged, moved, rows, show_ratio, show_time, ticks


def test_a_row_a_phase_in_the_order_of_time_and_what_is_left_over() -> None:
    found = {row.phase.name: row.pieces for row in rows(START)}
    assert list(found) == ["import", "network", "fetch", "transfer", "warmup", UNMEASURED]
    assert found["fetch"] == ((1.75, 5.75),)
    assert found[UNMEASURED] == ((6.0, 6.5),)
    assert {row.phase.name: row.pieces for row in rows(SWITCH)}["transfer"] == ((0.25, 0.5), (0.625, 1.0))


def test_what_hardly_took_time_is_no_row() -> None:
    nearly = replace(START, spans=(Span("fetch", 0, 1), Span("warmup", 1.0005, 2)))
    assert [row.phase.name for row in rows(nearly)] == ["fetch", "warmup"]
    assert rows(replace(START, spans=())) == ()


@settings(deadline=None)
@given(TRACES)
def test_the_rows_cover_the_whole_time(trace: Trace) -> None:
    found = rows(trace)
    pieces = merged(Span("fetch", begin, end) for row in found for begin, end in row.pieces)
    covered = sum(end - begin for begin, end in pieces)
    assert covered >= 0.98 * trace.seconds - 0.002
    for row in found:
        assert list(row.pieces) == sorted(row.pieces)
        assert all(before[1] <= after[0] for before, after in zip(row.pieces, row.pieces[1:], strict=False))


@pytest.mark.parametrize(
    ("pieces", "drawn", "plain"),
    [
        ([(0, 8)], "━━━━", "===="),
        ([(0, 4)], "━━", "=="),
        ([(2, 4)], " ━", " ="),
        ([(1, 4)], "╺━", "=="),
        ([(2, 5)], " ━╸", " =="),
        ([(0, 0.01), (7.99, 8)], "╸  ╺", "=  ="),
        ([(8, 8)], "   ╺", "   ="),
        ([], "", ""),
    ],
)
def test_bars_are_drawn_to_half_a_character(pieces: list[tuple[float, float]], drawn: str, plain: str) -> None:
    assert bar(pieces, 8, 4) == drawn
    assert bar(pieces, 8, 4, plain=True) == plain


@settings(deadline=None)
@given(TRACES, st.integers(1, 80))
def test_every_piece_is_seen_and_none_leaves_the_scale(trace: Trace, width: int) -> None:
    for row in rows(trace):
        drawn = bar(row.pieces, trace.seconds, width)
        assert 1 <= len(drawn) <= width
        assert set(drawn) <= set("━╸╺ ")


@pytest.mark.parametrize(
    ("seconds", "marks"),
    [
        (8, ["0", "2 s", "4 s", "6 s", "8 s"]),
        (1.36, ["0", "500 ms", "1 s"]),
        (0.004, ["0", "1 ms", "2 ms", "3 ms", "4 ms"]),
        (100, ["0", "20 s", "40 s", "60 s", "80 s", "100 s"]),
        (0, []),
    ],
)
def test_marks_are_round(seconds: float, marks: list[str]) -> None:
    assert [words for _, words in ticks(seconds)] == marks


@settings(deadline=None)
@given(st.floats(0, 1e300))
def test_marks_stay_on_the_scale(seconds: float) -> None:
    found = ticks(seconds)
    assert len(found) <= 6
    assert all(0 <= at <= seconds * (1 + 1e-9) for at, _ in found)
    if seconds >= 1e-9:
        assert len(found) >= 2


def test_figures_as_they_are_shown() -> None:
    assert [show_time(each) for each in (0, 0.0123, 9.999, 9.9996, 75)] == [
        "0.000 s",
        "0.012 s",
        "9.999 s",
        "10.0 s",
        "1 min 15 s",
    ]
    assert [show_ratio(each) for each in (None, 0.5, 99.99, 12345)] == ["-", "0.50 x", "99.99 x", "12,345 x"]
    assert [words for words, _ in moved(SWITCH)] == [
        *("fetched", "reused in host memory", "copied to the device", "reused on the device"),
    ]
    assert [words for words, _ in moved(START)] == ["fetched", "copied to the device"]
