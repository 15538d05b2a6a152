"""Fleets: phases, deadlines, hosts, scale-out; what must hold whatever is given; the same outcome for the same seed."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate_small_steps import Reader, Steps

from hoist.advise.performance import Performance
from hoist.advise.simulate import (
    Arrivals,
    Burst,
    Model,
    Outcome,
    Poisson,
    ScaleOut,
    Schedule,
    SimulationInput,
    Trace,
    simulate,
)
from hoist.errors import UsageError

OSS = Performance(
    kind="oss",
    setup_seconds=2.0,
    instance_rate=inf,
    total_rate=1000.0,
    origin_rate=None,
    reads=1.0,
    page_cache=False,
    rest_seconds=3.0,
    jitter=0.0,
)
ACCL = replace(OSS, kind="accl", origin_rate=100.0)


def fleet(storage: Performance = OSS, arrivals: Arrivals | None = None, **more: object) -> SimulationInput:
    values: dict[str, object] = {"models": (Model(1000.0),), "links": ((100.0, 1.0),)} | more
    return SimulationInput(storage, arrivals or Burst(1), **values)  # type: ignore[arg-type]


def mean_phases(outcome: Outcome) -> dict[str, float]:
    return {name: each.mean for name, each in outcome.phases.items() if each.mean > 1e-9}


def test_the_phases_of_one_instance() -> None:
    outcome = simulate(fleet(provision=4.0))
    assert mean_phases(outcome) == pytest.approx({"provision": 4, "setup": 2, "fetch": 10, "rest": 3})
    assert outcome.total.p50 == pytest.approx(19)
    # Paid for from when it is there.
    assert outcome.usage.gpu_seconds == pytest.approx(15)
    assert outcome.usage.origin_bytes == outcome.usage.storage_bytes == 1000


def test_many_share_the_storage_and_few_their_own_links() -> None:
    assert simulate(fleet(arrivals=Burst(10))).total.most == pytest.approx(2 + 10 + 3)
    assert simulate(fleet(arrivals=Burst(50))).total.most == pytest.approx(2 + 50 + 3)


def test_a_second_read_is_the_media_or_the_memory_of_the_page_cache() -> None:
    twice = replace(OSS, reads=2.0)
    assert mean_phases(simulate(fleet(twice)))["fetch"] == pytest.approx(20)
    cached = simulate(fleet(replace(twice, page_cache=True), memory_rate=500.0))
    assert mean_phases(cached) == pytest.approx({"setup": 2, "fetch": 10, "rest": 2 + 3})
    assert simulate(fleet(twice, host_cache=True, memory_rate=500.0)).total.p50 == cached.total.p50


def test_instances_of_a_host_bring_a_model_once() -> None:
    outcome = simulate(fleet(arrivals=Burst(8), instances_per_host=4, host_cache=True, memory_rate=inf))
    assert outcome.usage.storage_bytes == 2000
    assert outcome.total.most == pytest.approx(2 + 10 + 3)
    assert outcome.phases["wait"].most == pytest.approx(10)
    assert simulate(fleet(arrivals=Burst(8), instances_per_host=4)).usage.storage_bytes == 8000


def test_hosts_that_last_have_the_model_for_who_comes_later() -> None:
    later = Schedule(((0.0, 2, 0.0), (100.0, 6, 0.0)))
    outcome = simulate(fleet(arrivals=later, hosts=2, host_cache=True))
    assert outcome.usage.storage_bytes == 2000
    models = (Model(1000.0), Model(1000.0))
    asked = Trace(tuple(100.0 * n for n in range(6)), (0, 1, 0, 1, 0, 1))
    small = fleet(arrivals=asked, models=models, hosts=1, host_cache=True, host_cache_size=1500.0)
    assert simulate(small).usage.storage_bytes == 6000
    assert simulate(replace(small, host_cache_size=2000.0)).usage.storage_bytes == 2000


def test_the_link_of_a_host_is_shared_by_its_instances() -> None:
    outcome = simulate(fleet(arrivals=Burst(4), instances_per_host=2, host_link=120.0))
    assert outcome.total.most == pytest.approx(2 + 2000 / 120 + 3)
    # Alone it has the link, and then no more than its own.
    apart = simulate(fleet(arrivals=Trace((0.0, 50.0)), instances_per_host=2, host_link=120.0))
    assert apart.total.most == pytest.approx(2 + 10 + 3)


def test_an_accelerators_origin_gives_each_byte_once() -> None:
    outcome = simulate(fleet(ACCL, Burst(5)))
    assert outcome.usage.origin_bytes == pytest.approx(1000)
    assert outcome.usage.storage_bytes == 5000
    assert outcome.total.most == pytest.approx(2 + 10 + 3)


def test_a_scale_out_gives_its_burst_at_once_and_then_its_rate() -> None:
    queue = simulate(fleet(arrivals=Burst(10), scale_out=ScaleOut(burst=4, rate=2.0))).times
    starts = sorted(queue.started)
    assert starts == pytest.approx([0, 0, 0, 0, 0.5, 1, 1.5, 2, 2.5, 3])
    # After a rest the burst is there again.
    later = ScaleOut(burst=3, rate=1.0).starts(Schedule(((0.0, 3, 0.0), (10.0, 4, 0.0))).times(Random(0)))
    assert list(later) == pytest.approx([0, 0, 0, 10, 10, 10, 11])


def test_places_are_free_again_when_instances_have_lived() -> None:
    outcome = simulate(fleet(arrivals=Burst(5), scale_out=ScaleOut(most=2, lifetime=5.0)))
    assert sorted(outcome.times.started) == pytest.approx([0, 0, 20, 20, 40])
    for_ever = simulate(fleet(arrivals=Burst(5), scale_out=ScaleOut(most=2)))
    assert sum(at < inf for at in for_ever.times.loaded) == 2


def test_one_over_the_deadline_is_started_again_and_then_given_up() -> None:
    slow = fleet(arrivals=Burst(50), deadline=30.0, retries=2, retry_wait=4.0)
    outcome = simulate(slow)
    assert outcome.failed == outcome.usage.instances == 50
    assert outcome.lost_starts == outcome.usage.starts == 150
    assert outcome.usage.gpu_seconds == pytest.approx(150 * 30)
    assert outcome.total.most == inf and outcome.phases == {}
    assert outcome.late(1e9) == 50
    # Nobody has more than was given in its time.
    assert outcome.usage.storage_bytes <= 1000.0 * outcome.usage.seconds
    some = simulate(replace(slow, arrivals=Schedule(((0.0, 50, 0.0), (200.0, 1, 0.0)))))
    assert some.failed == 50
    assert some.phases["fetch"].count == 1


def test_who_tries_again_can_get_through_and_its_lost_time_is_told() -> None:
    # 30 at once have 26.7 of the 30 seconds they need; tried again at different times, some come through.
    outcome = simulate(fleet(arrivals=Burst(30), deadline=30.0, retries=20, retry_wait=60.0))
    assert outcome.failed < 30 and outcome.lost_starts >= 30
    parts = sum(each.mean for each in outcome.phases.values())
    loaded = [b - a for a, b in zip(outcome.times.asked, outcome.times.loaded, strict=True) if b < inf]
    assert parts == pytest.approx(sum(loaded) / len(loaded))
    assert outcome.phases["lost"].mean > 30


def test_what_a_host_has_of_a_model_is_not_brought_again_when_its_leader_is_late() -> None:
    late = fleet(arrivals=Trace((0.0, 4.0)), instances_per_host=2, host_cache=True, deadline=9.0)
    # The first is ended at 9 with 300 missing; the second goes on from there: 12, and 3 more, are over its deadline of 13.
    outcome = simulate(late)
    assert outcome.usage.storage_bytes == pytest.approx(1000)
    assert outcome.failed == 2
    # At 11.5 it misses 50, so the second has loaded at 15.
    outcome = simulate(replace(late, deadline=11.5))
    assert outcome.failed == 1
    assert outcome.times.loaded[1] == pytest.approx(15)


def test_links_differ_and_slow_ones_do_not_hold_up_fast_ones() -> None:
    outcome = simulate(fleet(arrivals=Burst(40), links=((50.0, 1.0), (10.0, 1.0))))
    loaded = sorted(outcome.times.loaded)
    slow = sum(each == pytest.approx(2 + 100 + 3) for each in loaded)
    assert 0 < slow < 40
    # The fast ones share what the slow ones leave.
    assert loaded[0] == pytest.approx(2 + 1000 / min(50, (1000 - 10 * slow) / (40 - slow)) + 3)


def test_the_series_counts_everybody_and_all_bytes() -> None:
    outcome = simulate(fleet(ACCL, Poisson(2.0, 50.0), models=(Model(1000.0), Model(500.0))))
    series = outcome.series(37)
    step = outcome.usage.seconds / 37
    assert sum(each.storage_rate for each in series) * step == pytest.approx(outcome.usage.storage_bytes)
    assert sum(each.origin_rate for each in series) * step == pytest.approx(outcome.usage.origin_bytes)
    assert [each.loaded for each in series] == sorted(each.loaded for each in series)
    assert all(each.loaded <= each.started <= each.asked for each in series)
    assert max(each.storage_rate for each in series) <= 1000 * (1 + 1e-9)


def test_a_cost_is_a_function_of_what_was_used() -> None:
    outcome = simulate(fleet(cost=lambda usage: 2 * usage.gpu_seconds + usage.origin_bytes))
    assert outcome.cost == pytest.approx(2 * 15 + 1000)
    assert simulate(fleet()).cost is None


fleets = st.builds(
    lambda storage, rate, seed, per_host, cache, jitter: fleet(
        replace(storage, jitter=0.3),
        Poisson(rate, 20.0),
        models=(Model(1000.0, 2.0), Model(300.0)),
        seed=seed,
        instances_per_host=per_host,
        host_cache=cache,
        host_link=150.0,
        start_jitter=jitter,
        deadline=60.0,
        retries=1,
    ),
    st.sampled_from([OSS, ACCL, replace(OSS, reads=2.0, page_cache=True)]),
    st.floats(0.3, 4.0),
    st.integers(0, 1000),
    st.integers(1, 4),
    st.booleans(),
    st.floats(0.0, 5.0),
)


@settings(max_examples=40, deadline=None)
@given(fleets)
def test_the_same_seed_gives_the_same_outcome_and_time_never_runs_back(given_fleet: SimulationInput) -> None:
    outcome, again = simulate(given_fleet), simulate(given_fleet)
    assert outcome.times.loaded == again.times.loaded
    assert outcome.usage == again.usage
    times = outcome.times
    for number, loaded in enumerate(times.loaded):
        marks = [times.asked, times.started, times.began, times.provided, times.ready, times.served, times.fetched]
        moments = [mark[number] for mark in marks]
        if loaded < inf:
            assert [*moments, loaded] == sorted([*moments, loaded])
    assert outcome.usage.storage_bytes <= 1000 * outcome.usage.seconds * (1 + 1e-9)
    if given_fleet.storage.origin_rate:
        assert outcome.usage.origin_bytes <= 1300 * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(fleets, st.floats(1.0, 3.0))
def test_more_bandwidth_moves_the_same_bytes_no_later(given_fleet: SimulationInput, factor: float) -> None:
    patient = replace(given_fleet, deadline=inf, host_link=inf)
    if patient.storage.origin_rate or patient.shares_hosts:
        # There an instance that gets ready sooner can be the one that has to bring the model for others.
        patient = replace(patient, instances_per_host=1, storage=replace(patient.storage, origin_rate=None))
    wider = replace(patient, storage=replace(patient.storage, total_rate=patient.storage.total_rate * factor))
    outcome, better = simulate(patient), simulate(wider)
    assert better.usage.storage_bytes == pytest.approx(outcome.usage.storage_bytes)
    assert all(b <= a * (1 + 1e-9) for a, b in zip(outcome.times.loaded, better.times.loaded, strict=True))


@settings(max_examples=40, deadline=None)
@given(fleets, st.integers(1, 30))
def test_who_comes_besides_makes_nobody_faster(given_fleet: SimulationInput, more: int) -> None:
    times = (0.0, *given_fleet.arrivals.times(Random(given_fleet.seed)))
    base = fleet(replace(given_fleet.storage, origin_rate=None, jitter=0.0), Trace(times))
    # They begin with the first one, so that those after it are the same in both, and later in the order.
    crowd = replace(base, arrivals=Trace((*times, *[0.0] * more)))
    alone, crowded = simulate(base).times.loaded, simulate(crowd).times.loaded
    assert all(b >= a * (1 - 1e-9) for a, b in zip(alone[1:], crowded[1 + more :], strict=True))
    assert simulate(crowd).usage.storage_bytes > simulate(base).usage.storage_bytes


@pytest.mark.parametrize("seed", range(8))
def test_hosts_with_links_end_when_small_steps_do(seed: int) -> None:
    chance = Random(seed)
    begins = sorted(chance.uniform(0, 15) for _ in range(9))
    given_fleet = fleet(
        replace(OSS, setup_seconds=0.0, rest_seconds=0.0, total_rate=260.0),
        Trace(tuple(begins)),
        instances_per_host=3,
        host_link=130.0,
    )
    outcome = simulate(given_fleet)
    readers = [Reader(begin, 1000.0, 100.0, host=n // 3) for n, begin in enumerate(begins)]
    Steps(260.0, link=130.0).run(readers, 0.01)
    assert list(outcome.times.loaded) == pytest.approx([each.done for each in readers], abs=0.1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"models": ()}, "model"),
        ({"links": ((0.0, 1.0),)}, "link"),
        ({"links": ((inf, 1.0),), "storage": replace(OSS, total_rate=inf)}, "bandwidth"),
        ({"host_link": -1.0}, "host's link"),
        ({"hosts": 0}, "host"),
        ({"retries": -1}, "retries"),
        ({"deadline": 0.0}, "deadline"),
        ({"start_jitter": -1.0}, "waits"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        fleet(**wrong)  # type: ignore[arg-type]


def test_arrivals_that_cannot_be_are_refused() -> None:
    for make in (
        lambda: Burst(0),
        lambda: Burst(1, -1.0),
        lambda: Poisson(0.0, 1.0),
        lambda: Poisson(1e9, 1e9),
        lambda: Schedule(()),
        lambda: Schedule(((0.0, 1, -1.0),)),
        lambda: Trace(()),
        lambda: ScaleOut(burst=0),
        lambda: Model(-1.0),
    ):
        with pytest.raises(UsageError):
            make()
