"""load_checkpoint against torch.load(weights_only=True) on the same files: views, sharing, wrappers, odd tensors."""

from __future__ import annotations

import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hoist
from hoist.errors import InvalidFile
from makers import directory_storage, publish

QUICK = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.float8_e4m3fn]
OTHERS = [torch.int64, torch.int8, torch.uint8, torch.bool, torch.uint16, torch.int32]


def base(dtype: torch.dtype) -> torch.Tensor:
    raw = torch.arange(48 * 8, dtype=torch.int64).mul(37).remainder(251).to(torch.uint8)
    return raw[:48] % 2 == 0 if dtype == torch.bool else raw.view(dtype)[:48].clone()


@st.composite
def checkpoints(draw: st.DrawFn) -> Any:
    """Nested containers of tensors that are views, in all manners, of a few storages."""
    bases = [base(dtype) for dtype in draw(st.lists(st.sampled_from(FLOATS + OTHERS), min_size=1, max_size=3))]

    def view(number: int, offset: int, size: list[int], strides: list[int], kind: int) -> Any:
        whole = bases[number % len(bases)]
        stride = strides[: len(size)]
        reach = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        found = whole.as_strided(size, stride, offset) if 0 in size or reach < 48 else whole
        floating = found.dtype.is_floating_point
        wrapped = [found, torch.nn.Parameter(found, floating), found.conj(), found.detach().requires_grad_(floating)]
        return wrapped[kind]

    views = st.builds(
        view,
        st.integers(0, 2),
        st.integers(0, 20),
        st.lists(st.integers(0, 4), max_size=3),
        st.tuples(*[st.integers(0, 7)] * 3).map(list),
        st.integers(0, 3),
    )
    plain = st.none() | st.integers() | st.text(max_size=3) | st.binary(min_size=1, max_size=3) | st.booleans()
    keys = st.text(max_size=3) | st.integers(-3, 3)
    values = st.recursive(
        views | plain,
        lambda inside: (
            st.lists(inside, max_size=4)
            | st.dictionaries(keys, inside, max_size=4)
            | st.dictionaries(keys, inside, max_size=4).map(OrderedDict)
            | st.tuples(inside, inside)
        ),
        max_leaves=12,
    )
    return draw(values)


def tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors(item)


def same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, torch.Tensor):
        facts = [
            (t.dtype, t.shape, t.stride(), t.requires_grad, t.is_leaf, t.is_conj(), t.is_neg())
            for t in (found, expected)
        ]
        assert facts[0] == facts[1]
        bits = [
            bytes(tensor.detach().resolve_conj().reshape(-1).clone().untyped_storage()) for tensor in (found, expected)
        ]
        assert bits[0] == bits[1]
    elif isinstance(expected, dict | list | tuple):
        keys = range(len(expected)) if not isinstance(expected, dict) else list(expected)
        assert len(found) == len(expected)
        assert isinstance(keys, range) or list(found) == keys
        for key in keys:
            same(found[key], expected[key])
    else:
        assert found == expected


@QUICK
@given(checkpoints())
def test_any_checkpoint_is_as_torch_gives_it(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "m.pt"
    torch.save(value, path)
    found = hoist.load_checkpoint(path)
    try:
        expected = torch.load(path, weights_only=True)
    except RuntimeError:
        return  # torch itself cannot read a conjugate that requires a gradient
    same(found, expected)
    pairs = [pair for pair in zip(tensors(found), tensors(expected), strict=True) if pair[0].numel()]
    for ours, theirs in pairs:
        for other, their_other in pairs:
            if theirs.untyped_storage().data_ptr() == their_other.untyped_storage().data_ptr():
                assert other.data_ptr() - ours.data_ptr() == their_other.data_ptr() - theirs.data_ptr()
            assert (other is ours) == (their_other is theirs)


ODD: dict[str, Any] = {
    "coo": torch.eye(3).to_sparse(),
    "coo not coalesced": torch.sparse_coo_tensor(torch.tensor([[0, 0]]), torch.ones(2), (3,), check_invariants=True),
    "bytes": b"\xff\x00x",
    "bytearray": bytearray(b"ab\xfe"),
    "set": {1, 2, 3},
    "complex": 1.5 - 2j,
    "counter": Counter(a=2, b=1),
    "layout": torch.strided,
    "device": torch.device("cpu"),
    "scheme": torch.per_tensor_affine,
    "size": torch.Size([2, 3]),
    "meta": torch.empty(3, 5, device="meta"),
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_odd_values_are_as_torch_gives_them(tmp_path: Path, value: Any) -> None:
    torch.save({"x": value, "tensor": torch.ones(3)}, tmp_path / "m.pt")
    found = hoist.load_checkpoint(tmp_path / "m.pt")["x"]
    expected = torch.load(tmp_path / "m.pt", weights_only=True)["x"]
    assert type(found) is type(expected)
    if not isinstance(value, torch.Tensor):
        assert found == expected == value
    elif value.device.type == "meta":
        assert (found.shape, found.dtype, found.device) == (value.shape, value.dtype, value.device)
    else:
        assert found.is_coalesced() == expected.is_coalesced()
        assert found.to_dense().equal(expected.to_dense())
    publish(tmp_path / "m.pt", directory_storage(tmp_path / "s"))
    (summary,) = hoist.inspect(f"{tmp_path / 's'}//m/one:v1").files
    assert not summary.problem
    assert ("x" in {item.name for item in summary.tensors}) == isinstance(value, torch.Tensor)


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch is about to drop both
def test_compressed_and_quantised_tensors(tmp_path: Path) -> None:
    weights = torch.randn(6, 4)
    state = {
        "csr": torch.eye(3).to_sparse_csr(),
        "per tensor": torch.quantize_per_tensor(weights, 0.1, 2, torch.qint8),
        "per channel": torch.quantize_per_channel(weights, torch.rand(6), torch.zeros(6), 0, torch.quint8),
        "wide": torch.quantize_per_tensor(weights, 0.01, 0, torch.qint32).t(),
    }
    state["part"] = state["per tensor"][2:4]
    torch.save(state, tmp_path / "m.pt")
    found, expected = hoist.load_checkpoint(tmp_path / "m.pt"), torch.load(tmp_path / "m.pt", weights_only=True)
    assert found["csr"].to_dense().equal(expected.pop("csr").to_dense())
    for name, tensor in expected.items():
        assert found[name].qscheme() == tensor.qscheme()
        assert found[name].stride() == tensor.stride()
        assert found[name].int_repr().equal(tensor.int_repr())
        assert found[name].dequantize().equal(tensor.dequantize())
    assert found["part"].data_ptr() == found["per tensor"].data_ptr() + 8


def test_a_sparse_tensor_that_lies(tmp_path: Path) -> None:
    broken = torch.sparse_coo_tensor(torch.tensor([[0, 9]]), torch.ones(2), (3,), check_invariants=False)
    torch.save(broken, tmp_path / "m.pt")
    with pytest.raises(InvalidFile, match="malformed checkpoint"):
        hoist.load_checkpoint(tmp_path / "m.pt")


def test_another_byte_order_is_refused(tmp_path: Path) -> None:
    torch.save({"x": torch.ones(3)}, tmp_path / "m.pt")
    out = BytesIO()
    with zipfile.ZipFile(tmp_path / "m.pt") as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, b"big" if info.filename.endswith("/byteorder") else old.read(info))
    (tmp_path / "m.pt").write_bytes(out.getvalue())
    with pytest.raises(InvalidFile, match="'big'-endian"):
        hoist.load_checkpoint(tmp_path / "m.pt")


def test_a_cast_keeps_what_is_shared(tmp_path: Path) -> None:
    whole = torch.arange(30.0)
    torch.save({"whole": whole, "part": whole[3:9:2], "tied": torch.nn.Parameter(whole)}, tmp_path / "m.pt")
    found = hoist.load_checkpoint(tmp_path / "m.pt", dtype="float16")
    assert found["part"].dtype == torch.float16
    assert found["part"].equal(whole[3:9:2].half())
    assert found["part"].data_ptr() == found["whole"].data_ptr() + 6
    assert found["tied"].data_ptr() == found["whole"].data_ptr()
