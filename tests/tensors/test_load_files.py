"""Several files of one place in one call: merged by `load_file`, apart by `load_files`, in one run of the engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import hoist
from hoist.errors import FileNotFound, InvalidFile, UsageError
from hoist.read.engine import Engine
from makers import directory_storage, publish, write_files

UNET, VAE = {"unet.w": torch.arange(600.0), "unet.b": torch.ones(3)}, {"vae.w": torch.arange(50).half()}
SHARDS = [{"a": torch.ones(2)}, {"b": torch.zeros(3)}]
INDEX = {"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}
FILES = {
    "unet/x.safetensors": safetensors.torch.save(UNET),
    "vae/x.safetensors": safetensors.torch.save(VAE),
    "vae/y.safetensors": safetensors.torch.save(VAE),
    "text/m-1.safetensors": safetensors.torch.save(SHARDS[0]),
    "text/m-2.safetensors": safetensors.torch.save(SHARDS[1]),
    "text/m.safetensors.index.json": json.dumps(INDEX).encode(),
    "text/other.safetensors": safetensors.torch.save({"a": torch.ones(1)}),
    "config.json": b"{}",
}


@pytest.fixture(params=["folder", "location"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    folder = write_files(tmp_path / "files", FILES)
    if request.param == "folder":
        return folder
    publish(folder, directory_storage(tmp_path / "s"))
    return f"{tmp_path / 's'}//m/one:v1"


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of jobs of each run of the engine of more than one job: headers are read by runs of one."""
    found: list[int] = []
    run = Engine.run

    def counted(self: Engine, jobs: Any, **more: Any) -> None:
        jobs = list(jobs)
        found.extend([len(jobs)] * (len(jobs) > 1))
        run(self, jobs, **more)

    monkeypatch.setattr(Engine, "run", counted)
    return found


def test_several_files_are_merged_in_one_run(place: Any, runs: list[int]) -> None:
    names = ["unet/x.safetensors", "vae/x.safetensors", "text/m.safetensors.index.json", "text/m-1.safetensors"]
    same(hoist.load_file(place, names), UNET | VAE | SHARDS[0] | SHARDS[1])
    assert runs == [4]
    same(hoist.load_file(place, names, dtype="float64", prefix="vae."), {"vae.w": VAE["vae.w"].double()})
    with hoist.safe_open(place, file=names) as opened:
        assert opened.keys() == sorted(UNET | VAE | SHARDS[0] | SHARDS[1])


def test_one_name_in_two_files(place: Any) -> None:
    names = ["vae/x.safetensors", "vae/y.safetensors"]
    with pytest.raises(InvalidFile, match=r"'vae\.w' is in both .*vae/x\.safetensors and .*vae/y\.saf.*load_files"):
        hoist.load_file(place, names)
    with pytest.raises(InvalidFile, match="both"):
        hoist.safe_open(place, file=names)
    found = hoist.load_files(place, names)
    assert list(found) == names
    for tensors in found.values():
        same(tensors, VAE)


def test_all_files_each_under_its_name(place: Any, runs: list[int]) -> None:
    found = hoist.load_files(place)
    assert set(found) == {
        "unet/x.safetensors", "vae/x.safetensors", "vae/y.safetensors",
        "text/m.safetensors.index.json", "text/other.safetensors",
    }  # fmt: skip
    assert runs == [6]
    same(found["text/m.safetensors.index.json"], SHARDS[0] | SHARDS[1])
    same(found["text/other.safetensors"], {"a": torch.ones(1)})
    cast = hoist.load_files(place, ["text/m.safetensors.index.json", "text/m-1.safetensors"], dtype="bfloat16")
    same(cast["text/m-1.safetensors"], {"a": torch.ones(2).bfloat16()})
    assert cast["text/m.safetensors.index.json"]["b"].dtype == torch.bfloat16


def test_names_that_are_not_there(place: Any, tmp_path: Path) -> None:
    loads: list[Callable[..., Any]] = [hoist.load_file, hoist.load_files]
    for load in loads:
        with pytest.raises(FileNotFound, match=r"unet/y\.safetensors"):
            load(place, ["vae/x.safetensors", "unet/y.safetensors"])
        with pytest.raises(UsageError, match="no file is named"):
            load(place, [])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(FileNotFound, match=r"has no \.safetensors file"):
        hoist.load_files(tmp_path / "nothing")


def test_a_local_folder_is_taken_as_a_version_is(tmp_path: Path) -> None:
    folder = write_files(
        tmp_path / "text", {name[5:]: data for name, data in FILES.items() if name.startswith("text/")}
    )
    same(hoist.load_file(folder), SHARDS[0] | SHARDS[1])
    same(hoist.load_file(str(folder), "other.safetensors"), {"a": torch.ones(1)})
    (folder / "m.safetensors.index.json").unlink()
    with pytest.raises(UsageError, match=r"name one of m-1\.safetensors, m-2"):
        hoist.load_file(folder)
    with pytest.raises(UsageError, match="several files"):
        hoist.open_gguf(folder, ["m-1.safetensors", "m-2.safetensors"])  # type: ignore[arg-type]
