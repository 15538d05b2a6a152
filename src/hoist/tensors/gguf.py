"""GGUF files as named, typed byte ranges, every byte of a location verified."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hoist.errors import InvalidFile, TensorNotFound, UsageError
from hoist.model.formats.gguf import GGUF_SUFFIX, GgufHeader, GgufTensor, parse_gguf
from hoist.read.engine import Job
from hoist.read.file import RangeReader, VerifiedFile
from hoist.read.plan import plan_ranges
from hoist.read.sink import BufferSink
from hoist.tensors.index import Weights, find_weights

if TYPE_CHECKING:
    import torch
    from _typeshed import WriteableBuffer

_STEP = 1 << 20
# ggml's plain types, by torch's names; quantised ones are bytes to torch.
_TORCH = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"} | {
    f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)
}


def open_gguf(path_or_location: str | Path, filename: str | None = None) -> GgufFile:
    """Open a GGUF file and read its header. Close it, or use `with`.

    `filename` is needed only where a version holds several. Raises NotFound, InvalidFile, DamagedBlock, PermissionDenied,
    StorageUnavailable, UsageError.
    """
    weights = find_weights(path_or_location, filename, (GGUF_SUFFIX,))
    try:
        return GgufFile(weights)
    except BaseException:
        weights.close()
        raise


def read_gguf(reader: RangeReader) -> GgufHeader:
    """The checked header of one file. Raises InvalidFile, naming the file."""
    try:
        return parse_gguf(BufferedReader(_BlockFile(reader), _STEP), reader.source.size)
    except InvalidFile as error:
        raise InvalidFile(f"{reader.source.name}: {error}") from None


class _BlockFile(VerifiedFile):
    """Reads no further than to the end of a block at a time: the header has its own, and the next holds tensors."""

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        blocks = self._reader.source.blocks
        for index in blocks.covering(self._at, min(self._at + 1, blocks.size)):
            view = view[: blocks.span(index)[1] - self._at]
        return super().readinto(view)


class GgufFile:
    """An open GGUF file: its metadata and tensors, of which bytes are fetched when they are asked for."""

    def __init__(self, weights: Weights) -> None:
        self._source = weights.only()
        self._weights = weights
        self._engine = weights.engine
        self._reader = RangeReader(self._source, weights.engine)
        self.header = read_gguf(self._reader)
        self.tensors: Mapping[str, GgufTensor] = {tensor.name: tensor for tensor in self.header.tensors}

    def close(self) -> None:
        """Close the storage."""
        self._weights.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The key-value pairs of the header: numbers, booleans, texts, and sequences of them."""
        return self.header.metadata

    def keys(self) -> list[str]:
        """The tensors' names, in the order of their bytes."""
        return list(self.tensors)

    def read(self, name: str) -> bytes:
        """A tensor's bytes, verified. Raises TensorNotFound, DamagedBlock, and what a storage may."""
        tensor = self._find(name)
        return self._reader.read(tensor.begin, tensor.end)

    def into(self, name: str, buffer: WriteableBuffer) -> int:
        """Fill `buffer`, at least as long as the tensor, with its verified bytes; how many there are.

        A tensor that has its blocks for itself, as large ones have, is fetched without a copy. Raises UsageError if the
        buffer is too short or read-only, and what `read` does; then what is in the buffer has no meaning.
        """
        tensor = self._find(name)
        view = memoryview(buffer)
        if view.readonly or not view.c_contiguous or view.nbytes < tensor.size:
            raise UsageError(f"tensor {name!r} needs {tensor.size} writable bytes in one piece")
        view = view.cast("B")[: tensor.size]
        plan = plan_ranges(self._source.blocks, [(tensor.begin, tensor.end)], self._source.traits.request_bytes)
        if plan.size == tensor.size:
            sink = BufferSink(view)
            self._engine.run(Job(self._source, request, sink) for request in plan.requests)
        else:
            view[:] = self._reader.read(tensor.begin, tensor.end)
        return tensor.size

    def get_tensor(self, name: str, device: str | int | torch.device = "cpu") -> torch.Tensor:
        """One tensor; see `get_tensors`."""
        return self.get_tensors([name], device)[name]

    def get_tensors(
        self, names: Iterable[str] | None = None, device: str | int | torch.device = "cpu"
    ) -> dict[str, torch.Tensor]:
        """Tensors by name (without `names`, all), fetched at once, as views of one buffer.

        Plain types have torch's own; quantised ones are `uint8`, with a row's bytes as the last dimension. Raises
        TensorNotFound, UsageError, DamagedBlock, and what a storage may.
        """
        import torch

        from hoist.tensors.device import torch_device, view_tensor
        from hoist.tensors.place import Loading

        chosen = [self._find(name) for name in (self.tensors if names is None else names)]
        loading = Loading(self._engine, torch_device(device))
        (placed,) = loading.fetch([(self._source, [(tensor.begin, tensor.end) for tensor in chosen])])
        found = {}
        for tensor in chosen:
            at = placed.plan.locate(tensor.begin, tensor.end) if tensor.size else 0
            dtype = getattr(torch, _TORCH.get(tensor.type.name, "uint8"))
            found[tensor.name] = view_tensor(placed.flat, at, tensor.size, dtype, _torch_shape(tensor))
        return found

    def _find(self, name: str) -> GgufTensor:
        try:
            return self.tensors[name]
        except KeyError:
            raise TensorNotFound(f"{self._source.name} has no tensor {name!r}") from None


def _torch_shape(tensor: GgufTensor) -> tuple[int, ...]:
    if tensor.type.name in _TORCH or not tensor.shape:
        return tensor.shape
    return (*tensor.shape[:-1], tensor.shape[-1] // tensor.type.elements * tensor.type.size)
