"""When instances are asked for: schedules, Poisson, traces; and what a scale-out limit makes of them."""

from __future__ import annotations

from array import array
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoist.advise.simulate import Poisson, ScaleOut, Schedule
from hoist.advise.simulate.arrivals import parse_trace
from hoist.errors import InvalidFile


def test_a_schedule_spreads_each_step_over_its_time() -> None:
    schedule = Schedule(((10.0, 2, 0.0), (0.0, 4, 8.0)))
    assert list(schedule.times(Random(0))) == [0, 2, 4, 6, 10, 10]


def test_poisson_arrivals_are_as_many_as_their_rate_says_and_their_gaps_memoryless() -> None:
    times = Poisson(5.0, 2000.0).times(Random(1))
    assert len(times) == pytest.approx(10_000, rel=0.05)
    gaps = [b - a for a, b in pairwise(times)]
    assert sum(gap > 0.2 for gap in gaps) / len(gaps) == pytest.approx(0.3679, abs=0.02)
    exact = Poisson.of(1234, 60.0).times(Random(1))
    assert len(exact) == 1234 and list(exact) == sorted(exact) and exact[-1] < 60


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=60),
    st.integers(1, 10),
    st.floats(0.1, 10),
)
def test_a_scale_out_lets_no_more_through_than_its_bucket_has(asked: list[float], burst: int, rate: float) -> None:
    times = array("d", sorted(asked))
    starts = ScaleOut(burst, rate).starts(times)
    assert list(starts) == sorted(starts)
    assert all(start >= at for at, start in zip(times, starts, strict=True))
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            through = last - first + 1
            assert through <= burst + rate * (starts[last] - starts[first]) + 1e-6
    # Nobody waits without need: by counting tokens, one by one.
    tokens, now = float(burst), 0.0
    for at, start in zip(times, starts, strict=True):
        moment = max(at, now)
        tokens = min(burst, tokens + rate * (moment - now))
        now = moment
        if tokens < 1:
            now += (1 - tokens) / rate
            tokens = 1.0
        tokens -= 1
        assert start == pytest.approx(now, abs=1e-6)


def test_a_trace_has_seconds_and_perhaps_models() -> None:
    text = "seconds,model\n# recorded\n3.5,b\n\n1, a\n2,b\n"
    trace = parse_trace(text, ["a", "b"], "trace.csv")
    assert list(trace.times(Random(0))) == [1, 2, 3.5]
    assert list(trace.models() or []) == [0, 1, 1]
    plain = parse_trace("5\n4\n", [], "trace.csv")
    assert list(plain.times(Random(0))) == [4, 5] and plain.models() is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1\nsoon\n", "line 2: 'soon'"),
        ("-1\n", "line 1: a time"),
        ("nan\n1\n", "1"),
        ("1\ninf\n", "line 2: a time"),
        ("1,c\n", "no model 'c'; there are a, b"),
        ("1,a\n2\n", "on each line, or on none"),
        ("", "no arrivals"),
        ("seconds\n", "no arrivals"),
    ],
)
def test_a_trace_that_is_none_is_refused_with_the_line(text: str, says: str) -> None:
    if text.startswith("nan"):
        with pytest.raises(InvalidFile):
            parse_trace(text, ["a", "b"], "trace.csv")
        return
    with pytest.raises(InvalidFile, match=says):
        parse_trace(text, ["a", "b"], "trace.csv")
