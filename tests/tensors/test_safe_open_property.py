"""safe_open and load_file against safetensors' own on the same files: every dtype, any shape, any index, any order."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 with it numpy has bfloat16, for safetensors' own as well
import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import hoist
from hoist.errors import InvalidFile
from hoist.model.formats.safetensors import DTYPE_BITS
from hoist.storage.wrap import Counting
from hoist.tensors import index as index_module
from makers import Raw, directory_storage, memory_storage, opened, publish, put_version, safetensors_bytes

QUICK = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)
WHOLE = st.none() | st.integers(-7, 7)
BASIC = (
    st.integers(-6, 6)
    | st.builds(slice, WHOLE, WHOLE, st.none() | st.integers(1, 4))
    | st.just(slice(None))
    | st.just(Ellipsis)
    | st.none()
    | st.integers(-3, 3).map(np.int64)
)
ROWS = st.lists(st.integers(-5, 4), max_size=4)
ADVANCED = ROWS | ROWS.map(lambda rows: torch.tensor(rows, dtype=torch.int64)) | st.booleans()
INDICES = (
    BASIC
    | ADVANCED
    | st.lists(BASIC, max_size=4).map(tuple)
    | st.tuples(ADVANCED, BASIC)
    | st.tuples(BASIC, ADVANCED)
    | st.sampled_from(["a", 1.5, b"x", {}, 2**70, slice(None, None, -1), slice(None, None, 0), range(2)])
)


def raw(name: str, dtype: str, shape: tuple[int, ...], seed: int = 0) -> Raw | None:
    """Random bytes as a tensor; None where its bits do not fill bytes."""
    size = math.prod(shape) * DTYPE_BITS[dtype]
    data = random.Random(seed).randbytes(size // 8)
    return None if size % 8 else Raw(name, dtype, shape, bytes(b & 1 for b in data) if dtype == "BOOL" else data)


def write(path: Path, tensors: list[Raw]) -> Path:
    """A file aligned as safetensors' own writer aligns it: the widest elements first."""
    path.write_bytes(safetensors_bytes(sorted(tensors, key=lambda item: -DTYPE_BITS[item.dtype])))
    return path


def what(ask: Any) -> Any:
    """What comes of it: dtype, shape and bytes, or that it is an error."""
    try:
        found = ask()
    except (Exception, pytest.PytestWarning):
        return "error"
    if isinstance(found, torch.Tensor):
        flat = torch.empty(found.shape, dtype=found.dtype).copy_(found).reshape(-1)
        data = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        return str(found.dtype), tuple(found.shape), data
    return str(found.dtype), found.shape, found.tobytes()


@QUICK
@given(st.sampled_from([name for name in DTYPE_BITS if name != "F4"]), SHAPES, INDICES)
def test_any_index_of_any_tensor_gives_what_safetensors_gives(
    tmp_path: Path, dtype: str, shape: tuple[int, ...], index: Any
) -> None:
    tensor = raw("x", dtype, shape)
    if tensor is None:
        return
    path = write(tmp_path / "m.safetensors", [tensor])
    with hoist.safe_open(path) as ours, safetensors.safe_open(path, "pt") as theirs:
        assert ours.get_slice("x").get_shape() == theirs.get_slice("x").get_shape()
        assert ours.get_slice("x").get_dtype() == theirs.get_slice("x").get_dtype()
        assert what(lambda: ours.get_slice("x")[index]) == what(lambda: theirs.get_slice("x")[index])
        assert what(lambda: ours.get_tensor("x")) == what(lambda: theirs.get_tensor("x"))


@QUICK
@given(INDICES)
@example((..., ..., slice(None)))
def test_an_index_brings_just_the_blocks_of_what_it_reads(monkeypatch: pytest.MonkeyPatch, index: Any) -> None:
    whole = torch.arange(6 * 5 * 4, dtype=torch.float32).reshape(6, 5, 4)
    storage = memory_storage()
    data = safetensors.torch.save({"before": torch.ones(77), "x": whole, "xbehind": torch.ones(50)})
    put_version(storage, {"m.safetensors": data}, 64)
    counting = Counting(storage)
    monkeypatch.setattr(index_module, "open_location", lambda place: opened(counting))
    with hoist.safe_open("memory://x//m/one:v1") as ours:
        before = counting.bytes["read_into"]
        found = what(lambda: ours.get_slice("x")[index])
        brought = counting.bytes["read_into"] - before
    assert found == what(lambda: whole[index])
    if found == "error":
        return
    first = data.index(whole.numpy().tobytes())
    items = index if isinstance(index, tuple) and index else (index,)
    if isinstance(items[0], list | range | torch.Tensor):
        index = items[0]  # whole rows
    elif any(isinstance(item, list | bool | torch.Tensor) for item in items) or items.count(...) > 1:
        index = ...  # not plain to see
    numbers = torch.arange(whole.numel()).reshape(whole.shape)[index].reshape(-1).tolist()
    blocks = opened(storage).blocks("m.safetensors")
    needed = {block for number in numbers for block in blocks.covering(first + 4 * number, first + 4 * number + 4)}
    spans = [blocks.span(block) for block in needed]
    assert brought == sum(end - begin for begin, end in spans)


@QUICK
@given(st.sampled_from([name for name in DTYPE_BITS if name != "F4"]), SHAPES, INDICES)
def test_numpy_gives_at_least_what_safetensors_gives(
    tmp_path: Path, dtype: str, shape: tuple[int, ...], index: Any
) -> None:
    tensor = raw("x", dtype, shape)
    # Its own numpy slicing panics where a slice ends before it begins.
    if tensor is None or any(isinstance(i, slice) for i in (index if isinstance(index, tuple) else (index,))):
        return
    path = write(tmp_path / "m.safetensors", [tensor])
    with hoist.safe_open(path, "np") as ours, safetensors.safe_open(path, "np") as theirs:
        expected = what(lambda: theirs.get_slice("x")[index])
        assert expected in ("error", what(lambda: ours.get_slice("x")[index]))
        expected = what(lambda: theirs.get_tensor("x"))
        assert expected in ("error", what(lambda: ours.get_tensor("x")))


@pytest.mark.parametrize(
    "index",
    [
        torch.tensor([2]),
        torch.tensor(1),
        torch.tensor([[1]]),
        torch.tensor([True]),
        (torch.tensor([0]), 1),
        np.array(1),
    ],
)
@pytest.mark.parametrize("framework", ["np", "pt"])
def test_one_number_in_a_tensor_or_an_array(tmp_path: Path, framework: str, index: Any) -> None:
    tensor = raw("x", "F32", (4, 6))
    assert tensor
    path = write(tmp_path / "m.safetensors", [tensor])
    with hoist.safe_open(path, framework) as ours, safetensors.safe_open(path, framework) as theirs:
        assert what(lambda: ours.get_slice("x")[index]) == what(lambda: theirs.get_slice("x")[index])


@pytest.mark.parametrize(
    "index", [slice(1, 3), slice(0, 4, 3), (slice(None), slice(1, 3)), (0, slice(2, 2)), True, [], ...]
)
@pytest.mark.parametrize("dtype", ["F32", "BF16", "C64", "BOOL", "U16", "F8_E4M3"])
def test_numpy_slices(tmp_path: Path, dtype: str, index: Any) -> None:
    tensor = raw("x", dtype, (4, 6))
    assert tensor
    path = write(tmp_path / "m.safetensors", [tensor])
    with hoist.safe_open(path, "np") as ours, safetensors.safe_open(path, "np") as theirs:
        expected = what(lambda: theirs.get_slice("x")[index])
        assert expected != "error" or dtype == "F8_E4M3"
        assert expected in ("error", what(lambda: ours.get_slice("x")[index]))
        assert what(lambda: ours.get_slice("x")[index]) != "error"


@QUICK
@given(st.lists(st.tuples(st.sampled_from(list(DTYPE_BITS)), SHAPES), max_size=6), st.randoms())
def test_whole_files_and_tensors_in_any_order(
    tmp_path: Path, items: list[tuple[str, tuple[int, ...]]], order: random.Random
) -> None:
    made = [raw(f"t{n}", dtype, shape, n) for n, (dtype, shape) in enumerate(items)]
    path = write(tmp_path / "m.safetensors", [tensor for tensor in made if tensor])
    with hoist.safe_open(path) as ours, safetensors.safe_open(path, "pt") as theirs:
        names = theirs.keys()
        assert ours.keys() == names
        order.shuffle(names)
        for name in names:
            assert what(lambda name=name: ours.get_tensor(name)) == what(lambda name=name: theirs.get_tensor(name)), (
                name
            )
        try:
            expected = {name: what(lambda t=t: t) for name, t in theirs.get_tensors().items()}
        except (safetensors.SafetensorError, AttributeError):
            for load in (ours.get_tensors, lambda: hoist.load_file(path)):
                with pytest.raises(InvalidFile):
                    load()
            return
        for found in (ours.get_tensors(), hoist.load_file(path)):
            assert {name: what(lambda t=t: t) for name, t in found.items()} == expected


@pytest.mark.parametrize("dtype", DTYPE_BITS)
def test_every_dtype_is_published_and_read_back(tmp_path: Path, dtype: str) -> None:
    made = [raw("x", dtype, (4, 8)), raw("none", dtype, (0, 2)), raw("point", dtype, ())]
    path = write(tmp_path / "m.safetensors", [tensor for tensor in made if tensor])
    publish(path, directory_storage(tmp_path / "s"))
    location = f"{tmp_path / 's'}//m/one:v1"
    (found,) = hoist.inspect(location).files
    assert {(item.name, item.dtype, item.shape) for item in found.tensors} == {
        (tensor.name, dtype, tensor.shape) for tensor in made if tensor
    }
    hoist.verify(location)
    hoist.pull(location, tmp_path / "out")
    assert (tmp_path / "out" / "m.safetensors").read_bytes() == path.read_bytes()
    if dtype.startswith("F6_"):
        with pytest.raises(InvalidFile, match=rf"'\w+' is {dtype}, for which torch .* has no dtype"):
            hoist.load_file(location)
        assert opened(directory_storage(tmp_path / "s")).read("m.safetensors") == path.read_bytes()
    else:
        expected = safetensors.safe_open(path, "pt").get_tensors()  # type: ignore[no-untyped-call]
        assert {name: what(lambda t=t: t) for name, t in hoist.load_file(location).items()} == {
            name: what(lambda t=t: t) for name, t in expected.items()
        }


def test_f4_that_torch_cannot_hold(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", [Raw("x", "F4", (4, 3), bytes(6))])
    with hoist.safe_open(path) as ours, safetensors.safe_open(path, "pt") as theirs:
        for ask in (ours.get_tensor, theirs.get_tensor):
            with pytest.raises(safetensors.SafetensorError):
                ask("x")
        with pytest.raises(InvalidFile, match="even last dimension"):
            ours.get_slice("x")[0]


def test_f4_slices_are_of_torchs_packed_shape(tmp_path: Path) -> None:
    tensor = raw("x", "F4", (4, 8))
    assert tensor
    path = write(tmp_path / "m.safetensors", [tensor])
    whole = safetensors.safe_open(path, "pt").get_tensor("x")  # type: ignore[no-untyped-call]
    with hoist.safe_open(path) as ours:
        for index in (1, slice(1, 3), (slice(None), slice(0, 2)), ...):
            assert what(lambda index=index: ours.get_slice("x")[index].view(torch.uint8)) == what(
                lambda index=index: whole.view(torch.uint8)[index]
            )
