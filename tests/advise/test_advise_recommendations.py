"""The source document's recommendations come out of the arithmetic for the situations that it describes; where the
computation says something else, it says which assumption makes the difference."""

from __future__ import annotations

from typing import Any

import pytest
from advise_cases import CHECKPOINT, DAY, WEEK, advised, case

from hoist.advise.folklore import guide


@pytest.mark.parametrize("starts", [1 / DAY, 40 / DAY, 1000 / DAY])
@pytest.mark.parametrize("instances", [1, 2])
def test_on_demand_wants_a_performance_file_system(instances: int, starts: float) -> None:
    """A loader that reads each file twice, few instances: only the page cache of NAS has the second read."""
    found = advised(**CHECKPOINT, loader="plain", mode="on-demand", instances=instances, starts=starts)
    assert found.winner.kind == "nas"
    assert found.folklore
    assert found.folklore.agrees
    assert found.winner.decided_by
    assert found.winner.decided_by.name == "start"


@pytest.mark.parametrize("loader", ["plain", "hoist"])
@pytest.mark.parametrize("instances", [1, 2, 8])
def test_idle_wants_an_object_store(instances: int, loader: str) -> None:
    """Nobody waits for a start, so the price decides, and NAS is about 25 times as dear a GB."""
    found = advised(**CHECKPOINT, loader=loader, mode="idle", instances=instances)
    assert found.winner.kind == "oss"
    assert found.folklore
    assert found.folklore.agrees
    costs = {kind: each.cost.storage for kind, each in found.judged.items()}
    assert 15 < costs["nas"] / costs["oss"] < 30


@pytest.mark.parametrize("loader", ["plain", "hoist"])
@pytest.mark.parametrize(("instances", "region"), [(50, "cn-chengdu"), (100, "cn-chengdu"), (100, "ap-southeast-1")])
def test_a_large_burst_wants_an_accelerator(instances: int, region: str, loader: str) -> None:
    """NAS and an account of 5 or 10 Gbit/s are both full; an accelerator for an hour is cheaper than TiBs of NAS."""
    found = advised(**CHECKPOINT, loader=loader, mode="provisioned", instances=instances, regions=(region,))
    assert found.winner.kind == "accl"
    assert found.folklore
    assert found.folklore.agrees
    assert found.sizings["nas"].least.prediction.late > 0.9


def test_a_burst_that_is_too_large_for_the_widest_account_wants_one_too() -> None:
    found = advised(**CHECKPOINT, loader="plain", mode="provisioned", instances=400)
    assert found.winner.kind == "accl"


@pytest.mark.parametrize("loader", ["plain", "hoist"])
@pytest.mark.parametrize("mode", ["on-demand", "idle", "provisioned"])
@pytest.mark.parametrize("updates", [1 / WEEK, 7 / WEEK])
def test_several_regions_want_an_object_store(mode: str, loader: str, updates: float) -> None:
    """Each update would have to be copied to each region's file system by hand."""
    regions = ("cn-hangzhou", "cn-beijing", "cn-shanghai")
    found = advised(**CHECKPOINT, loader=loader, mode=mode, instances=2, regions=regions, updates=updates)
    assert found.winner.kind in ("oss", "accl")
    assert found.folklore
    assert found.folklore.agrees
    assert found.judged["nas"].cost.upkeep == pytest.approx(3 * updates * 365.25 / 12 * DAY)


@pytest.mark.parametrize("loader", ["plain", "hoist"])
def test_a_small_model_that_seldom_changes_may_be_in_the_image(loader: str) -> None:
    found = advised(size=200 << 20, updates=0.1 / WEEK, loader=loader)
    assert found.winner.kind == "image"
    assert found.folklore
    assert found.folklore.agrees
    # And no longer when it is large, or changes often.
    assert advised(size=200 << 20, updates=7 / WEEK, loader=loader).winner.kind != "image"
    assert advised(**CHECKPOINT, updates=0.1 / WEEK, loader=loader).winner.kind != "image"
    assert "more than the 15 GB" in advised(**CHECKPOINT).reasons["image"]


@pytest.mark.parametrize(
    ("values", "winner", "why"),
    [
        # Hoist reads once: what made NAS faster was the second read.
        ({"mode": "on-demand"}, "oss", "Hoist reads once, as the hash is the manifest's"),
        # Of 100 Gbit/s a hundred instances are carried without an accelerator.
        (
            {"mode": "provisioned", "instances": 100, "loader": "plain"},
            "oss",
            "it assumes that the object store is held back",
        ),
        # Already from three on they share the file system's bandwidth.
        (
            {"mode": "on-demand", "instances": 8, "loader": "plain"},
            "oss",
            "it assumes that few instances start at once",
        ),
    ],
)
def test_where_it_disagrees_with_the_guide_it_says_why(values: dict[str, Any], winner: str, why: str) -> None:
    found = advised(**CHECKPOINT, **values)
    assert found.winner.kind == winner
    assert found.folklore
    assert not found.folklore.agrees
    assert winner not in found.folklore.recommends
    assert why in found.folklore.why


def test_what_explains_the_difference_makes_it() -> None:
    """The assumption that is named, put back, gives what the guide says."""
    assert advised(**CHECKPOINT, mode="on-demand", loader="plain").winner.kind == "nas"
    burst: dict[str, Any] = {"mode": "provisioned", "instances": 100, "loader": "plain"}
    assert advised(**CHECKPOINT, **burst, regions=("cn-chengdu",)).winner.kind == "accl"


def test_the_guide_has_a_rule_for_each_case() -> None:
    assert guide(case(mode="on-demand", models=10))[1] == ("nas",)
    assert guide(case(mode="idle", models=10))[1] == ("oss",)
    assert guide(case(instances=100))[1] == ("accl",)
    assert guide(case(regions=("a", "b"), instances=100))[1] == ("oss", "accl")
    assert advised(platform="generic").folklore is None
