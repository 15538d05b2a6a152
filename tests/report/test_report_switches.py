"""The experiment out of its records: medians, and which files stand in one figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_making import GIB, experiment, switch

from hoist.report.material import Material, read_material
from hoist.report.switches import experiments, real_size


def material(*files: list[Any]) -> Material:
    return Material({f"{number}.jsonl": records for number, records in enumerate(files, 1)})


def test_medians_and_reads() -> None:
    runs = [switch("nas", "a", "plain", "first", run, seconds, GIB) for run, seconds in enumerate((5.0, 1.0, 2.0))]
    (found,) = experiments(material([*runs, switch("nas", "a", "hoist", "first", 0, 1.5, GIB)]))
    (store,) = found.stores
    assert store.measured["a", "plain", "first"].median == 2.0
    assert store.measured["a", "plain", "first"].reads == 2.0
    assert store.loaders == ["hoist", "plain"] and store.beside == "plain"
    assert (store.total("hoist", "first"), store.total("plain", "second")) == (1.5, None)
    assert found.runs == 3 and found.hashed and found.cached == 0.0 and found.scaled is None


def test_of_an_image_hoist_stands_beside_what_was_pulled() -> None:
    records = [switch("image", "a", loader, "first", 0, 1.0, GIB) for loader in ("pulled", "hoist", "podman")]
    assert experiments(material(records))[0].stores[0].beside == "pulled"


def test_storages_of_several_files_stand_together_unless_they_are_the_same() -> None:
    nas, oss, again = experiment(1, 2, ("nas",)), experiment(1, 2, ("oss",)), experiment(1, 2, ("nas",))
    found = experiments(material(nas, oss, again))
    assert [(each.sources, [store.name for store in each.stores]) for each in found] == [
        (("1.jsonl", "2.jsonl"), ["nas", "oss"]),
        (("3.jsonl",), ["nas"]),
    ]


@pytest.mark.parametrize("change", [{"access": "tensors"}, {"machine": {"cpu": "another"}}])
def test_what_was_measured_otherwise_stands_apart(change: dict[str, Any]) -> None:
    nas, oss = experiment(1, 1, ("nas",)), [record | change for record in experiment(1, 1, ("oss",))]
    assert [len(each.stores) for each in experiments(material(nas, oss))] == [1, 1]


def test_narrow_test_models_stand_for_the_real_ones() -> None:
    assert real_size("sd_xl_base_1.0.safetensors", GIB) == int(6.46 * GIB)
    assert real_size("sd_xl_base_1.0.safetensors", int(6.4 * GIB)) == int(6.4 * GIB)
    assert real_size("my.safetensors", GIB) == GIB


def test_the_recorded_experiment(tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "benchmarks/records"
    found = experiments(read_material(sorted(folder.glob("2026-11-22-switch-*.jsonl"))))
    assert [len(each.sizes) for each in found] == [1, 1, 10, 1]
    ten = found[2]
    # docs/performance.md has the same sums, of the same records.
    assert [f"{store.total(loader, 'first'):.2f}" for store in ten.stores for loader in ("hoist", "plain")] == [
        *("2.43", "4.60"),
        *("4.28", "10.45"),
    ]
    assert len(ten.limits) == 3 and ten.scaled
