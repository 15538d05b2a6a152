"""Two traces beside each other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from trace_making import GIB, START, SWITCH, TRACES

from hoist.function.compare import TOTAL, compare
from hoist.function.trace import PHASES, Trace


def test_each_phase_of_either_and_the_total() -> None:
    found = {each.name: each for each in compare(START, SWITCH)}
    assert list(found) == ["queue", "import", "network", "fetch", "transfer", "warmup", TOTAL]
    assert found["queue"].before is None
    assert found["queue"].ratio is None
    assert found["import"].after is None
    assert found["import"].ratio is None
    fetch = found["fetch"]
    assert fetch.before
    assert fetch.after
    assert (fetch.before.bytes, fetch.after.bytes) == (2 * GIB, GIB // 2)
    assert (fetch.ratio, fetch.bandwidth_ratio) == (0.125, 2.0)
    assert found["network"].bandwidth_ratio is None
    total = found[TOTAL]
    assert total.after
    assert (total.ratio, total.after.bytes) == (0.125, GIB // 2)


@settings(deadline=None)
@given(TRACES)
def test_a_trace_is_as_fast_as_itself(trace: Trace) -> None:
    *phases, total = compare(trace, trace)
    assert [each.name for each in phases] == [name for name in PHASES if name in {p.name for p in trace.phases}]
    for each in (*phases, total):
        assert each.before == each.after
        assert each.ratio in (None, 1.0)
        assert each.bandwidth_ratio in (None, 1.0)


@pytest.mark.parametrize("trace", [START, SWITCH])
def test_nothing_took_no_time_and_has_no_ratio(trace: Trace) -> None:
    (total,) = compare(replace(trace, spans=()), replace(trace, spans=()))
    assert total.ratio is None
