"""The GGUF parser against the reference writer, and against files that lie."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoist.errors import InvalidFile
from hoist.model.cut import BLOCK_TARGET, cut
from hoist.model.formats.ggml import GGML_TYPES
from hoist.model.formats.gguf import GgufHeader, gguf_pieces, parse_gguf

DATA = bytes(range(256)) * 2


def parse(data: bytes) -> GgufHeader:
    return parse_gguf(BytesIO(data), len(data))


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def key(name: str, kind: int, raw: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + raw


def info(name: str = "t", shape: tuple[int, ...] = (8,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def pack(
    infos: list[bytes],
    keys: list[bytes] | None = None,
    data: bytes = DATA,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    alignment: int = 32,
) -> bytes:
    """A GGUF file byte by byte, with counts that may lie."""
    keys = keys or []
    head = (
        b"GGUF" + struct.pack("<IQQ", version, *(counts or (len(infos), len(keys)))) + b"".join(keys) + b"".join(infos)
    )
    return head + bytes(-len(head) % alignment) + data


def test_types_are_those_of_the_reference() -> None:
    reference = {int(kind): (kind.name, *sizes) for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    assert {number: (kind.name, kind.elements, kind.size) for number, kind in GGML_TYPES.items()} == reference


def test_what_the_reference_writes(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 2)
    writer.add_float32("scale", 0.5)
    writer.add_bool("yes", True)
    writer.add_string("näme", "wörld")
    writer.add_token_list(["<s>", "ä", "b"])
    writer.add_array("scores", [0.5, 1.5])
    writer.add_array("flags", [True, False])
    writer.add_int64("big", -(1 << 40))
    plain = np.arange(24, dtype=np.float32).reshape(4, 6)
    writer.add_tensor("plain", plain)
    writer.add_tensor("half", np.ones(5, dtype=np.float16))
    quantised = gguf.quants.quantize(np.ones((3, 64), dtype=np.float32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("q", quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    data = path.read_bytes()
    found = parse(data)
    reference = gguf.GGUFReader(path)
    assert (found.version, found.alignment, found.data_begin) == (3, 32, reference.data_offset)
    expected: dict[str, Any] = {
        "general.architecture": "llama", "llama.block_count": 2, "scale": 0.5, "yes": True, "näme": "wörld",
        "tokenizer.ggml.tokens": ["<s>", "ä", "b"], "scores": array("f", [0.5, 1.5]), "flags": [True, False],
        "big": -(1 << 40),
    }  # fmt: skip
    assert dict(found.metadata) == expected
    assert [
        (t.name, t.type.name, t.shape[::-1], t.begin, t.size) for t in found.tensors
    ] == [
        (t.name, t.tensor_type.name, tuple(map(int, t.shape)), t.data_offset, t.n_bytes) for t in reference.tensors
    ]  # fmt: skip
    assert data[found.tensors[0].begin : found.tensors[0].end] == plain.tobytes()


def test_version_2_other_alignments_and_no_tensors() -> None:
    found = parse(pack([info()], version=2))
    assert (found.version, found.tensors[0].shape, found.tensors[0].size) == (2, (8,), 32)
    alignment = key("general.alignment", 4, struct.pack("<I", 128))
    found = parse(pack([info(), info("u", (32, 2), 2, 128)], [alignment], alignment=128))
    assert (found.alignment, found.tensors[1].shape, found.tensors[1].size) == (128, (2, 32), 36)
    assert found.tensors[1].begin == found.data_begin + 128
    assert parse(pack([], data=b"")).tensors == ()
    assert parse(pack([info("empty", (0, 4)), info("point", ())])).tensors[1].size == 4


LIES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "another magic": lambda: b"GGML" + pack([])[4:],
    "version 1": lambda: pack([info()], version=1),
    "version 4": lambda: pack([info()], version=4),
    "big-endian": lambda: pack([info()], version=3 << 24),
    "more tensors than bytes": lambda: pack([info()], counts=(1 << 60, 0)),
    "more tensors than there are": lambda: pack([info()], counts=(9, 0)),
    "more keys than bytes": lambda: pack([info()], counts=(1, (1 << 64) - 1)),
    "a text longer than the file": lambda: pack([struct.pack("<Q", 1 << 62) + b"x"], counts=(1, 0)),
    "a text that is none": lambda: pack([info()], [key("a", 8, text(b"\xff"))]),
    "an array longer than the file": lambda: pack([], [key("a", 9, struct.pack("<IQ", 10, 1 << 60))]),
    "an array of texts longer than the file": lambda: pack([], [key("a", 9, struct.pack("<IQ", 8, 1 << 60))]),
    "arrays without end": lambda: pack([], [key("a", 9, struct.pack("<IQ", 9, 1) * 50)]),
    "an unknown value": lambda: pack([], [key("a", 13, bytes(8))]),
    "an unknown value in an array": lambda: pack([], [key("a", 9, struct.pack("<IQ", 77, 1) + bytes(8))]),
    "a key twice": lambda: pack([], [key("a", 0, b"x")] * 2),
    "alignment 0": lambda: pack([info()], [key("general.alignment", 4, bytes(4))]),
    "alignment 3": lambda: pack([info()], [key("general.alignment", 4, struct.pack("<I", 3))]),
    "alignment huge": lambda: pack([info()], [key("general.alignment", 4, struct.pack("<I", 1 << 31))]),
    "alignment a text": lambda: pack([info()], [key("general.alignment", 8, text("32"))]),
    "five dimensions": lambda: pack([info(shape=(1,) * 5)]),
    "many dimensions": lambda: pack([text("t") + struct.pack("<I", 1 << 31)]),
    "an unknown type": lambda: pack([info(kind=4)]),
    "a row that is no whole block": lambda: pack([info(shape=(33,), kind=2)]),
    "too many elements": lambda: pack([info(shape=((1 << 64) - 1,) * 4)]),
    "outside the file": lambda: pack([info(shape=(200,))]),
    "offset outside the file": lambda: pack([info(offset=1 << 40)]),
    "offset not aligned": lambda: pack([info(offset=8)]),
    "overlapping": lambda: pack([info(shape=(16,)), info("u", offset=32)]),
    "one name twice": lambda: pack([info(), info(offset=32)]),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_lies_are_refused(lie: Callable[[], bytes]) -> None:
    with pytest.raises(InvalidFile):
        parse(lie())


def test_every_truncation_is_refused() -> None:
    whole = pack([info(), info("u", offset=32)], [key("a", 8, text("b"))], data=bytes(64))
    parse(whole)
    for length in range(len(whole)):
        with pytest.raises(InvalidFile):
            parse(whole[:length])


@settings(max_examples=300)
@given(st.data())
def test_damaged_headers_are_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(pack([info(), info("u", offset=32)], [key("a", 9, struct.pack("<IQ", 8, 1) + text("b"))]))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = parse(bytes(whole))
    except InvalidFile:
        return
    for one, other in zip(found.tensors, found.tensors[1:], strict=False):
        assert one.end <= other.begin
    assert all(0 <= tensor.begin <= tensor.end <= len(whole) for tensor in found.tensors)


def test_blocks_begin_and_end_with_tensors() -> None:
    large = BLOCK_TARGET // 4 + 1000
    size = 4 * large
    padded = size + -size % 32
    tensors = [info("blk.0.w", (large,)), info("blk.1.w", (large,), offset=padded), info("out", offset=2 * padded)]
    data = pack(tensors, data=bytes(2 * padded + 32))
    header = parse(data)
    ends = set()
    at = 0
    for length in cut(len(data), gguf_pieces(BytesIO(data), len(data))):
        at += length
        ends.add(at)
    assert {tensor.begin for tensor in header.tensors} <= ends
    assert at == len(data)
    assert len(ends) == 6  # the header, two halves of each large tensor, the last
