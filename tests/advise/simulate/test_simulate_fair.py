"""Fair shares: the classes give what plain max-min gives flow by flow, and media end flows when small steps do."""

from __future__ import annotations

import random
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate_small_steps import Reader, Steps, max_min

from hoist.advise.simulate.fair import Queue, Shares
from hoist.advise.simulate.medium import Direct, Medium
from hoist.advise.simulate.read_cache import ReadCache

classes = st.lists(
    st.tuples(st.floats(0.1, 1e3) | st.just(inf), st.integers(0, 6)),
    min_size=1,
    max_size=6,
    unique_by=lambda each: each[0],
)


@settings(deadline=None)
@given(classes, st.floats(0.1, 1e4))
def test_rates_are_those_of_progressive_filling(given_classes: list[tuple[float, int]], capacity: float) -> None:
    shares = Shares(capacity)
    for cap, count in given_classes:
        shares.counts[shares.open(cap)] = count
    shares.plan()
    flows = [(number, cap) for number, (cap, count) in enumerate(given_classes) for _ in range(count)]
    plain = max_min([cap for _, cap in flows], [0] * len(flows), {0: inf}, capacity)
    assert [shares.rates[number] for number, _ in flows] == pytest.approx(plain, rel=1e-6)
    assert shares.total == pytest.approx(sum(plain), rel=1e-6)


@settings(deadline=None)
@given(classes, st.floats(0.1, 1e4))
def test_no_flow_could_have_more_without_taking_it_from_a_poorer_one(
    given_classes: list[tuple[float, int]], capacity: float
) -> None:
    shares = Shares(capacity)
    for cap, count in given_classes:
        shares.counts[shares.open(cap)] = count
    shares.plan()
    used = [number for number, count in enumerate(shares.counts) if count]
    assert shares.total <= capacity * (1 + 1e-9)
    for number in used:
        assert shares.rates[number] <= shares.caps[number] * (1 + 1e-9)
        if shares.rates[number] < shares.caps[number] * (1 - 1e-9):
            assert shares.total >= capacity * (1 - 1e-9)
            assert shares.rates[number] >= max(shares.rates[other] for other in used) * (1 - 1e-9)


def test_a_queue_forgets_who_was_dropped_and_keeps_order() -> None:
    queue = Queue()
    for flow, mark in enumerate((5.0, 1.0, 3.0, 3.0)):
        queue.add(flow, mark)
    assert queue.drop(1) == 1.0
    queue.add(1, 4.0)
    assert queue.first() == 3.0
    assert queue.take(4.0) == [2, 3, 1]
    assert queue.first() == 5.0
    assert queue.take(4.9) == []


def test_a_flow_that_left_a_class_is_not_taken_for_one_of_it_where_marks_are_equal() -> None:
    medium = Direct(100.0)
    medium.enter(0.0, 0, 50.0, 0, 10.0)
    medium.change(0.0, 0, 20.0)
    # One more in the first class, whose clock stands where that of the second does.
    medium.enter(0.0, 1, 80.0, 0, 10.0)
    assert medium.take(medium.due) == [0]
    assert medium.due == pytest.approx(8.0)
    assert medium.take(medium.due) == [1]


def play(medium: Medium, readers: list[Reader]) -> list[float]:
    """When each is done, by the events of a medium."""
    done = [inf] * len(readers)
    waiting = sorted(range(len(readers)), key=lambda n: readers[n].begin)
    while waiting or medium.due < inf:
        if waiting and readers[waiting[0]].begin <= medium.due:
            number = waiting.pop(0)
            each = readers[number]
            medium.enter(each.begin, number, each.size, each.model, each.cap)
        else:
            now = medium.due
            for number in medium.take(now):
                done[number] = now
    return done


@pytest.mark.parametrize("seed", range(12))
def test_a_storage_ends_its_flows_when_small_steps_do(seed: int) -> None:
    chance = random.Random(seed)
    caps = chance.sample([20.0, 35.0, 60.0, 90.0], 2)
    readers = [
        Reader(begin=chance.uniform(0, 8), size=chance.uniform(20, 200), cap=chance.choice(caps), host=n)
        for n in range(chance.randint(2, 12))
    ]
    step = 0.004
    done = play(Direct(100.0), readers)
    Steps(100.0).run(readers, step)
    assert done == pytest.approx([each.done for each in readers], abs=len(readers) * step)


@pytest.mark.parametrize("reads", [1.0, 2.0])
@pytest.mark.parametrize("seed", range(12))
def test_a_read_cache_ends_its_flows_when_small_steps_do(seed: int, reads: float) -> None:
    chance = random.Random(seed)
    sizes = {0: 120.0, 1: 200.0, 2: 60.0}
    caps = chance.sample([15.0, 40.0, 80.0], 2)
    readers = [
        Reader(begin=chance.uniform(0, 8), size=0, cap=chance.choice(caps), host=n, model=chance.randrange(3))
        for n in range(chance.randint(2, 12))
    ]
    # The fastest cap that occurs is what a front goes at: from the start, as in the steps.
    readers[0].cap, readers[0].begin = max(each.cap for each in readers), 0.0
    for each in readers:
        each.size = reads * sizes[each.model]
    step, origin = 0.004, chance.choice([20.0, 50.0, 300.0])
    medium = ReadCache(150.0, origin, [sizes[n] for n in range(3)])
    done = play(medium, readers)
    brought = Steps(150.0, origin=origin, sizes=sizes).run(readers, step)
    assert done == pytest.approx([each.done for each in readers], abs=2 * len(readers) * step)
    assert medium.origin_bytes == pytest.approx(sum(sizes[n] for n in {each.model for each in readers}))
    assert medium.origin_bytes == pytest.approx(brought)


def test_a_herd_through_a_read_cache_is_as_fast_as_one_copy_or_the_caches_link() -> None:
    for count, seconds in ((1, 2.0), (4, 2.0), (40, 4.0)):
        medium = ReadCache(1000.0, 50.0, [100.0])
        done = play(medium, [Reader(0.0, 100.0, 60.0) for _ in range(count)])
        assert max(done) == pytest.approx(seconds)
        assert medium.origin_bytes == pytest.approx(100.0)


def test_a_late_reader_catches_up_with_the_front_and_is_done_with_it() -> None:
    medium = ReadCache(1000.0, 10.0, [100.0])
    assert play(medium, [Reader(0.0, 100.0, 50.0), Reader(7.0, 100.0, 50.0)]) == pytest.approx([10.0, 10.0])


def test_who_waits_asleep_gets_what_came_meanwhile_when_it_wakes() -> None:
    medium = ReadCache(1000.0, 10.0, [100.0], look_again=3.0)
    # The first streams. The second wakes at 3, has caught up at 3.75, wakes at 6.75, has caught up at 7.5 with 75, and wakes
    # at 10.5: all is there, and the rest takes half a second.
    done = play(medium, [Reader(0.0, 100.0, 50.0), Reader(0.0, 100.0, 50.0)])
    assert done == pytest.approx([10.0, 11.0])
    assert medium.origin_bytes == pytest.approx(100.0)


def test_who_waits_asleep_gets_whole_slices() -> None:
    medium = ReadCache(1000.0, 10.0, [100.0], look_again=3.0, slice_size=20.0)
    # At 3 there are 30: it reads until it is within a slice of the front, 12.5 of 32.5 at 3.25. At 6.25 it reads until it
    # has 50 of 70, at 7; and at 10 all is there.
    done = play(medium, [Reader(0.0, 100.0, 50.0), Reader(0.0, 100.0, 50.0)])
    assert done == pytest.approx([10.0, 11.0])


def test_sleepers_go_on_when_the_one_who_streams_leaves() -> None:
    medium = ReadCache(1000.0, 10.0, [100.0], look_again=3.0)
    medium.enter(0.0, 0, 100.0, 0, 50.0)
    medium.enter(0.0, 1, 100.0, 0, 50.0)
    medium.enter(0.0, 2, 100.0, 0, 50.0)
    assert medium.leave(2.0, 0) == pytest.approx(80.0)
    done: dict[int, float] = {}
    while medium.due < inf:
        now = medium.due
        done |= dict.fromkeys(medium.take(now), now)
    # One of them streams from when it has caught up, and is done with the front.
    assert min(done.values()) == pytest.approx(10.0)
    assert max(done.values()) < 14.0
    assert medium.origin_bytes == pytest.approx(100.0)


def test_a_reader_that_has_a_part_already_is_as_far_as_that() -> None:
    medium = ReadCache(1000.0, 10.0, [100.0])
    # The front is at 50 when one comes that has 30: it catches up at 52, 0.4 seconds later, and goes on with it.
    readers = [Reader(0.0, 100.0, 10.0), Reader(5.0, 70.0, 60.0), Reader(5.0, 20.0, 60.0)]
    assert play(medium, readers) == pytest.approx([10.0, 10.0, 10.0])
    assert medium.origin_bytes == pytest.approx(100.0)


def test_a_read_cache_drops_what_was_read_least_recently() -> None:
    medium = ReadCache(1e6, 1e6, [100.0] * 3, room=200.0)
    order = [0, 1, 0, 2, 0, 1]
    play(medium, [Reader(float(n), 100.0, 1e6, model=model) for n, model in enumerate(order)])
    # 0 and 1 come; 2 drops 1, as 0 was read since; 1 comes again.
    assert medium.origin_bytes == pytest.approx(400.0)


def test_a_model_larger_than_the_cache_comes_for_each_who_does_not_wait_with_others() -> None:
    medium = ReadCache(1e6, 100.0, [100.0], room=50.0)
    play(medium, [Reader(0.0, 100.0, 1e6), Reader(0.5, 100.0, 1e6), Reader(5.0, 100.0, 1e6)])
    assert medium.origin_bytes == pytest.approx(200.0)


def test_a_reader_who_leaves_has_what_it_read_and_what_came_is_kept() -> None:
    medium = ReadCache(1e6, 10.0, [100.0])
    medium.enter(0.0, 0, 100.0, 0, 50.0)
    assert medium.leave(4.0, 0) == pytest.approx(60.0)
    assert medium.due == inf
    assert medium.origin_bytes == pytest.approx(40.0)
    medium.enter(20.0, 1, 100.0, 0, 50.0)
    while medium.due < inf:
        now = medium.due
        medium.take(now)
    # 40 are there; the other 60 come at 10 a second.
    assert now == pytest.approx(26.0)
    assert medium.origin_bytes == pytest.approx(100.0)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_bytes_are_conserved_whatever_flows_do(data: st.DataObject) -> None:
    cached = data.draw(st.booleans())
    sizes = [40.0, 90.0]
    medium: Medium = (
        ReadCache(
            70.0,
            25.0,
            sizes,
            data.draw(st.sampled_from([50.0, 1e9])),
            data.draw(st.sampled_from([0.0, 0.7])),
            data.draw(st.sampled_from([0.0, 9.0])),
        )
        if cached
        else Direct(70.0)
    )
    now, given_bytes, number = 0.0, 0.0, 0
    active: dict[int, float] = {}
    for _ in range(data.draw(st.integers(1, 25))):
        until = now + data.draw(st.floats(0, 3))
        while medium.due <= until:
            now = medium.due
            for flow in medium.take(now):
                given_bytes += active.pop(flow)
        now = until
        what = data.draw(st.sampled_from(["enter", "enter", "leave", "change"]))
        if what == "enter":
            model = data.draw(st.integers(0, 1))
            active[number] = sizes[model]
            medium.enter(now, number, sizes[model], model, data.draw(st.sampled_from([10.0, 20.0, 60.0])))
            number += 1
        elif active and what == "leave":
            flow = data.draw(st.sampled_from(sorted(active)))
            left = medium.leave(now, flow)
            assert 0 <= left <= active[flow] * (1 + 1e-9)
            given_bytes += active.pop(flow) - left
        elif active:
            medium.change(
                now, data.draw(st.sampled_from(sorted(active))), data.draw(st.sampled_from([10.0, 20.0, 60.0]))
            )
    while medium.due < inf:
        now = medium.due
        for flow in medium.take(now):
            given_bytes += active.pop(flow)
    assert not active
    curve = medium.curve
    ends = [*curve.times[1:], now]
    moved = sum(rate * (end - begin) for rate, begin, end in zip(curve.rates, curve.times, ends, strict=False))
    assert moved == pytest.approx(given_bytes, rel=1e-6, abs=1e-6)
    if not cached:
        assert medium.origin_bytes == pytest.approx(given_bytes, rel=1e-6, abs=1e-6)
    assert all(rate <= 70.0 * (1 + 1e-9) for rate in curve.rates)
