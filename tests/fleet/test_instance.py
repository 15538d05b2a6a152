"""What is known of an instance, and which node it goes to: pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoist.fleet.instance import FAILED, LOADED, LOADING, OVERDUE, STARTING, Instance, Spread, spread
from hoist.fleet.placement import MOSTLY, NodeState, place

LOADED_EVENT = {"event": "loaded", "seconds": 2.5, "phases": {"network": 0.5}, "size": 100, "fetched": 30}


def test_an_instance_tells_its_way() -> None:
    known = Instance(0, "here")
    assert (known.state, known.decided) == (STARTING, False)
    known = known.told({"event": "loading", "moved": 10, "total": 100})
    assert (known.state, known.moved_bytes, known.total_bytes) == (LOADING, 10, 100)
    known = known.told(LOADED_EVENT)
    assert (known.state, known.seconds, known.fetched_bytes, known.cached_bytes) == (LOADED, 2.5, 30, 70)
    assert known.told({"event": "failed", "error": "late"}) is known
    assert known.overdue(1.0) is known
    gone = known.failed("it was killed")
    assert (gone.state, gone.error, gone.seconds) == (FAILED, "it was killed", 2.5)


def test_what_went_wrong_first_is_what_is_told() -> None:
    late = Instance(0, "here").told({"event": "loading", "moved": 10, "total": 100}).overdue(120.0)
    assert (late.state, late.error) == (OVERDUE, "not loaded within 120 s (10 of 100 bytes)")
    assert late.failed("the process was killed by SIGKILL") is late
    assert late.told(LOADED_EVENT) is late
    failed = Instance(0, "here").told({"event": "failed", "error": "no such model"})
    assert failed.failed("the process ended with status 1").error == "no such model"
    assert Instance(0, "here").told({"event": "of a later version"}) == Instance(0, "here")


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_the_spread_is_of_times_there_are(times: list[float]) -> None:
    found = spread([Instance(n, "here", LOADED, seconds=at) for n, at in enumerate(times)] + [Instance(99, "here")])
    assert found.most == max(times)
    assert found.p50 in times
    assert found.p95 in times
    assert found.p50 is not None
    assert found.p95 is not None
    assert sum(at <= found.p50 for at in times) >= 0.5 * len(times)
    assert sum(at <= found.p95 for at in times) >= 0.95 * len(times)


def test_there_is_no_spread_of_nothing() -> None:
    assert spread([Instance(0, "here", FAILED)]) == Spread(None, None, None)


nodes = st.lists(
    st.builds(
        NodeState, st.text("abcdef", min_size=1, max_size=3), st.floats(0, 1), st.integers(1, 8), st.integers(0, 9)
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda node: node.name,
)


@given(nodes, st.integers(0, 60))
def test_instances_fill_those_that_hold_the_version_then_spread(given: list[NodeState], count: int) -> None:
    chosen = place(count, given)
    assert len(chosen) == count
    assert chosen == place(count, list(reversed(given))), "the order in which nodes are told of changes nothing"
    running = {node.name: node.running for node in given}
    by_name = {node.name: node for node in given}
    for name in chosen:
        node = by_name[name]
        free = [each for each in given if running[each.name] < each.slots]
        holding = [each for each in free if each.held_share >= MOSTLY]
        assert not free or node in free
        assert not holding or node in holding
        equal = holding or free or given
        assert all(running[name] / node.slots <= running[each.name] / each.slots for each in equal)
        running[name] += 1


def test_there_has_to_be_a_node() -> None:
    with pytest.raises(ValueError, match="no node"):
        place(1, [])
