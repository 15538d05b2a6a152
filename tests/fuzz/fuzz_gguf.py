"""Target: GGUF headers, beside the reference's own reader."""

from __future__ import annotations

import io
from itertools import pairwise

import gguf
import numpy as np
from fuzz_target import Target, attempt, scratch

from hoist.errors import InvalidFile
from hoist.model.formats.gguf import gguf_pieces, parse_gguf


def check_gguf(data: bytes) -> bool:
    """A GGUF file. What the reference reads too has the same tensors at the same places."""
    found = attempt(lambda: parse_gguf(io.BytesIO(data), len(data)), InvalidFile)
    if found is None:
        return False
    assert all(found.data_begin <= each.begin <= each.end <= len(data) for each in found.tensors)
    pieces = gguf_pieces(io.BytesIO(data), len(data))
    assert all(one.end <= other.begin for one, other in pairwise(pieces))
    path = scratch() / "m.gguf"
    path.write_bytes(data)
    try:
        reference = {each.name: (int(each.data_offset), int(each.n_bytes)) for each in gguf.GGUFReader(path).tensors}
    except Exception:
        # It raises whatever a lie leads it to; what it refuses is not compared.
        return True
    assert {each.name: (each.begin, each.size) for each in found.tensors} == reference
    return True


def _ggufs() -> list[bytes]:
    found = []
    for number, alignment in enumerate((32, 64)):
        path = scratch() / f"seed{number}.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_custom_alignment(alignment)
        writer.add_array("tokens", ["a", "b"])
        writer.add_float32("scale", 0.5)
        writer.add_tensor("token_embd.weight", np.arange(64, dtype=np.float32).reshape(2, 32))
        writer.add_tensor("out.bias", np.arange(5, dtype=np.float16))
        for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
            write()
        writer.close()
        found.append(path.read_bytes())
    return found


_GGUF = (
    b"GGUF", b"\x03\0\0\0", b"\x02\0\0\0", b"\x08\0\0\0", b"\x09\0\0\0", b"\x01" + bytes(7), b"\xff" * 8,
    b"general.alignment", b"\x20" + bytes(7), b"\x11" + bytes(7) + b"general.alignment\x04\0\0\0",
)  # fmt: skip

TARGETS = (Target("gguf", check_gguf, _ggufs, _GGUF),)
