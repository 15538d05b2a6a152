"""safe_open against safetensors' own: names, metadata, tensors, slices; and rows that bring only their own blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch

import hoist
from hoist.errors import FileNotFound, InvalidFile, TensorNotFound, UsageError
from hoist.read.version import OpenedVersion
from hoist.storage.wrap import Counting
from hoist.tensors import index as index_module
from hoist.tensors import safetensors as safetensors_module
from hoist.tensors.index import read_index
from hoist.tensors.lazy import LazyTensors
from makers import memory_storage, opened, put_version, run_python

TENSORS = {
    "w": torch.arange(7 * 6 * 5, dtype=torch.float32).reshape(7, 6, 5),
    "b": torch.arange(9, dtype=torch.int64),
    "h": torch.arange(8).half().reshape(4, 2),
    "point": torch.tensor(2.5),
    "empty": torch.zeros(0, 3),
}
INDICES: list[Any] = [
    0, -1, 6, slice(None), slice(2, 5), slice(-3, None), slice(None, 2), slice(3, 3), slice(5, 2), slice(0, 100),
    slice(0, 7, 2), slice(1, 6, 3), (), (1,), (1, 2), (1, 2, 3), (slice(1, 3), 2), (slice(1, 3), slice(2, 4)),
    (slice(None), 1), (slice(None), slice(1, 3), slice(0, 2)), (slice(2, 3), slice(None), -1), ..., (..., 1),
    (1, ...), (slice(2, 4), ..., 0), (-2, slice(None), 1),
]  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("slices") / "m.safetensors"
    safetensors.torch.save_file(TENSORS, found, {"format": "pt", "author": "x"})
    return found


def test_names_metadata_and_tensors(path: Path) -> None:
    with hoist.safe_open(path) as ours, safetensors.safe_open(path, "pt") as theirs:
        assert ours.keys() == sorted(theirs.keys())
        assert ours.offset_keys() == theirs.offset_keys()
        assert ours.metadata() == theirs.metadata()
        for name in theirs.keys():  # noqa: SIM118 it is no dict
            assert torch.equal(ours.get_tensor(name), theirs.get_tensor(name))
            assert ours.get_slice(name).get_shape() == theirs.get_slice(name).get_shape()
            assert ours.get_slice(name).get_dtype() == theirs.get_slice(name).get_dtype()


@pytest.mark.parametrize("item", INDICES, ids=repr)
def test_slices_as_torch_and_safetensors_give_them(path: Path, item: Any) -> None:
    with hoist.safe_open(path) as ours, safetensors.safe_open(path, "pt") as theirs:
        found = ours.get_slice("w")[item]
        assert torch.equal(found, TENSORS["w"][item])
        assert found.shape == TENSORS["w"][item].shape
        try:
            expected = theirs.get_slice("w")[item]
        except Exception:
            return  # safetensors' own has fewer forms
        assert torch.equal(found, expected)


@pytest.mark.parametrize("item", [7, -8, (0, 6), (0, 0, 0, 0), "a", slice(None, None, -1)], ids=repr)
def test_slices_that_are_none(path: Path, item: Any) -> None:
    with hoist.safe_open(path) as ours, pytest.raises((IndexError, TypeError, ValueError)):
        ours.get_slice("w")[item]


def test_slices_of_points_and_of_nothing(path: Path) -> None:
    with hoist.safe_open(path) as ours:
        assert ours.get_slice("point")[...] == 2.5
        assert ours.get_slice("empty")[:].shape == (0, 3)
        assert ours.get_slice("empty")[0:0].shape == (0, 3)
        with pytest.raises(IndexError):
            ours.get_slice("point")[0]


def test_numpy(path: Path) -> None:
    with hoist.safe_open(path, framework="np") as ours, safetensors.safe_open(path, "np") as theirs:
        for name in theirs.keys():  # noqa: SIM118 it is no dict
            found = ours.get_tensor(name)
            assert isinstance(found, np.ndarray)
            assert np.array_equal(found, theirs.get_tensor(name))
        for item in (slice(1, 3), (slice(1, 3), 2), slice(0, 7, 2), (..., 1)):
            assert np.array_equal(ours.get_slice("w")[item], TENSORS["w"][item].numpy())


def test_numpy_has_no_eight_bit_floats_without_help(tmp_path: Path) -> None:
    safetensors.torch.save_file({"x": torch.ones(4).to(torch.float8_e5m2)}, tmp_path / "m.safetensors")
    code = "import hoist, sys\nwith hoist.safe_open(sys.argv[1], 'np') as f:\n f.get_slice('x')[:2]"
    process = run_python(code, str(tmp_path / "m.safetensors"))
    assert "UsageError" not in process.communicate()[0]
    assert process.returncode == 1


def test_unknown_names_and_frameworks(path: Path) -> None:
    with hoist.safe_open(path) as ours:
        for ask in (ours.get_tensor, ours.get_slice):
            with pytest.raises(TensorNotFound, match="no tensor 'x'"):
                ask("x")
            with pytest.raises(safetensors.SafetensorError):
                ask("x")
    for framework in ("jax", "flax", "tf", "tensorflow", "mlx", "paddle", "PT", "x"):
        with pytest.raises(UsageError, match=f"framework {framework!r}"):
            hoist.safe_open(path, framework=framework)
        with pytest.raises((safetensors.SafetensorError, ModuleNotFoundError)):
            safetensors.safe_open(path, framework).get_tensor("w")  # type: ignore[no-untyped-call]
    for framework in ("pt", "torch", "pytorch", "np", "numpy"):
        with hoist.safe_open(path, framework, None) as ours, safetensors.safe_open(path, framework, None) as theirs:
            assert type(ours.get_tensor("w")) is type(theirs.get_tensor("w"))


@pytest.mark.parametrize("bad", [{"device": "meta"}, {"device": -1}, {"framework": "x"}, {"backend": "x"}], ids=str)
def test_what_safetensors_refuses_is_refused_in_its_terms(path: Path, bad: dict[str, Any]) -> None:
    for open_it in (hoist.safe_open, safetensors.safe_open):
        with pytest.raises(safetensors.SafetensorError):
            open_it(path, **{"framework": "pt"} | bad)


def test_a_missing_file_and_a_malformed_one(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"\xff" * 80)
    for open_it in (hoist.safe_open, safetensors.safe_open):
        with pytest.raises(FileNotFoundError):
            open_it(tmp_path / "none", "pt")
        with pytest.raises(safetensors.SafetensorError):
            open_it(tmp_path / "bad", "pt")
    with pytest.raises(FileNotFound):
        hoist.load_file(tmp_path / "none")
    with pytest.raises(InvalidFile):
        hoist.load_file(tmp_path / "bad")


def test_closed(path: Path) -> None:
    for open_it in (hoist.safe_open, safetensors.safe_open):
        with open_it(path, "pt") as found:
            part = found.get_slice("w")
        assert torch.equal(part[1:3], TENSORS["w"][1:3])
        for ask in (found.keys, found.offset_keys, found.metadata, found.get_tensors, found.__enter__().keys):
            with pytest.raises(safetensors.SafetensorError, match="closed"):
                ask()


def test_without_a_with_block_the_last_reference_closes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[LazyTensors] = []
    monkeypatch.setattr(safetensors_module, "_close", lambda tensors, weights: closed.append(tensors))
    found = hoist.safe_open(path)
    part = found.get_slice("w")
    del found
    assert torch.equal(part[2], TENSORS["w"][2])
    assert not closed
    del part
    assert len(closed) == 1


def test_arrays_of_numpy_have_their_own_memory(path: Path) -> None:
    with hoist.safe_open(path, "np") as ours:
        ours.get_tensor("w")[:] = -1
        ours.get_slice("w")[:][:] = -1
        assert np.array_equal(ours.get_tensor("w"), TENSORS["w"].numpy())


def test_no_metadata(tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "m.safetensors")
    with (
        hoist.safe_open(tmp_path / "m.safetensors") as ours,
        safetensors.safe_open(tmp_path / "m.safetensors", "pt") as theirs,
    ):
        assert ours.metadata() == theirs.metadata()


BLOCK, ROW = 4096, 256
BIG = torch.arange(64 * ROW // 4, dtype=torch.float32).reshape(64, ROW // 4)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """A version in small blocks behind a counter, which `find_weights` finds at any location."""
    storage = memory_storage()
    put_version(storage, {"m.safetensors": safetensors.torch.save({"first": torch.ones(2000), "w": BIG})}, BLOCK)
    found = Counting(storage)

    def open_it(place: str) -> OpenedVersion:
        return opened(found)

    monkeypatch.setattr(index_module, "open_location", open_it)
    return found


@pytest.mark.parametrize(
    ("item", "most"),
    [
        (5, 2),
        (-1, 1),
        (slice(10, 12), 2),
        (slice(0, 32), 4),
        ((slice(3, 4), slice(0, 2)), 2),
        (slice(0, 0), 0),
        (slice(0, 64, 32), 4),
        ((..., slice(3, 4), slice(0, 2)), 2),
        ((None, 5), 2),
        ([0, 63, -1], 3),
        (range(9, 11), 2),
        (torch.tensor([1, 2]), 1),
        (np.array([40, 41]), 2),
        (([2, 3], slice(0, 8)), 1),
        ([], 0),
        (BIG[:, 0] == 5, 5),
    ],
)
def test_rows_bring_only_their_own_blocks(counting: Counting, item: Any, most: int) -> None:
    with hoist.safe_open("memory://x//m/one:v1") as ours:
        before = counting.bytes["read_into"]
        assert torch.equal(ours.get_slice("w")[item], BIG[item])
        assert counting.bytes["read_into"] - before <= most * BLOCK


def test_a_tensor_brings_only_its_own_blocks(counting: Counting) -> None:
    with hoist.safe_open("memory://x//m/one:v1") as ours:
        before = counting.bytes["read_into"]
        assert torch.equal(ours.get_tensor("first"), torch.ones(2000))
        assert counting.bytes["read_into"] - before <= 3 * BLOCK


def test_each_block_is_fetched_once_in_any_order_and_memory_is_shared() -> None:
    tensors = {f"t{n:03}": torch.full((500,), float(n)) for n in range(200)}
    storage = memory_storage()
    put_version(storage, {"m.safetensors": safetensors.torch.save(tensors)}, 1 << 14)
    counting = Counting(storage)
    version = opened(counting)
    lazy = LazyTensors(read_index([version.source("m.safetensors")], version.engine), version.engine)
    counting.bytes.clear()
    names = sorted(tensors, key=lambda name: name[::-1])
    found = {name: lazy.tensor(name) for name in names}
    for name in names:
        assert found[name].equal(tensors[name])
        assert lazy.tensor(name).data_ptr() == found[name].data_ptr()
    assert counting.bytes["read_into"] <= version.entry("m.safetensors").size
    assert len({tensor.untyped_storage().data_ptr() for tensor in found.values()}) == 1
