"""A served function whose models lie in two regions, the first of which is lost."""

from __future__ import annotations

from pathlib import Path

from serving import Served, weights

import hoist
from hoist.testing.servers.fault_kinds import Refusal, Stalled
from hoist.testing.servers.faults import Rule
from makers import directory_storage, publish, write_files
from regions import two_regions
from zygote import Zygote

NAMES = ("a", "b")


def test_models_come_from_the_region_that_is_left(zygote: Zygote, tmp_path: Path) -> None:
    with directory_storage(tmp_path / "regions/models") as storage:
        for number, name in enumerate(NAMES):
            data = weights(number, {f"w{each}": 100_000 for each in range(4)})
            publish(write_files(tmp_path / name, {"model.safetensors": data}), storage, f"m/{name}:v1")
    with two_regions(tmp_path / "regions") as regions:
        models = [f"{name}=models//m/{name}:v1" for name in NAMES]
        with Served(zygote, tmp_path, "Ordered", "--models", *models, **regions.env) as served:
            served.ready()
            first = served.invoke("echo", model="a")
            regions.eu.plan(Rule(Stalled("body"), path="*model.safetensors"), Rule(Refusal(503)))
            second = served.invoke("echo", model="b")
            assert (first.status, second.status) == (200, 200)
            assert regions.eu.struck()
            for name, answer in zip(NAMES, (first, second), strict=True):
                tensors = hoist.load_file(tmp_path / name / "model.safetensors")
                assert answer.json["sums"] == {key: float(tensor.double().sum()) for key, tensor in tensors.items()}
