"""What a herd is measured against: rates, ideal times, percentiles, crossovers, and the figures of records."""

from __future__ import annotations

from itertools import pairwise
from math import ceil, inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoist.bench.herd_figures import herds
from hoist.bench.herd_model import (
    Bandwidths,
    crossover,
    ideal_seconds,
    origin_ideal_bytes,
    parse_rate,
    percentile,
)
from hoist.bench.herd_table import herd_line, herd_markdown, herd_tables
from hoist.bench.herd_targets import herd_targets
from hoist.bench.shared_rate import SharedRate
from hoist.errors import UsageError

COUNTS = st.integers(1, 600)
RATES = st.floats(1e3, 1e11)
CURVES = st.dictionaries(st.integers(1, 40), st.integers(1, 1000).map(float), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("600MB/s", 600e6),
        ("600 mb/s", 600e6),
        ("5Gbit/s", 625e6),
        ("5Gbit", 625e6),
        ("572MiB/s", 572 * 2**20),
        ("1.5GB", 1.5e9),
        ("100MBps", 100e6),
        ("800B/s", 800),
    ],
)
def test_rates_as_people_write_them(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "600", "fast", "0MB/s", "-1MB/s", "600MB/h", "5 furlongs/s", "nan MB/s"])
def test_what_is_no_rate_is_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(UsageError, match="600MB/s"):
        parse_rate(text)


@given(size=st.integers(1, 1 << 40), count=COUNTS, storage=RATES, instance=RATES)
def test_the_ideal_time_is_that_of_the_narrowest_place(size: int, count: int, storage: float, instance: float) -> None:
    rates = Bandwidths(storage, instance)
    ideal = ideal_seconds(size, count, rates)
    assert ideal >= size / instance and ideal >= count * size / storage
    assert ideal in (size / instance, count * size / storage)
    # One more never helps, and all bandwidths at half take twice as long.
    assert ideal_seconds(size, count + 1, rates) >= ideal
    assert ideal_seconds(size, count, rates.scaled(0.5)) == pytest.approx(2 * ideal)
    # A cold cache takes one copy from its origin, however many ask.
    cold = Bandwidths(storage, instance, origin=storage / 4)
    assert ideal_seconds(size, count, cold) == max(ideal, size / (storage / 4))
    assert origin_ideal_bytes(size, count, cold) == size
    assert origin_ideal_bytes(size, count, rates) == count * size


@given(values=st.lists(st.floats(0, 1e6) | st.just(inf), min_size=1, max_size=60), part=st.floats(0.01, 1))
def test_a_percentile_is_the_least_value_that_enough_do_not_exceed(values: list[float], part: float) -> None:
    found = percentile(values, part)
    enough = ceil(part * len(values))
    assert sum(value <= found for value in values) >= enough
    assert sum(value < found for value in values) < enough


def on_line(curve: dict[int, float], at: int) -> float:
    """The curve at a number of instances, straight between the measured ones."""
    if at in curve:
        return curve[at]
    low, high = next((low, high) for low, high in pairwise(sorted(curve)) if low < at < high)
    return curve[low] + (curve[high] - curve[low]) * (at - low) / (high - low)


@given(first=CURVES, second=CURVES)
def test_from_the_crossover_on_the_second_is_never_slower(first: dict[int, float], second: dict[int, float]) -> None:
    common = sorted(first.keys() & second.keys())
    a, b = {n: first[n] for n in common}, {n: second[n] for n in common}
    found = crossover(first, second)
    if not common or b[common[-1]] > a[common[-1]]:
        assert found is None
        return
    assert found is not None
    slack = 1e-6
    assert all(on_line(b, n) <= on_line(a, n) + slack for n in range(found, common[-1] + 1))
    # And it is the least such number.
    assert found == common[0] or on_line(b, found - 1) > on_line(a, found - 1) - slack


def test_what_never_loaded_never_crosses() -> None:
    assert crossover({1: 1.0, 8: inf}, {1: 2.0, 8: 3.0}) == 8
    assert crossover({1: 1.0, 8: 2.0}, {1: 2.0, 8: inf}) is None


@given(sizes=st.lists(st.tuples(st.integers(1, 1 << 20), st.booleans()), min_size=1, max_size=20))
def test_processes_that_share_a_rate_queue_one_behind_the_other(sizes: list[tuple[int, bool]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        # Each opens the file for itself, as two processes do.
        ones = [SharedRate(Path(folder) / "rate", 1e6), SharedRate(Path(folder) / "rate", 1e6)]
        moments = [(size, ones[second].reserve(size)) for size, second in sizes]
        for one in ones:
            one.close()
    for (_, before), (size, after) in pairwise(moments):
        assert after - before >= size / 1e6 - 1e-6


def record(storage: str, instances: int, seconds: list[float], **more: Any) -> dict[str, Any]:
    """A record of a herd of 1 GiB instances at a tenth of the times."""
    rates = {"storage": 600e6, "instance": 625e6, "origin": 600e6 if storage == "accl" else None}
    return {
        "bench": "herd", "storage": storage, "server": "one of the test's", "how": "namespaces", "instances": instances,
        "size": 1 << 30, "model_size": 10 << 30, "scale": 1.0, "time_scale": 0.1, "start_jitter": 0.1,
        "rates": rates, "shaped_rates": rates,
        "deadlines": {"port check": 12.0, "initializer": 30.0}, "seconds": seconds, "failures": [],
        "ideal_seconds": float(instances), "bytes_read": instances << 30, "origin_bytes": instances << 30,
        "origin_bytes_by": "link", "origin_ideal_bytes": instances << 30, "instance_cpu_seconds": 1.0 * instances,
        "server_cpu_seconds": 0.5, "machine_busy": 0.5, "run": 0, **more,
    }  # fmt: skip


def test_points_are_medians_of_runs_and_what_failed_took_for_ever() -> None:
    runs = [
        record("nas", 4, [10.0, 11.0, 12.5, 13.0]),
        record("nas", 4, [10.0, 10.0, 10.0, 10.0], run=1),
        record("nas", 4, [10.0, 10.0, 40.0], run=2, failures=["the process ended"]),
        {"bench": "herd", "storage": "image", "skipped": "docker-registry is not installed"},
    ]
    (herd,) = herds(runs)
    point = herd.curves["nas"].points[4]
    assert (point.p50, point.p95, point.slowest, point.runs, point.failed) == (10.0, 13.0, 13.0, 3, 1)
    # Two of four, none, and two: the failed one is late for every deadline.
    assert point.late == {"port check": 2, "initializer": 0}
    assert herd.deadlines["port check"] / herd.time_scale == pytest.approx(120)
    text = "\n".join(herd_tables(runs))
    assert "1 instances did NOT load" in text and "docker-registry is not installed" in text
    assert "port check 120 s (here 12.0 s)" in text
    assert herd_markdown(runs)[0].startswith("### Herd: a model of 10.00 GiB")
    assert all(herd_line(run) for run in runs)
    assert "none loaded" in herd_line(record("nas", 1, [], failures=["gone"]))


def test_targets_are_those_of_the_nas_and_of_sixteen_through_the_accelerator() -> None:
    runs = [
        record("nas", 1, [1.1]),
        record("nas", 16, [*[14.0] * 15, 18.0]),
        record("oss", 16, [16.5] * 16),
        record("accl", 16, [5.0] * 16, origin_bytes=int(1.01 * 2**30), ideal_seconds=4.0),
        record("accl", 1, [1.9], ideal_seconds=1.0),
        record("oss", 1, [1.2]),
    ]
    found = {target.work: target for target in herd_targets(runs)}
    nas = {work: target for work, target in found.items() if ", nas of" in work}
    assert [target.met for target in nas.values()] == [True, True]
    assert "1.125 x" in [target.measured for target in nas.values()]
    assert all(found[work].met is None for work in found if ", oss of" in work)
    accelerated = {target.work.partition(": ")[2]: target for target in found.values() if "accelerator" in target.work}
    assert accelerated["origin bytes"].met and accelerated["origin bytes"].measured == "1.010 x"
    assert accelerated["the last has loaded"].met and accelerated["the last has loaded"].measured == "3.30 x"
    (herd,) = herds(runs)
    assert ("oss", "accl", 2) in herd.crossovers()
    # By a wrapper nothing is judged.
    assert all(target.met is None for target in herd_targets([{**run, "how": "throttled"} for run in runs]))
