"""Drop-ins for safetensors' own `load_file` and `safe_open`, from a local path or from any location."""

from __future__ import annotations

import operator
import re
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self, SupportsIndex

import torch

from hoist.errors import TensorNotFound, UsageError
from hoist.model.formats.safetensors import TensorInfo
from hoist.storage.base import OnBytes
from hoist.tensors.compat import as_safetensors
from hoist.tensors.device import torch_device
from hoist.tensors.dtypes import cast_dtype
from hoist.tensors.frameworks import to_numpy, wants_numpy
from hoist.tensors.index import Filenames, Weights, find_weights, read_index
from hoist.tensors.lazy import LazyTensors
from hoist.tensors.load import Loader, shape_of
from hoist.tensors.slices import wanted_ranges

SUFFIXES = (".safetensors",)
_BACKENDS = ("mmap", "pread")
_DEVICE = re.compile(r"(cpu|cuda)(:\d+)?")


def load_file(
    path_or_location: str | Path,
    filename: Filenames | int = None,
    device: str | int | torch.device | None = "cpu",
    *,
    dtype: torch.dtype | str | None = None,
    tensors: Iterable[str] | None = None,
    prefix: str | None = None,
    on_bytes: OnBytes | None = None,
    backend: str | None = None,
) -> dict[str, torch.Tensor]:
    """Load the tensors of a safetensors file, of several, or of all the shards of an index, by name, in one go.

    `path_or_location` is a local path or `STORAGE//NAME:VERSION`; `filename` one file of it, or a list of files whose
    tensors are merged, needed only where there are several. `dtype` casts floating tensors on the way; `tensors` or
    `prefix` load a subset; `on_bytes` is told of verified bytes. On the CPU the tensors are views of one buffer a file.
    Every byte from a location is verified; a plain local file has no manifest to be verified against. `backend` is
    safetensors' own, and changes nothing: Hoist chooses how to read. As there, a device may be the second argument.

    Raises NotFound, InvalidFile (also where two files hold one tensor's name), DamagedBlock, PermissionDenied,
    StorageUnavailable, UsageError. Where safetensors' own raises SafetensorError or FileNotFoundError, these are too.
    """
    with as_safetensors():
        _check_backend(backend)
        filename, device = _file_and_device(filename, device)
        place = _device(device)
        cast = cast_dtype(dtype)
        weights = find_weights(path_or_location, filename, SUFFIXES)
        try:
            index = read_index(weights.sources, weights.engine)
            loader = Loader(weights.engine, place, cast, on_bytes)
            return loader.load(index, index.select(tensors, prefix))
        finally:
            weights.close()


class safe_open:  # noqa: N801 safetensors' own name, of which this is a drop-in
    """Open a safetensors file (several, or all shards of an index) and fetch tensors one by one, as safetensors' own does.

    `filename` is a local path or a location; `file` one or several files of it, needed only where there are several.
    `framework` is one of safetensors' names for torch or numpy. Each block is fetched once, whatever tensors ask for it;
    on the CPU torch's tensors are views of one buffer a file, numpy's arrays have their own memory. As a context manager
    it is closed at the end of the block, otherwise with the last reference to it and to its slices.

    Raises what `load_file` does.
    """

    def __init__(
        self,
        filename: str | Path,
        framework: str = "pt",
        device: str | int | torch.device | None = "cpu",
        *,
        file: Filenames = None,
        backend: str | None = None,
    ) -> None:
        with as_safetensors():
            _check_backend(backend)
            self._opened: _Opened | None = _Opened(filename, file, _device(device), numpy=wants_numpy(framework))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened = None

    def keys(self) -> list[str]:
        """The tensors' names, sorted."""
        return sorted(self._open().index.by_name)

    def offset_keys(self) -> list[str]:
        """The tensors' names in the order of their bytes."""
        return list(self._open().index.by_name)

    def metadata(self) -> dict[str, str] | None:
        """The free metadata of the header, or None."""
        found = self._open().index.metadata
        return None if found is None else dict(found)

    def get_tensor(self, name: str) -> Any:
        """One tensor. Raises TensorNotFound if there is none of that name, InvalidFile if torch cannot hold it."""
        with as_safetensors():
            opened = self._open()
            opened.find(name)
            return opened.out(opened.tensors.tensor(name))

    def get_tensors(self) -> dict[str, Any]:
        """All tensors by name, in the order of their bytes, fetched at once. Raises what `get_tensor` does."""
        with as_safetensors():
            opened = self._open()
            found = Loader(opened.weights.engine, opened.place).load(opened.index, opened.index.by_name)
            return {name: opened.out(tensor) for name, tensor in found.items()}

    def get_slice(self, name: str) -> TensorSlice:
        """One tensor, of which only what is asked for is fetched. Raises what `get_tensor` does."""
        with as_safetensors():
            opened = self._open()
            return TensorSlice(opened, opened.find(name))

    def _open(self) -> _Opened:
        with as_safetensors():
            if self._opened is None:
                raise UsageError("the file is closed: ask for its tensors inside the with block")
            return self._opened


class TensorSlice:
    """A tensor that is fetched when it is indexed, as torch's own are; it goes on working when its file is closed.

    Integers, slices with steps, None, Ellipsis and tuples of them bring only the blocks that hold the elements asked for,
    on any dimension; lists and vectors of row numbers as the first index, those of the rows; masks the whole tensor.
    """

    def __init__(self, opened: _Opened, tensor: TensorInfo) -> None:
        self._opened = opened
        self._tensor = tensor

    def get_shape(self) -> list[int]:
        """The whole tensor's shape, as the file says it."""
        return list(self._tensor.shape)

    def get_dtype(self) -> str:
        """The dtype's name in the file, such as `F16`."""
        return self._tensor.dtype

    def __getitem__(self, index: Any) -> Any:
        with as_safetensors():
            opened = self._opened
            dtype, shape = shape_of(self._tensor)
            index = _as_integers(index, numpy=opened.numpy)
            ranges = wanted_ranges(index, shape, dtype.itemsize) if 0 not in shape else []
            return opened.out(opened.tensors.part(self._tensor.name, ranges)[index])


class _Opened:
    """What an open file and its slices share; the storage is closed when nobody refers to it any more."""

    def __init__(self, place: str | Path, file: Filenames, device: torch.device, *, numpy: bool) -> None:
        if numpy and device.type != "cpu":
            raise UsageError(f"numpy's arrays lie in this machine's memory, not on {device}")
        self.place = device
        self.numpy = numpy
        self.weights = find_weights(place, file, SUFFIXES)
        try:
            self.index = read_index(self.weights.sources, self.weights.engine)
            self.index.by_name  # noqa: B018 raises now, if two files hold one name
        except BaseException:
            self.weights.close()
            raise
        self.tensors = LazyTensors(self.index, self.weights.engine)
        weakref.finalize(self, _close, self.tensors, self.weights).atexit = False

    def find(self, name: str) -> TensorInfo:
        try:
            return self.index.by_name[name][1]
        except KeyError:
            raise TensorNotFound(f"there is no tensor {name!r}") from None

    def out(self, tensor: torch.Tensor) -> Any:
        return to_numpy(tensor) if self.numpy else tensor.to(self.place)


def _close(tensors: LazyTensors, weights: Weights) -> None:
    tensors.close()
    weights.close()


def _as_integers(index: Any, *, numpy: bool) -> Any:
    """safetensors' own takes for a row number what Python can: arrays of no dimensions, and in numpy also truth values
    and tensors of one element, for which torch would add or keep a dimension."""
    items = index if isinstance(index, tuple) else (index,)
    plain = tuple(operator.index(item) if _is_a_number(item, numpy=numpy) else item for item in items)
    return plain if isinstance(index, tuple) else plain[0]


def _is_a_number(item: Any, *, numpy: bool) -> bool:
    if isinstance(item, torch.Tensor):
        return numpy and item.numel() == 1 and not item.is_floating_point() and not item.is_complex()
    return (numpy and isinstance(item, bool)) or (getattr(item, "ndim", None) == 0 and isinstance(item, SupportsIndex))


def _file_and_device(
    filename: Filenames | int, device: str | int | torch.device | None
) -> tuple[Filenames, str | int | torch.device | None]:
    """safetensors' own `load_file` has the device second; no weight file is called `cuda:0`."""
    if isinstance(filename, int) or (isinstance(filename, str) and _DEVICE.fullmatch(filename)):
        return None, filename
    return filename, device


def _device(device: str | int | torch.device | None) -> torch.device:
    return torch_device("cpu" if device is None else device)


def _check_backend(backend: str | None) -> None:
    if backend is not None and backend not in _BACKENDS:
        raise UsageError(f"backend {backend!r} is invalid: it is none of {', '.join(_BACKENDS)}")
