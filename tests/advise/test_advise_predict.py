"""The load model: the shared bandwidth against a simulation in small steps, and that more is never faster."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import pytest
from advise_cases import GIB, case
from hypothesis import given, settings
from hypothesis import strategies as st

from hoist.advise.facts import shipped
from hoist.advise.predict import Arrivals, Prediction, ideal_fetch, predict, shared_ends
from hoist.advise.storages import KINDS, Candidate, candidate, performances

AT_ONCE = Arrivals()
begins_lists = st.lists(st.floats(0, 50), min_size=1, max_size=12).map(sorted)


def stepped(begins: list[float], work: float, limit: float, total: float, step: float) -> list[float]:
    """The same in small steps of time: each that reads gets its share until it has enough."""
    left = [work] * len(begins)
    ends = [inf] * len(begins)
    now = 0.0
    while any(end == inf for end in ends):
        reading = [i for i, begin in enumerate(begins) if begin <= now and ends[i] == inf]
        rate = min(limit, total / len(reading)) if reading else 0.0
        for i in reading:
            left[i] -= rate * step
            if left[i] <= 0:
                ends[i] = now + step
        now += step
    return ends


@settings(deadline=None, max_examples=25)
@given(begins_lists, st.floats(1, 20), st.floats(0.5, 5), st.floats(0.5, 20))
def test_sharing_is_what_small_steps_give(begins: list[float], work: float, limit: float, total: float) -> None:
    step = 0.02
    exact, rough = shared_ends(begins, work, limit, total), stepped(begins, work, limit, total, step)
    # Each beginning and end is late by a step at most, and what one is late another waits for.
    assert exact == pytest.approx(rough, abs=step * 3 * (len(begins) + 1))


@settings(deadline=None, max_examples=25)
@given(begins_lists, st.floats(1, 20), st.floats(0.5, 5), st.floats(0.5, 20))
def test_sharing_gives_nobody_more_than_there_is(begins: list[float], work: float, limit: float, total: float) -> None:
    ends = shared_ends(begins, work, limit, total)
    assert ends == sorted(ends)
    assert all(end - begin >= work / limit - 1e-9 for begin, end in zip(begins, ends, strict=True))
    assert ends[-1] - begins[0] >= len(begins) * work / total - 1e-6


def found(kind: str = "nas", **values: Any) -> tuple[Candidate, Prediction]:
    scenario = case(**values)
    storage = candidate(kind, shipped(), scenario)
    return storage, predict(storage, scenario, AT_ONCE)


def steady(storage: Candidate) -> Candidate:
    """The same storage, whose set-up takes as long each time."""
    return replace(storage, performance=replace(storage.performance, jitter=0.0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("instances", [1, 3, 400])
@pytest.mark.parametrize("loader", ["hoist", "plain"])
def test_without_jitter_it_is_the_load_model(kind: str, instances: int, loader: str) -> None:
    scenario = case(instances=instances, loader=loader)
    storage = steady(candidate(kind, shipped(), scenario))
    start = predict(storage, scenario, AT_ONCE)
    assert start.p50 == pytest.approx(start.p99) == pytest.approx(start.ideal)
    fetch, bound = ideal_fetch(storage, scenario, instances)
    performance = storage.performance
    assert start.ideal == pytest.approx(performance.setup_seconds + fetch + performance.rest_seconds)
    assert start.bound == bound


def test_the_load_model_in_numbers() -> None:
    """t = setup + max(reads x bytes / min(NIC, loader), N x reads x bytes / bandwidth of all), by hand."""
    scenario = case(size=6 * 10**9, instances=10, loader="plain")
    nas, oss = (ideal_fetch(candidate(kind, shipped(), scenario), scenario, 10) for kind in ("nas", "oss"))
    # NAS reads once, as the second read is the page cache's: 60 GB at 600 MB/s, and a little for what is stored.
    assert nas[0] == pytest.approx(60e9 / (600e6 + 0.58e6 / 2**30 * 6e9))
    # OSS reads twice: 12 GB over a link of 5 Gbit/s, which is slower than 120 GB at 100 Gbit/s.
    assert oss[0] == pytest.approx(12e9 / 625e6)
    assert oss[1] == "the instance's link"


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=25)
@given(size=st.integers(1 << 20, 1 << 40), more=st.floats(1, 8), instances=st.integers(1, 3000))
def test_more_bytes_are_never_faster(kind: str, size: int, more: float, instances: int) -> None:
    # As large as the storage is: what is stored shall not change, as that is bandwidth.
    amount = 20 << 40
    scenario = case(size=size, instances=instances)
    larger = replace(scenario, size=int(size * more))
    storage = candidate(kind, shipped(), scenario, amount)
    assert_no_faster(predict(storage, scenario, AT_ONCE), predict(storage, larger, AT_ONCE))


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=25)
@given(instances=st.integers(1, 2000), more=st.integers(1, 2000), burst=st.sampled_from([inf, 10.0]))
def test_more_instances_are_never_faster(kind: str, instances: int, more: int, burst: float) -> None:
    scenario = case()
    storage = steady(candidate(kind, shipped(), scenario))
    few, many = (predict(storage, scenario, Arrivals(burst, 5.0), count) for count in (instances, instances + more))
    if burst == inf:
        assert_no_faster(few, many)
    assert many.all_ready >= few.all_ready - 1e-6


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=25)
@given(factor=st.floats(1, 50), instances=st.integers(1, 500))
def test_more_bandwidth_is_never_slower(kind: str, factor: float, instances: int) -> None:
    scenario = case(instances=instances)
    storage = candidate(kind, shipped(), scenario)
    wide = replace(storage.performance, total_rate=storage.performance.total_rate * factor)
    assert_no_faster(
        predict(replace(storage, performance=wide), scenario, AT_ONCE), predict(storage, scenario, AT_ONCE)
    )
    link = replace(scenario, link=scenario.link * factor)
    assert_no_faster(predict(storage, link, AT_ONCE), predict(storage, scenario, AT_ONCE))


def assert_no_faster(one: Prediction, other: Prediction) -> None:
    """The other is at least as slow in everything."""
    for name in ("p50", "p95", "p99", "late", "billed", "ideal"):
        assert getattr(other, name) >= getattr(one, name) * (1 - 1e-9) - 1e-6, name


@pytest.mark.parametrize("kind", KINDS)
def test_phases_are_the_median_start(kind: str) -> None:
    _, start = found(kind, instances=7, loader="plain", warmup=3.0)
    assert sum(start.phases.values()) == pytest.approx(start.p50)
    assert start.phases["warmup"] == 3.0
    assert start.p50 <= start.p95 <= start.p99
    assert start.billed < start.p99


def test_jitter_has_the_mean_and_the_deviation_that_were_said() -> None:
    storage, start = found("oss", size=1 << 10, instances=1)
    assert start.p50 < storage.performance.setup_seconds < start.p95
    # The 95th percentile of a log-normal with a relative deviation of 0.29, over its mean.
    assert start.p95 / storage.performance.setup_seconds == pytest.approx(1.53, abs=0.03)


def test_what_a_platform_begins_later_does_not_count_as_slow() -> None:
    scenario = case(instances=400, deadline=60.0)
    storage = steady(candidate("oss", shipped(), scenario))
    start = predict(storage, scenario, Arrivals(100, 1.0))
    assert start.all_ready > 300
    assert start.p99 < 60
    assert start.late == 0


def test_instances_on_a_host_share_what_was_read() -> None:
    alone, _ = found("nas", instances=64)
    together = case(instances=64, instances_per_host=8)
    assert predict(alone, together, AT_ONCE).ideal < predict(alone, case(instances=64), AT_ONCE).ideal / 4
    # A plain loader over FUSE has no cache that they could share.
    plain = case(instances=64, instances_per_host=8, loader="plain")
    oss = candidate("oss", shipped(), plain)
    assert predict(oss, plain, AT_ONCE) == predict(oss, replace(plain, instances_per_host=1), AT_ONCE)


def test_small_files_are_bounded_by_requests() -> None:
    large, small = (performances(shipped(), case(files=files))[2] for files in (1, 1_000_000))
    assert large.kind == small.kind == "oss"
    assert large.total_rate == 12.5e9
    # 10,000 requests a second of 4 GiB / 1,000,000 each.
    assert small.total_rate == pytest.approx(10_000 * 4 * GIB / 1_000_000)


def test_performances_are_of_all_kinds_in_order() -> None:
    found = performances(shipped(), case(loader="plain"))
    assert tuple(each.kind for each in found) == KINDS
    image, nas, oss, accl = found
    assert (nas.page_cache, oss.page_cache, image.page_cache) == (True, False, True)
    assert (nas.medium_reads, oss.medium_reads) == (1, 2)
    assert accl.origin_rate == oss.total_rate
    assert accl.total_rate == oss.total_rate + 600e6
    assert all(each.reads == 2 for each in found)
