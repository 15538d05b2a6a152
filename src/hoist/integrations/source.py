"""Where an integration takes a model from: a location, an opened version, or the Model that a function is given."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import torch

from hoist.errors import InvalidFile, UsageError
from hoist.read.connect import open_location
from hoist.read.file import RangeReader
from hoist.read.version import OpenedVersion
from hoist.tensors.checkpoint import Checkpoint, merged
from hoist.tensors.device import torch_device
from hoist.tensors.dtypes import cast_dtype
from hoist.tensors.index import (
    CHECKPOINT_SUFFIXES,
    INDEX_SUFFIXES,
    SAFETENSORS_INDEX,
    read_index,
    shard_names,
    weight_files,
)
from hoist.tensors.load import Loader
from hoist.tensors.place import Loading


class ModelSource(Protocol):
    """What a function's Model offers: its files by path, and its tensors on the device.

    The tensors may be shared with other models, so nobody writes to them in place.
    """

    @property
    def files(self) -> Collection[str]:
        """The paths of all files."""

    @property
    def device(self) -> Any:
        """Where the tensors are put."""

    def tensors(self, path: str | None = None, *, prefix: str | None = None) -> Mapping[str, torch.Tensor]:
        """The tensors of a safetensors file, or of all shards of an index."""

    def load_checkpoint(self, path: str | None = None) -> Any:
        """What a zip checkpoint holds."""

    def read(self, path: str) -> bytes:
        """One (small) file."""

    def folder(self, *patterns: str) -> Path:
        """The files whose paths match, in a folder. A function's Model raises FileNotFound where none does."""


Place = str | OpenedVersion | ModelSource
"""A location (`nas//sd15/anything:v5`), a version opened with `hoist.open`, or a function's Model."""


class VersionSource:
    """An opened version as a source: each load fetches, verified, what it gives. `close` removes its folders."""

    def __init__(self, opened: OpenedVersion, device: torch.device, dtype: torch.dtype | None = None) -> None:
        self._opened = opened
        self.device = device
        self._dtype = dtype
        self._folders: list[TemporaryDirectory[str]] = []

    @property
    def files(self) -> Collection[str]:
        return self._opened.files.keys()

    def tensors(
        self, path: str | None = None, *, prefix: str | None = None, leave_out: str | None = None
    ) -> Mapping[str, torch.Tensor]:
        """The tensors whose names start with `prefix`, if there is one, and not with `leave_out`, in one load."""
        sources = [self._opened.source(name) for name in weight_files(self._opened, path, (".safetensors",))]
        index = read_index(sources, self._opened.engine)
        names = [name for name in index.select(None, prefix) if not (leave_out and name.startswith(leave_out))]
        return Loader(self._opened.engine, self.device, self._dtype).load(index, names)

    def load_checkpoint(self, path: str | None = None) -> Any:
        engine = self._opened.engine
        found = [self._opened.source(name) for name in weight_files(self._opened, path, CHECKPOINT_SUFFIXES)]
        checkpoints = [Checkpoint(RangeReader(source, engine)) for source in found]
        loading = Loading(engine, self.device, self._dtype)
        return merged([(checkpoint.name, checkpoint.load(loading)) for checkpoint in checkpoints])

    def read(self, path: str) -> bytes:
        return self._opened.read(path)

    def folder(self, *patterns: str) -> Path:
        # Its life is that of this source.
        made = TemporaryDirectory(prefix="hoist-model-")
        self._folders.append(made)
        for path in self.files:
            if any(fnmatch(path, pattern) for pattern in patterns):
                target = Path(made.name) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self.read(path))
        return Path(made.name)

    def close(self) -> None:
        """Remove the folders; the version stays open."""
        for folder in self._folders:
            folder.cleanup()


class FolderSource:
    """A local folder of configurations and tokenizers; it gives no tensors."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    def read(self, path: str) -> bytes:
        """One file."""
        return (self._root / path).read_bytes()

    def folder(self, *patterns: str) -> Path:
        """The folder itself, which has what matches and more."""
        return self._root


@contextmanager
def open_source(
    place: Place, device: str | int | torch.device | None = None, dtype: torch.dtype | str | None = None
) -> Iterator[ModelSource]:
    """The source that a place means, until the end of the block. A Model has its device already.

    Raises InvalidReference, NotFound, UsageError, and what a storage may.
    """
    if not isinstance(place, str | OpenedVersion):
        if device is not None and torch_device(device) != torch_device(place.device):
            raise UsageError(f"the model is on {place.device}: leave out the device {device!r}")
        yield place
        return
    where, cast = torch_device("cpu" if device is None else device), cast_dtype(dtype)
    if isinstance(place, str):
        with open_location(place) as opened, open_source(opened, where, cast) as source:
            yield source
        return
    found = VersionSource(place, where, cast)
    try:
        yield found
    finally:
        found.close()


def cast_tensors(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype | str | None) -> dict[str, torch.Tensor]:
    """The tensors, the floating ones cast; without a dtype, and where they have it, they are the same tensors."""
    cast = cast_dtype(dtype)
    if cast is None:
        return dict(tensors)
    return {name: tensor.to(cast) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def read_weights(
    source: ModelSource, file: str, dtype: torch.dtype | str | None = None, *, leave_out: str | None = None
) -> dict[str, torch.Tensor]:
    """The tensors of a weight file by name, whatever its format; an index stands for its shards.

    Tensors whose names begin with `leave_out` are not fetched where that can be helped. Raises InvalidFile, and what a
    storage may.
    """
    if isinstance(source, VersionSource) and file.endswith(_SAFETENSORS):
        # All shards in one load.
        return cast_tensors(source.tensors(file, leave_out=leave_out), dtype)
    found: dict[str, torch.Tensor] = {}
    for path in _shards(source, file):
        part = source.tensors(path) if path.endswith(_SAFETENSORS) else _checkpoint(source, path)
        found |= {name: tensor for name, tensor in part.items() if not (leave_out and name.startswith(leave_out))}
    return cast_tensors(found, dtype)


_SAFETENSORS = (".safetensors", SAFETENSORS_INDEX)


def _shards(source: ModelSource, file: str) -> list[str]:
    if not file.endswith(INDEX_SUFFIXES):
        return [file]
    folder = file.rpartition("/")[0]
    return [f"{folder}/{name}" if folder else name for name in shard_names(source.read(file), file)]


def _checkpoint(source: ModelSource, file: str) -> dict[str, torch.Tensor]:
    held = source.load_checkpoint(file)
    while isinstance(held, Mapping) and isinstance(held.get("state_dict"), Mapping):
        held = held["state_dict"]
    if not isinstance(held, Mapping):
        raise InvalidFile(f"{file} holds no dict of tensors")
    return {name: each for name, each in held.items() if isinstance(each, torch.Tensor)}
