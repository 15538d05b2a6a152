"""Headers of safetensors files: lies are refused, and what the reference library writes is read as it reads it."""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from hoist.errors import HoistError, InvalidFile
from hoist.model.formats.safetensors import DTYPE_BITS, MAX_HEADER_BYTES, Header, header_length, parse_header
from makers import Raw, safetensors_bytes

OK = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}


def parse(data: bytes) -> Header:
    length = header_length(data[:8], len(data))
    return parse_header(data[8 : 8 + length], len(data))


def reference_reads(data: bytes) -> dict[str, Any]:
    """What the reference library says of each tensor, by name."""
    return dict(safetensors.deserialize(data))  # type: ignore[no-untyped-call]


def pack(header: bytes | Any, payload: int = 4) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(payload)


def _tensor(**changes: Any) -> bytes:
    return pack({"a": OK | changes})


LIES = {
    "no file": b"",
    "seven bytes": b"\0" * 7,
    "length only": struct.pack("<Q", 10),
    "header bomb": struct.pack("<Q", MAX_HEADER_BYTES + 1) + bytes(100),
    "header of 2**64-1": struct.pack("<Q", 2**64 - 1) + bytes(100),
    "truncated header": pack({"a": OK})[:30],
    "truncated data": pack({"a": OK}, 3),
    "bytes behind": pack({"a": OK}, 5),
    "empty header": pack(b"", 0),
    "not JSON": pack(b"{" * 10),
    "not an object": pack(b"[]", 0),
    "a number": pack(b"1", 0),
    "a string": pack(b'"a"', 0),
    "not UTF-8": pack(b'{"\xff": 1}'),
    "UTF-16": pack(json.dumps({"a": OK}).encode("utf-16")),
    "UTF-16 without a mark": pack(json.dumps({"a": OK}).encode("utf-16-le")),
    "byte order mark": pack(b"\xef\xbb\xbf" + json.dumps({"a": OK}).encode()),
    "encoded surrogate": pack(json.dumps({"a": OK}).encode().replace(b'"a"', b'"\xed\xa0\x80"')),
    "escaped lone surrogate": pack(json.dumps({"\ud800": OK}).encode()),
    "deep": pack(b'{"a":' * 100_000),
    "deep list": pack(b'{"a":' + b"[" * 100_000),
    "overlap": pack({"a": OK, "b": OK | {"data_offsets": [2, 6]}}, 6),
    "same place": pack({"a": OK, "b": OK}),
    "hole": pack({"a": OK, "b": OK | {"data_offsets": [5, 9]}}, 9),
    "hole first": pack({"a": OK | {"data_offsets": [1, 5]}}, 5),
    "duplicate": pack(b'{"a":%b,"a":%b}' % ((json.dumps(OK).encode(),) * 2)),
    "duplicate field": pack(b'{"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}}'),
    "wrong size for the dtype": _tensor(dtype="F32"),
    "wrong size for the shape": _tensor(shape=[5]),
    "unknown dtype": _tensor(dtype="F128"),
    "dtype of another case": _tensor(dtype="u8"),
    "dtype a list": _tensor(dtype=["U8"]),
    "dtype null": _tensor(dtype=None),
    "negative dimensions": _tensor(shape=[-2, -2]),
    "negative offset": _tensor(data_offsets=[-4, 0]),
    "end before begin": _tensor(data_offsets=[4, 0]),
    "bool as dimension": _tensor(shape=[4, True]),
    "bool as offset": _tensor(data_offsets=[False, 4]),
    "float as offset": _tensor(data_offsets=[0.0, 4.0]),
    "NaN": pack(b'{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,4]}}'),
    "text as shape": _tensor(shape="4"),
    "shape an object": _tensor(shape={"4": 4}),
    "three offsets": _tensor(data_offsets=[0, 4, 4]),
    "huge dimension": _tensor(shape=[1 << 70]),
    "overflowing shape": _tensor(shape=[1 << 62, 1 << 62, 0], data_offsets=[0, 0]),
    "number of 5000 digits": pack(b'{"a":{"dtype":"U8","shape":[%b],"data_offsets":[0,4]}}' % (b"1" * 5000)),
    "half a byte": pack({"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 1]}}, 1),
    "tensor null": pack({"a": None}),
    "tensor a list": pack({"a": [1]}),
    "no dtype": pack({"a": {"shape": [4], "data_offsets": [0, 4]}}),
    "metadata a list": pack({"__metadata__": ["a"]}, 0),
    "metadata of numbers": pack({"__metadata__": {"a": 1}}, 0),
    "git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n",
}


@pytest.mark.parametrize("what", LIES)
def test_lies_are_refused(what: str) -> None:
    """By Hoist, and by the reference library."""
    with pytest.raises(InvalidFile):
        parse(LIES[what])
    if what == "duplicate":
        return  # the reference library takes the last of the two
    with pytest.raises(Exception):  # noqa: B017
        reference_reads(LIES[what])


def test_a_shape_of_very_many_dimensions_is_refused_quickly() -> None:
    data = pack(b'{"a":{"dtype":"U8","shape":[%b1],"data_offsets":[0,4]}}' % (b"4611686018427387904," * 200_000))
    with pytest.raises(InvalidFile):
        parse(data)


RAWS = st.lists(
    st.tuples(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=6).filter(lambda name: name != "__metadata__"),
        st.sampled_from(sorted(name for name, bits in DTYPE_BITS.items() if bits % 8 == 0)),
        st.lists(st.integers(0, 4), max_size=3),
    ),
    max_size=6,
    unique_by=lambda item: item[0],
)


def _raws(items: list[tuple[str, str, list[int]]]) -> list[Raw]:
    return [
        Raw(name, dtype, shape, bytes(torch.Size(shape).numel() * DTYPE_BITS[dtype] // 8))
        for name, dtype, shape in items
    ]


@given(RAWS, st.none() | st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2))
def test_valid_headers_are_read_as_the_reference_reads_them(items: Any, metadata: dict[str, str] | None) -> None:
    raws = _raws(items)
    try:
        data = safetensors_bytes(raws, metadata)
        expected = reference_reads(data)
    except UnicodeEncodeError:
        return
    found = parse(data)
    assert [tensor.name for tensor in found.tensors if tensor.end > tensor.begin] == [r.name for r in raws if r.data]
    assert {t.name: (t.dtype, list(t.shape)) for t in found.tensors} == {
        name: (info["dtype"], info["shape"]) for name, info in expected.items()
    }
    assert found.metadata == (metadata or None)  # an empty one is not written
    for raw, tensor in ((raw, next(t for t in found.tensors if t.name == raw.name)) for raw in raws):
        assert tensor.end - tensor.begin == len(raw.data)


@given(st.data(), RAWS)
def test_mutated_files_are_refused_by_type(data: st.DataObject, items: Any) -> None:
    raw = bytearray(safetensors_bytes(_raws(items), {"format": "pt"}))
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(raw)))
    for found in (bytes(raw), bytes(raw[:end])):
        try:
            header = parse(found)
        except HoistError as error:
            assert isinstance(error, InvalidFile)
            continue
        spans = [(tensor.begin, tensor.end) for tensor in header.tensors]
        assert all(first[1] == second[0] for first, second in pairwise(spans))
        assert (spans[-1][1] if spans else header.data_begin) == len(found)


@pytest.mark.parametrize("name", sorted(safetensors.torch._TYPES))
def test_every_dtype_that_the_library_writes(name: str) -> None:
    tensor = torch.zeros(2, 4, dtype=safetensors.torch._TYPES[name])
    data = safetensors.torch.save({"x": tensor, "empty": tensor[:0], "point": tensor[0, 0].clone()})
    found = {item.name: item for item in parse(data).tensors}
    assert (found["x"].dtype, found["x"].shape) == (name, (2, 4))
    assert found["x"].end - found["x"].begin == tensor.numel() * tensor.element_size()
    assert (found["empty"].shape, found["point"].shape) == ((0, 4), ())


@pytest.mark.parametrize(("dtype", "shape", "size"), [("F4", [2, 4], 4), ("F6_E2M3", [4], 3), ("F6_E3M2", [2, 2], 3)])
def test_dtypes_of_less_than_a_byte(dtype: str, shape: list[int], size: int) -> None:
    data = safetensors_bytes([Raw("x", dtype, shape, bytes(size))])
    (tensor,) = parse(data).tensors
    assert tensor.end - tensor.begin == size
    assert reference_reads(data)["x"]["shape"] == shape


def test_a_header_alone_is_a_file() -> None:
    assert parse(pack({}, 0)).tensors == ()
    assert parse(pack({"__metadata__": {"a": "b"}}, 0)).metadata == {"a": "b"}
    assert parse(pack({"__metadata__": {}}, 0)).metadata == {}
    assert parse(pack({"__metadata__": None}, 0)).metadata is None
