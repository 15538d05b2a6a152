"""Cost, sizing, crossovers, ranking and reasons: each holds where it says that something changes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from advise_cases import CHECKPOINT, DAY, GIB, WEEK, advised, case
from hypothesis import given, settings
from hypothesis import strategies as st

from hoist.advise.advice import Advice
from hoist.advise.cost import gpu_second
from hoist.advise.explain import explain
from hoist.advise.facts import given_facts, shipped
from hoist.advise.predict import LATE_ALLOWED, arrivals_of, predict
from hoist.advise.rank import criteria, rank
from hoist.advise.sizing import Judged, judge, most_in_time, size_storage
from hoist.advise.storages import KINDS, candidate
from hoist.advise.table import comparison
from hoist.advise.units import MONTH_SECONDS, Money

BURST: dict[str, Any] = {**CHECKPOINT, "mode": "provisioned", "instances": 100, "regions": ("cn-chengdu",)}


def judged(kind: str, **values: Any) -> Judged:
    scenario = case(**values)
    return judge(kind, shipped(), scenario, arrivals_of(shipped(), scenario))


def test_costs_by_hand() -> None:
    """100 GB of each, in two regions: prices and units as the reference has them."""
    values: dict[str, Any] = {
        "size": 10 * 10**9,
        "models": 10,
        "regions": ("cn-hangzhou", "cn-beijing"),
        "starts": 2 / DAY,
    }
    nas, oss, accl, image = (judged(kind, **values).cost for kind in ("nas", "oss", "accl", "image"))
    assert nas.storage == pytest.approx(2 * 100e9 / 2**30 * 0.328)
    assert oss.storage == accl.storage == pytest.approx(2 * 100 * 0.12 / 7.1)
    assert accl.accelerator == pytest.approx(2 * 100 * 0.7 / 7.1)
    assert image.storage == image.accelerator == 0
    # 48 GB of Ada, 8 vCPUs, 32 GB of memory, in compute units of USD 0.00002.
    assert gpu_second(shipped(), case()) == pytest.approx((48 * 1.5 + 8 + 32 * 0.15) * 0.00002)
    alone = predict(candidate("oss", shipped(), case(**values)), case(**values), arrivals_of(shipped(), case()), 1)
    assert oss.gpu == pytest.approx(2 / DAY * MONTH_SECONDS * alone.billed * oss.gpu_second)
    assert oss.total == pytest.approx(oss.storage + oss.gpu)


def test_an_accelerator_of_the_least_size_costs_what_the_reference_says() -> None:
    assert judged("accl", currency="CNY").cost.accelerator == pytest.approx(35)


def test_currencies_are_the_same_money() -> None:
    usd, cny = (judged("nas", currency=currency).cost.total for currency in ("USD", "CNY"))
    assert cny == pytest.approx(7.1 * usd)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=25)
@given(starts=st.floats(0, 1e4), more=st.floats(0, 1e4), models=st.integers(1, 50))
def test_more_starts_or_models_are_never_cheaper(kind: str, starts: float, more: float, models: int) -> None:
    few, many = (judged(kind, starts=count / DAY).cost.total for count in (starts, starts + more))
    assert many >= few - 1e-9
    one, other = (judged(kind, models=count).cost.storage for count in (models, models + 1))
    assert other >= one


def test_starts_that_come_together_are_billed_as_such() -> None:
    """A hundred at once on one file system wait for one another; the same number one by one do not."""
    together = judged("nas", instances=100, starts=100 / DAY, bursts=1 / DAY).cost
    alone = judged("nas", instances=100, starts=100 / DAY, bursts=0.0).cost
    assert together.gpu > 10 * alone.gpu


@pytest.mark.parametrize("kind", ["nas", "accl"])
def test_the_size_that_is_found_is_the_least(kind: str) -> None:
    scenario = case(**BURST)
    arrivals = arrivals_of(shipped(), scenario)
    sizing = size_storage(kind, shipped(), scenario, arrivals)
    assert sizing.grown
    assert sizing.enough
    assert sizing.enough.prediction.late <= LATE_ALLOWED < sizing.least.prediction.late
    less = judge(kind, shipped(), scenario, arrivals, int(sizing.enough.amount * 0.98) - 10**9)
    assert less.prediction.late > LATE_ALLOWED


@pytest.mark.parametrize("kind", ["nas", "accl"])
@pytest.mark.parametrize("instances", [2, 40, 100])
def test_no_size_in_time_is_clearly_cheaper(kind: str, instances: int) -> None:
    """A larger accelerator may cost less in all: GPUs wait for a shorter time."""
    scenario = case(**BURST | {"instances": instances})
    arrivals = arrivals_of(shipped(), scenario)
    sizing = size_storage(kind, shipped(), scenario, arrivals)
    assert sizing.enough
    assert sizing.cheapest
    assert sizing.cheapest.amount >= sizing.enough.amount
    for factor in (1, 1.2, 1.5, 2, 3, 5, 8, 12):
        amount = min(sizing.most, int(sizing.enough.amount * factor))
        other = judge(kind, shipped(), scenario, arrivals, amount)
        assert sizing.best.cost.total <= other.cost.total * 1.06 + 1


def test_what_no_size_mends_is_said() -> None:
    found = advised(size=40 * GIB, mode="provisioned", instances=300, regions=("cn-chengdu",))
    assert found.winner.problem
    assert all(each.enough is None for kind, each in found.sizings.items() if kind != "image")
    assert "miss the deadline of 120 s" in found.reasons[found.winner.kind]


@pytest.mark.parametrize("kind", KINDS)
def test_the_most_instances_in_time(kind: str) -> None:
    scenario = case(loader="plain")
    arrivals = arrivals_of(shipped(), scenario)
    storage = candidate(kind, shipped(), scenario)
    most = most_in_time(storage, scenario, arrivals)
    assert predict(storage, scenario, arrivals, most).late <= LATE_ALLOWED
    if most < 1 << 17:
        assert predict(storage, scenario, arrivals, int(most * 1.02) + 2).late > LATE_ALLOWED
    assert most_in_time(storage, replace(scenario, deadline=1.0), arrivals) == 0


@pytest.mark.parametrize("loader", ["plain", "hoist"])
@pytest.mark.parametrize("values", [CHECKPOINT, {"size": 2 * GIB, "regions": ("ap-southeast-1",)}])
def test_crossovers_are_where_the_order_changes(values: dict[str, Any], loader: str) -> None:
    found = advised(**values, loader=loader)
    arrivals = found.arrivals
    seen = set()
    for each in found.crossings:
        if each.axis == "instances":
            seen.add("instances")
            storages = [found.judged[kind].candidate for kind in (each.below, each.above)]
            before, after = (
                [predict(storage, found.scenario, arrivals, int(count)).p95 for storage in storages]
                for count in (each.at - 1, each.at)
            )
            assert before[0] < before[1]
            assert after[1] <= after[0]
        elif each.axis == "starts":
            seen.add("starts")
            for factor, cheap in ((0.95, each.below), (1.05, each.above)):
                costs = {
                    kind: judge(
                        kind, found.facts, replace(found.scenario, starts=each.at * factor / DAY), arrivals
                    ).cost.total
                    for kind in (each.below, each.above)
                }
                assert min(costs, key=lambda kind: costs[kind]) == cheap
        else:
            seen.add("size")
            for factor, quick in ((0.9, each.below), (1.1, each.above)):
                other = replace(found.scenario, size=int(each.at * factor), models=1)
                amounts = {"nas": found.judged["nas"].amount, "accl": found.judged["accl"].amount}
                times = {
                    kind: predict(candidate(kind, found.facts, other, amounts.get(kind)), other, arrivals).p95
                    for kind in (each.below, each.above)
                }
                assert min(times, key=lambda kind: times[kind]) == quick
    assert seen == {"instances", "starts", "size"} or loader == "hoist"


def test_nas_wins_below_some_instances() -> None:
    found = advised(**CHECKPOINT, loader="plain")
    (crossing,) = [
        each for each in found.crossings if (each.axis, each.below, each.above) == ("instances", "nas", "oss")
    ]
    assert crossing.at == 3


def test_the_budget_rules_out() -> None:
    plain: dict[str, Any] = {"loader": "plain", "instances": 2}
    found = advised(**CHECKPOINT, **plain, budget=Money(31, "USD"))
    reasons = found.reasons
    assert found.winner.kind == "oss"
    assert re.fullmatch(r"3\d\.\d\d USD a month is over the budget of 31\.00\.", reasons["nas"])
    in_yuan = advised(**CHECKPOINT, **plain, budget=Money(31 * 7.1, "CNY"))
    assert in_yuan.reasons == reasons
    assert advised(**CHECKPOINT, **plain, budget=Money(1, "USD")).winner.problem


def test_criteria_go_by_mode_and_regions() -> None:
    names = {mode: [each.name for each in criteria(case(mode=mode))] for mode in ("on-demand", "idle", "provisioned")}
    assert names["on-demand"][:2] == ["start", "cost"]
    assert names["idle"][0] == names["provisioned"][0] == "cost"
    assert criteria(case(regions=("a", "b")))[0].name == "upkeep"


def test_nobody_operates_a_file_system_for_a_dollar() -> None:
    """Idle, one small model: NAS costs cents more, which is nothing; what it takes to keep it is."""
    found = advised(size=GIB, mode="idle", loader="plain")
    assert abs(found.judged["nas"].cost.total - found.judged["oss"].cost.total) < 1
    assert found.winner.kind == "oss"


@settings(deadline=None, max_examples=12)
@given(
    size=st.integers(1 << 20, 1 << 36),
    instances=st.integers(1, 500),
    mode=st.sampled_from(["on-demand", "idle", "provisioned"]),
    loader=st.sampled_from(["hoist", "plain"]),
    region=st.sampled_from(["cn-hangzhou", "cn-chengdu", "eu-central-1"]),
    updates=st.floats(0, 20),
)
def test_each_storage_has_one_place_and_one_sentence(
    size: int, instances: int, mode: str, loader: str, region: str, updates: float
) -> None:
    found = advised(size=size, instances=instances, mode=mode, loader=loader, regions=(region,), updates=updates / WEEK)
    assert sorted(each.kind for each in found.ranked) == sorted(KINDS)
    possible = [not each.problem for each in found.ranked]
    assert possible == sorted(possible, reverse=True)
    for kind, sentence in found.reasons.items():
        assert sentence.endswith(".")
        assert len(sentence) < 240, sentence
        assert "None" not in sentence
        assert explain(found, kind)
    again = rank(list(reversed(found.judged.values())), found.facts, found.scenario)
    assert [each.kind for each in again] == [each.kind for each in found.ranked]


def test_the_order_of_what_is_given_does_not_matter_to_the_winner() -> None:
    found = advised(**BURST)
    again = rank(list(reversed(list(found.judged.values()))), found.facts, found.scenario)
    assert again[0].kind == found.winner.kind


def test_where_storage_is_not_the_bottleneck_it_is_said() -> None:
    small = advised(size=100 << 20)
    assert small.bottleneck.startswith("Storage is not the bottleneck: of ")
    assert "provision" in small.bottleneck
    slow = advised(warmup=60.0)
    assert "warmup 60.0 s" in slow.bottleneck
    assert not advised(**CHECKPOINT, instances=8).bottleneck.startswith("Storage is not")


def numbers(lines: list[str], name: str) -> str:
    (line,) = [line for line in lines if line.startswith(f"{name} = ")]
    return line


def test_explanations_have_formula_and_inputs() -> None:
    found: Advice = advised(**CHECKPOINT, instances=10, loader="plain")
    nas = explain(found, "nas")
    assert "600 MB/s + 0.58 MB/s/GiB x 39.7 GiB, at most 10 GB/s = 623 MB/s" in numbers(nas, "bandwidth")
    assert "10 x 1 x 3.97 GiB / 623 MB/s" in numbers(nas, "fetch")
    assert any("1 of 2 reads is the page cache's" in line for line in nas)
    assert "10.0 s provision + 2.0 s network" in numbers(nas, "start")
    assert "39.7 GiB x 0.328 USD/GiB-month = $13.02" in numbers(nas, "storage")
    assert "a month" in numbers(nas, "upkeep")
    oss = explain(found, "oss")
    assert "2 x 3.97 GiB / min(625 MB/s link, 686 MB/s loader)" in numbers(oss, "fetch")
    accl = explain(advised(**BURST), "accl")
    assert "1.25 GB/s of the bucket + max(600 MB/s, 300 MB/s/TB x " in numbers(accl, "bandwidth")
    assert "only for the hour of each scheduled start" in numbers(accl, "accelerator")
    # Every fact that counts is named with it.
    ids = {fact.id for fact in found.used}
    assert {"function-compute.nas.performance.price", "gpu.cu-price", "loader.plain.reads"} <= ids


def test_the_comparison_is_the_documents_and_filled_in() -> None:
    found = comparison(advised(**CHECKPOINT, loader="plain"))
    assert list(found) == [
        *("size", "throughput", "compatibility", "management", "zones", "page cache", "cost", "in time"),
    ]
    assert all(set(cells) == set(KINDS) and all(cells.values()) for cells in found.values())
    assert found["size"]["image"].startswith("too large: 42.6 GB of 15 GB")
    assert found["throughput"]["nas"] == "623 MB/s, full at 1 instance"
    assert found["throughput"]["oss"] == "12.5 GB/s, full at 20 instances"
    assert (found["page cache"]["nas"], found["page cache"]["oss"]) == ("yes", "no: reads twice")
    assert found["zones"]["nas"] == "one zone each"
    many = comparison(advised(size=GIB, files=100_000, loader="plain"))
    assert "many small files, unfit" in many["compatibility"]["oss"]


def test_measurements_change_the_advice() -> None:
    """A file system that is measured to be slow for one instance is no longer the fastest."""
    slow = shipped().with_facts(
        given_facts(shipped(), {"function-compute.nas.performance.rate": "100MB/s"}, "me", "2026-11-25")
    )
    values: dict[str, Any] = {**CHECKPOINT, "loader": "plain"}
    assert advised(**values).winner.kind == "nas"
    assert advised(slow, **values).winner.kind == "oss"


def test_the_capacity_type_is_cheaper_and_slower() -> None:
    performance, capacity = (judged("nas", nas=kind) for kind in ("performance", "capacity"))
    assert capacity.cost.storage < performance.cost.storage
    assert capacity.prediction.p50 > performance.prediction.p50


def test_the_extreme_type_grows_in_steps_and_has_no_price() -> None:
    def rate(models: int) -> float:
        found: float = judged("nas", nas="extreme", models=models).candidate.performance.total_rate
        return found

    assert [rate(models) for models in (1, 124, 125, 511, 512, 4096)] == [150e6, 150e6, 300e6, 300e6, 600e6, 1200e6]
    small = judged("nas", nas="extreme")
    assert small.candidate.held == 100 * GIB
    assert small.cost.unpriced == ("file system",)
    # Six at once of 4 GiB each take more than 150 MB/s for 120 s: the next step does.
    scenario = case(nas="extreme", instances=6)
    sizing = size_storage("nas", shipped(), scenario, arrivals_of(shipped(), scenario))
    assert sizing.enough
    assert 500 * GIB <= sizing.enough.amount < 502 * GIB


def test_a_generic_platform_has_all_it_takes() -> None:
    found = advised(platform="generic", instances=20)
    assert found.scenario.regions == ("any",)
    assert found.judged["oss"].cost.requests > 0
    # Hoist's own accelerator: all reads go through it, at most as fast as its port.
    assert found.judged["accl"].candidate.performance.total_rate == 25e9 / 8
    assert not found.winner.problem
