"""Records of the benchmarks become facts, with the machine and the date; those of another schema are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from advise_cases import CHECKPOINT, advised

from hoist.advise.facts import known_facts, parse_facts, read_facts, shipped
from hoist.advise.learn import facts_toml, learn
from hoist.errors import InvalidFile, UsageError

RECORDS = Path(__file__).parents[2] / "benchmarks/records"
BASE: dict[str, Any] = {
    "schema": "hoist.bench/1",
    "date": "2026-11-20T10:00:00Z",
    "machine": {"cpu": "Test CPU", "cores": 4},
}


def write(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / "records.jsonl"
    path.write_text("".join(json.dumps(BASE | record) + "\n" for record in records))
    return path


def switch(**values: Any) -> dict[str, Any]:
    usual = {"bench": "switch", "loader": "hoist", "switch": "first", "kind": "nas", "size": 10**9, "seconds": 2.0}
    return usual | values


def test_first_switches_tell_what_one_instance_draws(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        switch(),
        switch(seconds=1.0),
        switch(seconds=4.0),
        switch(switch="second", seconds=0.1),
        switch(loader="plain", seconds=9.0),
        {"bench": "switch", "skipped": "not there"},
        {"bench": "publish", "seconds": 1.0, "size": 1},
    )
    found = learn([path])
    (fact,) = found.facts
    assert (fact.id, fact.shown, fact.read) == ("function-compute.nas.client-rate", "500 MB/s", "2026-11-20")
    assert (fact.certainty, fact.source) == ("measured", "hoist bench switch, median of 3")
    assert "Test CPU, 4 cores" in fact.note
    assert (found.used, found.unused) == (3, {"switch": 3, "publish": 1})
    assert learn([path], "generic").facts[0].id == "generic.nas.client-rate"


def test_herds_tell_what_all_draw_at_full_scale(tmp_path: Path) -> None:
    herd = {"bench": "herd", "storage": "nas", "how": "namespaces", "scale": 0.25, "failures": [], "size": 10**9}
    path = write(
        tmp_path,
        # Two instances may be held back by their own links.
        herd | {"instances": 2, "seconds": [1.0, 1.0]},
        herd | {"instances": 8, "seconds": [40.0] * 7 + [50.0]},
        herd | {"instances": 16, "seconds": [90.0] * 15 + [100.0]},
        herd | {"instances": 16, "seconds": [1.0], "how": "throttled"},
        herd | {"instances": 16, "seconds": [1.0], "failures": ["late"]},
        herd | {"storage": "oss", "instances": 4, "seconds": [10.0] * 4},
    )
    facts = {fact.id: fact for fact in learn([path]).facts}
    # The most of 8 GB in 50 s and 16 GB in 100 s, four times.
    assert facts["function-compute.nas.performance.rate"].base == pytest.approx(640e6)
    assert facts["function-compute.oss.rate.any"].base == pytest.approx(1600e6)


def test_images_accelerators_and_plain_loads(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"bench": "image", "work": "load", "tool": "hoist", "size": 2 * 10**9, "seconds": 2.0},
        {"bench": "image", "work": "push", "tool": "hoist", "size": 2 * 10**9, "seconds": 9.0},
        {"bench": "accelerator", "step": "warm", "way": "accelerated", "size": 10**9, "seconds": 0.5},
        {"bench": "accelerator", "step": "warm", "way": "static", "size": 10**9, "seconds": 0.1},
        {"bench": "load", "place": "file", "state": "warm", "loader": "safetensors", "size": 10**9, "seconds": 0.1},
        {"bench": "load", "place": "file", "state": "warm", "loader": "torch", "size": 10**9, "seconds": 0.1},
    )
    rates = {fact.id: fact.base for fact in learn([path]).facts}
    assert rates == {
        "function-compute.accl.client-rate": pytest.approx(2e9),
        "function-compute.image.client-rate": pytest.approx(1e9),
        "loader.plain.memory-rate": pytest.approx(10e9),
    }


def test_what_is_learned_is_a_file_of_facts_and_counts(tmp_path: Path) -> None:
    path = write(tmp_path, switch(kind="oss", seconds=10.0))
    learned = read_facts(path)
    again = parse_facts(__import__("tomllib").loads(facts_toml(learned)), "again")
    assert again == learned
    facts = known_facts([path])
    before, after = (advised(each, **CHECKPOINT).judged["oss"].prediction for each in (shipped(), facts))
    assert after.p50 > before.p50 + 30
    assert after.bound == "the loader"


def test_what_was_measured_of_the_account_wins_over_the_region(tmp_path: Path) -> None:
    herd = {"bench": "herd", "storage": "oss", "how": "namespaces", "scale": 1.0, "failures": [], "size": 10**9}
    facts = known_facts([write(tmp_path, herd | {"instances": 4, "seconds": [2.0] * 4})])
    assert advised(facts).judged["oss"].candidate.performance.total_rate == pytest.approx(2e9)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"schema": "hoist.bench/2", "bench": "switch", "date": "x", "machine": {}}', "hoist.bench/2"),
        ("{", "line 1: not JSON"),
        ("[]", "not a record"),
    ],
)
def test_records_of_another_schema_are_told(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(InvalidFile, match=said):
        learn([path])


def test_records_that_tell_nothing_are_told(tmp_path: Path) -> None:
    odd = {"bench": "switch", "loader": "hoist", "switch": "first", "kind": "nas"}
    with pytest.raises(UsageError, match="no record there tells a rate"):
        learn([write(tmp_path, odd, switch(seconds=0), {"bench": "start", "seconds": 1})])


def test_the_shipped_records_tell_what_is_shipped() -> None:
    """What stands in loaders.toml is what its records say."""
    learned = {fact.id: fact for fact in learn([RECORDS / "2026-11-25-suite.jsonl"]).facts}
    mine = learned["loader.plain.memory-rate"]
    assert mine.base == pytest.approx(shipped().get("loader.plain.memory-rate", "rate"), rel=0.001)
