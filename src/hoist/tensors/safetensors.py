"""Drop-ins for safetensors' own `load_file` and `safe_open`, from a local path or from any location."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import torch

from hoist.errors import FileNotFound, UsageError
from hoist.model.formats.safetensors import TensorInfo
from hoist.storage.base import OnBytes
from hoist.tensors.device import torch_device
from hoist.tensors.dtypes import cast_dtype
from hoist.tensors.index import find_weights, read_index
from hoist.tensors.lazy import LazyTensors
from hoist.tensors.load import Loader

SUFFIXES = (".safetensors",)
_FRAMEWORKS = {"pt": "pt", "torch": "pt", "pytorch": "pt", "np": "np", "numpy": "np"}


def load_file(
    path_or_location: str | Path,
    filename: str | None = None,
    device: str | int | torch.device = "cpu",
    *,
    dtype: torch.dtype | str | None = None,
    tensors: Iterable[str] | None = None,
    prefix: str | None = None,
    on_bytes: OnBytes | None = None,
) -> dict[str, torch.Tensor]:
    """Load the tensors of a safetensors file, or of all the shards of an index, by name.

    `path_or_location` is a local path or `STORAGE//NAME:VERSION`; `filename` one file of it, needed only where there
    are several. `dtype` casts floating tensors on the way; `tensors` or `prefix` load a subset; `on_bytes` is told of
    verified bytes. On the CPU the tensors are views of one buffer a file. Every byte from a location is verified; a
    plain local file has no manifest to be verified against.

    Raises NotFound, InvalidFile, DamagedBlock, PermissionDenied, StorageUnavailable, UsageError.
    """
    place = torch_device(device)
    cast = cast_dtype(dtype)
    weights = find_weights(path_or_location, filename, SUFFIXES)
    try:
        index = read_index(weights.sources, weights.engine)
        loader = Loader(weights.engine, place, cast, on_bytes)
        return loader.load(index, index.select(tensors, prefix))
    finally:
        weights.close()


class safe_open:  # noqa: N801 safetensors' own name, of which this is a drop-in
    """Open a safetensors file (or all shards of an index) and fetch tensors one by one, as safetensors' own does.

    `filename` is a local path or a location; `file` one file of that location, needed only where there are several.
    Each block is fetched once, whatever tensors ask for it; on the CPU the tensors are views of one buffer a file.
    Raises what `load_file` does.
    """

    def __init__(
        self,
        filename: str | Path,
        framework: str = "pt",
        device: str | int | torch.device = "cpu",
        *,
        file: str | None = None,
    ) -> None:
        if framework not in _FRAMEWORKS:
            raise UsageError(f"framework {framework!r} is none of {', '.join(_FRAMEWORKS)}")
        self._numpy = _FRAMEWORKS[framework] == "np"
        place = torch_device(device)
        self._weights = find_weights(filename, file, SUFFIXES)
        try:
            self._index = read_index(self._weights.sources, self._weights.engine)
        except BaseException:
            self._weights.close()
            raise
        self._place = place
        self._tensors = LazyTensors(self._index, self._weights.engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._tensors.close()
        self._weights.close()

    def keys(self) -> list[str]:
        """The tensors' names, sorted."""
        return sorted(self._index.by_name)

    def offset_keys(self) -> list[str]:
        """The tensors' names in the order of their bytes."""
        return list(self._index.by_name)

    def metadata(self) -> Mapping[str, str] | None:
        """The free metadata of the header, or None."""
        return dict(self._index.metadata) or None

    def get_tensor(self, name: str) -> Any:
        """One tensor. Raises FileNotFound if there is none of that name."""
        self._find(name)
        return self._out(self._tensors.tensor(name).to(self._place))

    def get_slice(self, name: str) -> TensorSlice:
        """One tensor, of which only the rows asked for are fetched. Raises FileNotFound."""
        return TensorSlice(self, self._find(name))

    def _find(self, name: str) -> TensorInfo:
        try:
            return self._index.by_name[name][1]
        except KeyError:
            raise FileNotFound(f"there is no tensor {name!r}") from None

    def _out(self, tensor: torch.Tensor) -> Any:
        if not self._numpy:
            return tensor
        try:
            return tensor.numpy()
        except TypeError:
            raise UsageError(f"numpy has no dtype for {tensor.dtype}: open the file with framework='pt'") from None


class TensorSlice:
    """A tensor that is fetched when it is indexed; leading rows bring only their own bytes."""

    def __init__(self, opened: safe_open, tensor: TensorInfo) -> None:
        self._opened = opened
        self._tensor = tensor

    def get_shape(self) -> list[int]:
        """The whole tensor's shape."""
        return list(self._tensor.shape)

    def get_dtype(self) -> str:
        """The dtype's name in the file, such as `F16`."""
        return self._tensor.dtype

    def __getitem__(self, index: Any) -> Any:
        items = index if isinstance(index, tuple) else (index,)
        rows = self._leading_rows(items[0]) if items else None
        name, opened = self._tensor.name, self._opened
        if rows is None:
            return opened._out(opened._tensors.tensor(name)[index].to(opened._place))
        begin, end, first = rows
        part = opened._tensors.rows(name, begin, end)
        return opened._out(part[(first, *items[1:])].to(opened._place))

    def _leading_rows(self, item: Any) -> tuple[int, int, Any] | None:
        """The rows that the first index needs, and what to index them with; None where all are needed."""
        if not self._tensor.shape or self._tensor.dtype == "F4":
            return None
        length = self._tensor.shape[0]
        if isinstance(item, int) and not isinstance(item, bool) and -length <= item < length:
            row = item % length
            return row, row + 1, 0
        if isinstance(item, slice):
            begin, end, step = item.indices(length)
            if step == 1 and begin < end:
                return begin, end, slice(None)
        return None
