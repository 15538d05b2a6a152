"""The simulator beside herds: what one instance alone says is enough for many, where they behave as links do."""

from __future__ import annotations

from typing import Any

import pytest

from hoist.advise.validate import validate, validation_json, validation_markdown
from hoist.bench.records import make_record
from hoist.errors import InvalidFile, UsageError

Record = dict[str, Any]
SIZE = 100_000_000
SETUP = 0.2
# Of a cold accelerator's first copy, in place of the 100 MB/s of its origin's link.
COLD = 62.5e6
RATES = {"nas": (100e6, None), "oss": (100e6, None), "accl": (400e6, 100e6)}


def record(storage: str, instances: int, seconds: float, cpu: float = 0.0) -> Record:
    rate, origin = RATES[storage]
    rates = {"storage": rate, "instance": 125e6, "origin": origin}
    return make_record(
        "herd",
        {"cores": 2},
        {
            "run": 0,
            "storage": storage,
            "server": "one of a test",
            "how": "namespaces",
            "size": SIZE,
            "model_size": 4 * SIZE,
            "scale": 0.25,
            "time_scale": 1.0,
            "start_jitter": 0.0,
            "rates": rates,
            "shaped_rates": rates,
            "deadlines": {"port check": 120.0},
            "instances": instances,
            "seconds": [seconds] * instances,
            "failures": [],
            "ideal_seconds": 1.0,
            "bytes_read": SIZE * instances,
            "origin_bytes": SIZE * (1 if origin else instances),
            "origin_bytes_by": "link",
            "origin_ideal_bytes": SIZE,
            "instance_cpu_seconds": cpu,
            "server_cpu_seconds": 0.0,
            "machine_busy": 0.3,
        },
    )


def ideal(storage: str, instances: int) -> float:
    """As links would have it."""
    rate, origin = RATES[storage]
    bytes_seconds = max(SIZE / 125e6, instances * SIZE / rate)
    return SETUP + max(bytes_seconds, SIZE / COLD if origin else 0.0)


def herd(**factor: float) -> list[Record]:
    """Measured as links would have it, times a factor by storage where there are several instances."""
    return [
        record(storage, n, ideal(storage, n) * (factor.get(storage, 1.0) if n > 1 else 1.0))
        for storage in RATES
        for n in (1, 2, 4, 16)
    ]


def test_herds_that_behave_as_links_are_predicted_from_one_instance() -> None:
    (found,) = validate(herd())
    assert {(row.storage, row.instances) for row in found.rows} == {(s, n) for s in RATES for n in (2, 4, 16)}
    for row in found.rows:
        measured = ideal(row.storage, row.instances)
        if row.storage == "accl":
            # Who waits for a cold cache sleeps half a second at a time.
            assert measured - 1e-6 <= row.predicted_most <= measured + 1.0
        else:
            assert row.predicted_p50 == row.predicted_most == pytest.approx(measured, rel=1e-6)
    assert found.met


def test_what_many_took_is_never_what_the_simulator_is_calibrated_by() -> None:
    (found,), (slower,) = validate(herd()), validate(herd(nas=1.2, oss=1.2, accl=1.6))
    for row, other in zip(found.rows, slower.rows, strict=True):
        assert (row.predicted_p50, row.predicted_most) == (other.predicted_p50, other.predicted_most)
        assert other.measured_p50 > row.measured_p50
    assert max(slower.median_errors) == pytest.approx(1 - 1 / 1.2)
    assert not slower.met


def test_a_machine_without_cpu_for_more_is_slower_than_its_links() -> None:
    # Two cores at half a second each for one instance: no more than 4 of them a second.
    records = [record("nas", 1, 1.2, cpu=0.5), record("nas", 8, 9.0, cpu=4.0)]
    records[1]["rates"] = records[0]["rates"] = records[0]["shaped_rates"] = {
        "storage": 1e9,
        "instance": 100e6,
        "origin": None,
    }
    records[1]["shaped_rates"] = records[0]["shaped_rates"]
    (found,) = validate(records)
    assert found.rows[0].predicted_p50 == pytest.approx(SETUP + 8 / 4, rel=1e-6)


def test_records_of_herds_are_needed_and_one_instance_alone() -> None:
    with pytest.raises(UsageError, match="no herd"):
        validate([])
    with pytest.raises(UsageError, match="no herd"):
        validate([each for each in herd() if each["instances"] > 1])
    old = herd()
    for each in old:
        del each["start_jitter"]
    with pytest.raises(InvalidFile, match="start_jitter"):
        validate(old)


def test_the_table_says_what_was_met() -> None:
    (found,) = validate(herd(accl=1.6))
    text = "\n".join(validation_markdown([found]))
    assert "| accl | 16 |" in text and "NOT met" in text
    document = validation_json(found)
    assert document["met"] is False and len(document["rows"]) == 9
