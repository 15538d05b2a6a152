"""Tensors one after the other: the same as load_file's, in the order of the files, in bounded batches."""

from __future__ import annotations

import weakref
from pathlib import Path
from uuid import uuid4

import pytest
import torch

import hoist
from hoist.config import load_config
from hoist.errors import DamagedBlock, InvalidFile
from hoist.storage import open_storage
from hoist.storage.tree import TreeStorage
from hoist.tensors.stream import stream_tensors
from makers import Raw, noise, put_version, safetensors_bytes, write_files

TENSORS = [Raw(f"layer.{9 - n}", "F32", (100, n + 1), noise(400 * (n + 1), n)) for n in range(10)]


def publish(folder: Path, storage: str) -> str:
    """Two shards of an index, published; the location."""
    files = {
        "model-1.safetensors": safetensors_bytes(TENSORS[:6]),
        "model-2.safetensors": safetensors_bytes(TENSORS[6:]),
    }
    shards = ", ".join(f'"{each.name}": "model-{1 + (at >= 6)}.safetensors"' for at, each in enumerate(TENSORS))
    files["model.safetensors.index.json"] = f'{{"weight_map": {{{shards}}}}}'.encode()
    write_files(folder / "source", files)
    (folder / "nas").mkdir()
    hoist.publish(folder / "source", f"{storage}//m:v1")
    return f"{storage}//m:v1"


@pytest.fixture(params=["directory", "memory"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The shards in a directory, whose files are mapped, or where they have to be fetched."""
    return publish(tmp_path, str(tmp_path / "nas") if request.param == "directory" else f"memory://{uuid4().hex}")


@pytest.mark.parametrize("batch_bytes", [1, 2000, 1 << 20])
def test_the_same_tensors_in_the_order_of_the_files(location: str, batch_bytes: int) -> None:
    found = list(stream_tensors(location, batch_bytes=batch_bytes))
    assert [name for name, _ in found] == [each.name for each in TENSORS]
    expected = hoist.load_file(location)
    assert all(torch.equal(tensor.view(torch.uint8), expected[name].view(torch.uint8)) for name, tensor in found)


def test_no_more_than_two_batches_are_in_memory() -> None:
    """Each batch has memory of its own, which is free once its tensors are."""
    storage = f"memory://{uuid4().hex}"
    opened = open_storage(load_config().storage(storage), {})
    assert isinstance(opened, TreeStorage)
    many = [Raw(f"t{n:02}", "F32", (256,), noise(1024, n)) for n in range(64)]
    put_version(opened, {"model.safetensors": safetensors_bytes(many)}, 1024)
    alive: list[weakref.ref[torch.UntypedStorage]] = []
    most = 0
    for _, tensor in stream_tensors(f"{storage}//m/one:v1", batch_bytes=4096):
        memory = tensor.untyped_storage()
        if not alive or alive[-1]() is not memory:
            alive.append(weakref.ref(memory))
        most = max(most, sum(each() is not None for each in alive))
        assert memory.nbytes() <= 4 * 4096
        del memory
    assert len(alive) >= 8
    assert most <= 2


def test_whoever_stops_early_leaves_nothing_open(location: str) -> None:
    tensors = stream_tensors(location, batch_bytes=1)
    name, _ = next(tensors)
    assert name == TENSORS[0].name
    tensors.close()
    assert list(tensors) == []


def test_a_damaged_block_is_found_where_it_is(tmp_path: Path) -> None:
    location = publish(tmp_path, str(tmp_path / "nas"))
    path = tmp_path / "nas/m/v1/model-2.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    seen = []
    with pytest.raises(DamagedBlock, match=r"model-2\.safetensors"):
        for name, _ in stream_tensors(location):
            seen.append(name)
    assert seen == [each.name for each in TENSORS[:6]]


def test_two_files_with_one_name_are_refused_at_once(tmp_path: Path) -> None:
    files = {name: safetensors_bytes(TENSORS[:2]) for name in ("a.safetensors", "b.safetensors")}
    write_files(tmp_path, files)
    with pytest.raises(InvalidFile, match="is in both"):
        next(stream_tensors(tmp_path, ["a.safetensors", "b.safetensors"]))
