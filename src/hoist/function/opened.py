"""A model's version, opened: its weight files with their headers and units, and no weights yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from hoist.config import Config
from hoist.function.pool import Units
from hoist.function.units import Unit, cut_units
from hoist.read.connect import open_location
from hoist.read.file import RangeReader
from hoist.read.source import Source
from hoist.read.version import OpenedVersion
from hoist.tensors.checkpoint import Checkpoint
from hoist.tensors.index import CHECKPOINT_SUFFIXES, TensorFile, read_header, stored_files
from hoist.tensors.safetensors import SUFFIXES


@dataclass(frozen=True)
class WeightFile:
    """One weight file: of safetensors its header, of a checkpoint its directory and pickle, and its units."""

    path: str
    source: Source
    tensors: TensorFile | Checkpoint
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class OpenModel:
    """A version that is served, and its weight files by path. Close it."""

    name: str
    location: str
    opened: OpenedVersion
    files: Mapping[str, WeightFile]

    @cached_property
    def units(self) -> Units:
        """The bytes of all its units, by key, each once."""
        return {unit.key: unit.size for file in self.files.values() for unit in file.units}

    @cached_property
    def size(self) -> int:
        """Bytes of its units."""
        return sum(self.units.values())

    @property
    def storage_kind(self) -> str:
        """image, nas, oss or accl."""
        return str(self.opened.storage.kind)

    def is_cached(self) -> bool:
        """Whether a local disk or the host cache has all its units."""
        return all(_is_cached(file) for file in self.files.values())

    def close(self) -> None:
        """Close the storage."""
        self.opened.close()


def open_model(name: str, location: str, files: Sequence[str] = (), config: Config | None = None) -> OpenModel:
    """Open a location and read the headers of its weight files: those named, else all safetensors, else all checkpoints.

    Raises InvalidReference, NotFound, InvalidFile, UnsafeCheckpoint, and what a storage may.
    """
    opened = open_location(location, config)
    try:
        paths = weight_paths(opened, files)
        return OpenModel(name, location, opened, {path: _weight_file(opened, path) for path in paths})
    except BaseException:
        opened.close()
        raise


def weight_paths(opened: OpenedVersion, files: Sequence[str] = ()) -> list[str]:
    """The weight files that are meant; there may be none. Raises FileNotFound, InvalidFile."""
    if files:
        return list(dict.fromkeys(path for name in files for path in stored_files(opened, name)))
    for suffixes in (SUFFIXES, CHECKPOINT_SUFFIXES):
        found = [path for path in opened.files if path.endswith(suffixes)]
        if found:
            return found
    return []


def _weight_file(opened: OpenedVersion, path: str) -> WeightFile:
    source = opened.source(path)
    reader = RangeReader(source, opened.engine)
    if path.endswith(CHECKPOINT_SUFFIXES):
        checkpoint = Checkpoint(reader)
        # Every block of its spans is in a unit, and the data of a storage mostly in one of their own.
        spans = [index for span in checkpoint.spans() for index in source.blocks.covering(*span)]
        pieces = [*checkpoint.likely_data(), *map(source.blocks.span, spans)]
        return WeightFile(path, source, checkpoint, cut_units(source.blocks, pieces))
    header = read_header(reader)
    pieces = [(tensor.begin, tensor.end) for tensor in header.tensors]
    return WeightFile(path, source, TensorFile(source, header), cut_units(source.blocks, pieces))


def _is_cached(file: WeightFile) -> bool:
    source = file.source
    if source.cache is None:
        return source.local_path() is not None
    cached = source.cache.try_file(source.blocks, source.seen_as)
    if cached is None:
        return False
    with cached:
        return all(not cached.missing(*_span(source, unit)) for unit in file.units)


def _span(source: Source, unit: Unit) -> tuple[int, int]:
    wanted = source.blocks.covering(unit.begin, unit.end)
    return wanted.start, wanted.stop
