"""The header of a safetensors file, checked before anything is believed.

Format: https://huggingface.co/docs/safetensors/index#format. A header is refused when it is truncated, larger
than the reference implementation allows, or lies: offsets out of the file, overlapping, with holes, or of another
size than the shape and dtype say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hoist.errors import InvalidFile
from hoist.memory import no_collection

LENGTH_BYTES = 8
# The reference implementation's own limit.
MAX_HEADER_BYTES = 100_000_000

DTYPE_BITS: Mapping[str, int] = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file: `begin` and `end` are byte offsets in the file, half-open."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """A whole header: the tensors in the order of their bytes, the free metadata if any, and where the data begin."""

    tensors: tuple[TensorInfo, ...]
    metadata: Mapping[str, str] | None
    data_begin: int


def header_length(prefix: bytes, file_size: int) -> int:
    """Bytes of the JSON header from the file's first 8 bytes. Raises InvalidFile if that cannot be."""
    if len(prefix) < LENGTH_BYTES:
        raise InvalidFile(f"not a safetensors file: it has only {file_size} bytes")
    length = int.from_bytes(prefix[:LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise InvalidFile(f"not a safetensors file: its header claims {length} bytes, over {MAX_HEADER_BYTES}")
    if LENGTH_BYTES + length > file_size:
        raise InvalidFile(f"truncated safetensors file: a header of {length} bytes, a file of {file_size}")
    return length


@no_collection()
def parse_header(header: bytes, file_size: int) -> Header:
    """Parse the JSON header (without its 8-byte length). Raises InvalidFile if it is malformed or lies."""
    begin = LENGTH_BYTES + len(header)
    try:
        # As text: json would guess other encodings for bytes, and the format has one.
        document = json.loads(header.decode(), object_pairs_hook=_no_duplicates)
        metadata = document.pop("__metadata__", None)
        tensors = [_tensor(name, info, begin) for name, info in document.items()]
        if metadata is not None and not all(isinstance(value, str) for value in metadata.values()):
            raise InvalidFile("malformed safetensors header: __metadata__ holds more than strings")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidFile(f"malformed safetensors header: {error!r:.200}") from None
    tensors.sort(key=lambda tensor: (tensor.begin, tensor.end))
    at = begin
    for tensor in tensors:
        if tensor.begin != at:
            what = "overlaps the one before it" if tensor.begin < at else "leaves a hole before it"
            raise InvalidFile(f"lying safetensors header: tensor {tensor.name!r} {what}")
        at = tensor.end
    if at != file_size:
        what = "truncated safetensors file" if at > file_size else "lying safetensors header"
        raise InvalidFile(f"{what}: its tensors end at byte {at}, the file at {file_size}")
    return Header(tuple(tensors), metadata, begin)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidFile("malformed safetensors header: one name stands twice")
    return found


def _tensor(name: str, info: Any, data_begin: int) -> TensorInfo:
    dtype, shape, (begin, end) = info["dtype"], info["shape"], info["data_offsets"]
    bits = DTYPE_BITS.get(dtype)
    if bits is None:
        raise InvalidFile(f"tensor {name!r} has a dtype that Hoist does not know: {dtype!r}")
    if not all(type(n) is int and 0 <= n < 1 << 63 for n in (begin, end, *shape)):
        raise InvalidFile(f"lying safetensors header: tensor {name!r} has an impossible shape or offset")
    name.encode()  # JSON can spell text that is none: a lone surrogate
    need = _count(shape) * bits
    if need % 8 or end - begin != need // 8:
        raise InvalidFile(
            f"lying safetensors header: tensor {name!r} of {dtype} {list(shape)} needs {need // 8} bytes, "
            f"its offsets give {end - begin}"
        )
    return TensorInfo(name, dtype, tuple(shape), data_begin + begin, data_begin + end)


def _count(shape: list[int]) -> int:
    """The elements of a shape. Raises ValueError at 64 bits, as multiplying on would take minutes for a hostile one."""
    count = 1
    for length in shape:
        count *= length
        if count >= 1 << 64:
            raise ValueError("a shape of too many elements")
    return count
