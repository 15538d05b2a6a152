"""The header of a GGUF file (versions 2 and 3), checked before anything is believed.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. A header is refused when it is truncated, larger than
any real one, or lies: counts and lengths that the file has no room for, tensors that overlap, lie outside the file, or
have a shape that their type cannot have.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from types import MappingProxyType
from typing import IO, Any

from hoist.errors import InvalidFile
from hoist.model.cut import Piece
from hoist.model.formats.ggml import GGML_TYPES, GgmlType

GGUF_MAGIC = b"GGUF"
GGUF_SUFFIX = ".gguf"
# Vocabularies make real headers 10 to 20 MB long.
MAX_HEADER_BYTES = 64 << 20
_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32
_MOST_ALIGNMENT = 1 << 20
_MOST_DIMENSIONS = 4
_MOST_NESTED = 2
# Far more than any model has; each takes far more memory than it takes of the file.
_MOST_TENSORS, _MOST_VALUES = 1 << 18, 1 << 16
_SMALLEST_VALUE, _SMALLEST_TENSOR = 13, 24
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_NUMBERS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_BOOL, _TEXT, _ARRAY = 7, 8, 9


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor: `begin` and `end` are byte offsets in the file, half-open.

    `shape` has the rows first, as torch and numpy have it: GGUF's own order reversed.
    """

    name: str
    type: GgmlType
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.begin


@dataclass(frozen=True)
class GgufHeader:
    """A whole header: the metadata by key, the tensors in the order of their bytes, and where the data begin."""

    version: int
    metadata: Mapping[str, Any]
    tensors: tuple[GgufTensor, ...]
    alignment: int
    data_begin: int


def parse_gguf(file: IO[bytes], size: int) -> GgufHeader:
    """Read and check the header of a GGUF file of `size` bytes. Raises InvalidFile if it is malformed or lies.

    Metadata values are numbers, booleans, texts, and sequences of them.
    """
    reader = _Reader(file, size)
    if reader.take(4) != GGUF_MAGIC:
        raise InvalidFile("not a GGUF file: it does not begin with GGUF")
    version = reader.u32()
    if version not in _VERSIONS:
        kind = "a big-endian file" if version >= 1 << 16 else f"version {version}"
        raise InvalidFile(f"{kind} of GGUF, which Hoist does not read: convert it to version 3, little-endian")
    tensors, values = reader.count(_SMALLEST_TENSOR, _MOST_TENSORS), reader.count(_SMALLEST_VALUE, _MOST_VALUES)
    metadata: dict[str, Any] = {}
    for _ in range(values):
        key = reader.text()
        if key in metadata:
            raise InvalidFile(f"malformed GGUF header: key {key!r:.80} stands twice")
        metadata[key] = reader.value(reader.u32())
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if type(alignment) is not int or not 0 < alignment <= _MOST_ALIGNMENT or alignment & (alignment - 1):
        raise InvalidFile(f"lying GGUF header: its alignment is {alignment!r:.80}")
    infos = [_info(reader) for _ in range(tensors)]
    data_begin = -(-reader.at // alignment) * alignment
    found = sorted(
        (_tensor(info, data_begin, alignment, size) for info in infos), key=lambda each: (each.begin, each.end)
    )
    _check(found)
    return GgufHeader(version, MappingProxyType(metadata), tuple(found), alignment, data_begin)


def gguf_pieces(file: IO[bytes], size: int) -> list[Piece]:
    """Where the format sets ranges apart: the header, and each tensor with the padding behind it. Raises InvalidFile."""
    header = parse_gguf(file, size)
    pieces = [Piece(0, min(header.data_begin, size), index=True)]
    for tensor, behind in pairwise((*header.tensors, None)):
        assert tensor is not None
        padded = -(-tensor.end // header.alignment) * header.alignment
        end = min(padded, size if behind is None else behind.begin)
        pieces.append(Piece(tensor.begin, max(end, tensor.end), tensor.name.partition(".")[0]))
    return pieces


_Info = tuple[str, tuple[int, ...], int, int]


def _info(reader: _Reader) -> _Info:
    name = reader.text()
    dimensions = reader.u32()
    if dimensions > _MOST_DIMENSIONS:
        raise InvalidFile(f"lying GGUF header: tensor {name!r:.80} has {dimensions} dimensions")
    shape = tuple(reader.u64() for _ in range(dimensions))
    return name, shape, reader.u32(), reader.u64()


def _tensor(info: _Info, data_begin: int, alignment: int, file_size: int) -> GgufTensor:
    name, own_shape, number, offset = info
    kind = GGML_TYPES.get(number)
    if kind is None:
        raise InvalidFile(f"tensor {name!r:.80} has ggml type {number}, which Hoist does not know")
    row = own_shape[0] if own_shape else 1
    elements = prod(own_shape)
    if row % kind.elements or elements >= 1 << 63:
        raise InvalidFile(
            f"lying GGUF header: tensor {name!r:.80} of {kind.name} cannot have the shape {own_shape[::-1]}"
        )
    begin = data_begin + offset
    end = begin + elements // kind.elements * kind.size
    if offset % alignment or end > file_size:
        what = "is not aligned" if offset % alignment else f"ends at byte {end}, the file at {file_size}"
        raise InvalidFile(f"truncated or lying GGUF file: tensor {name!r:.80} {what}")
    return GgufTensor(name, kind, own_shape[::-1], begin, end)


def _check(tensors: Sequence[GgufTensor]) -> None:
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise InvalidFile("malformed GGUF header: one tensor's name stands twice")
    for one, other in pairwise(tensors):
        if other.begin < one.end:
            raise InvalidFile(f"lying GGUF header: tensor {other.name!r:.80} overlaps {one.name!r:.80}")


class _Reader:
    """Takes values from a file in order; nothing larger than what is left of the header is ever asked for."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._limit = min(size, MAX_HEADER_BYTES)
        self._size = size
        self.at = 0

    def take(self, length: int) -> bytes:
        if length > self._limit - self.at:
            self._refuse(f"{length} bytes")
        data = self._file.read(length)
        if len(data) != length:
            raise InvalidFile(f"truncated GGUF file: its header does not end before byte {self.at + len(data)}")
        self.at += length
        return data

    def u32(self) -> int:
        return int(_U32.unpack(self.take(4))[0])

    def u64(self) -> int:
        return int(_U64.unpack(self.take(8))[0])

    def count(self, smallest: int, most: int = MAX_HEADER_BYTES) -> int:
        """A number of things, of which there are at most `most`, that take at least `smallest` bytes each."""
        count = self.u64()
        if count > most or count * smallest > self._limit - self.at:
            self._refuse(f"{count} items")
        return count

    def text(self) -> str:
        try:
            return self.take(self.u64()).decode()
        except UnicodeDecodeError:
            raise InvalidFile("malformed GGUF header: a text is not UTF-8") from None

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind in _NUMBERS:
            return self._array(_NUMBERS[kind], 1)[0]
        if kind == _BOOL:
            return self.take(1) != b"\0"
        if kind == _TEXT:
            return self.text()
        if kind != _ARRAY or depth == _MOST_NESTED:
            raise InvalidFile(f"malformed GGUF header: a value of type {kind}")
        inner = self.u32()
        if inner in _NUMBERS:
            code = _NUMBERS[inner]
            return self._array(code, self.count(struct.calcsize(f"<{code}")))
        if inner == _BOOL:
            return [byte != 0 for byte in self.take(self.count(1))]
        count = self.count(8) if inner == _TEXT else self.count(12, _MOST_VALUES)
        return [self.value(inner, depth + 1) for _ in range(count)]

    def _array(self, code: str, count: int) -> array[Any]:
        width = struct.calcsize(f"<{code}")
        found = array(code)
        found.frombytes(self.take(count * width))
        if sys.byteorder == "big":
            found.byteswap()
        return found

    def _refuse(self, what: str) -> None:
        if self._size > self._limit:
            raise InvalidFile(
                f"lying GGUF header: {what} at byte {self.at}, where at most {self._limit} bytes are a header"
            )
        raise InvalidFile(f"truncated or lying GGUF file: {what} at byte {self.at} of {self._size}")
