"""The tensors of a version's safetensors files (one, or all the shards of an index), without their bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hoist.config import load_config
from hoist.errors import FileNotFound, InvalidFile, UsageError
from hoist.model.formats.safetensors import LENGTH_BYTES, Header, TensorInfo, header_length, parse_header
from hoist.model.reference import looks_like_location
from hoist.read.connect import open_location
from hoist.read.engine import Engine
from hoist.read.file import RangeReader
from hoist.read.source import Source, local_source
from hoist.read.version import OpenedVersion

INDEX_SUFFIX = ".safetensors.index.json"
CHECKPOINT_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
_MAX_INDEX_BYTES = 64 << 20


@dataclass(frozen=True)
class TensorFile:
    """One safetensors file and its checked header."""

    source: Source
    header: Header


@dataclass(frozen=True)
class TensorIndex:
    """Every tensor by name, with the file it is in."""

    files: tuple[TensorFile, ...]

    @cached_property
    def by_name(self) -> Mapping[str, tuple[TensorFile, TensorInfo]]:
        """The tensors by name. Raises InvalidFile if two files hold one name."""
        found: dict[str, tuple[TensorFile, TensorInfo]] = {}
        for file in self.files:
            for tensor in file.header.tensors:
                if tensor.name in found:
                    raise InvalidFile(f"tensor {tensor.name!r} is in more than one file: name the file to load")
                found[tensor.name] = (file, tensor)
        return found

    @property
    def metadata(self) -> Mapping[str, str]:
        """The free metadata of all files together."""
        return {key: value for file in self.files for key, value in file.header.metadata.items()}

    def select(self, tensors: Iterable[str] | None, prefix: str | None) -> list[str]:
        """The names asked for: all, those in `tensors`, or those that start with `prefix`. Raises FileNotFound."""
        if tensors is None:
            names = [name for name in self.by_name if name.startswith(prefix or "")]
            if prefix and not names:
                raise FileNotFound(f"no tensor's name starts with {prefix!r}")
            return names
        names = [name for name in tensors if name.startswith(prefix or "")]
        missing = [name for name in names if name not in self.by_name]
        if missing:
            raise FileNotFound(
                f"there is no tensor {missing[0]!r}" + (f" (and {len(missing) - 1} more)" * bool(missing[1:]))
            )
        return names


@dataclass(frozen=True)
class Weights:
    """What a path or a location and a file name mean: sources to read, and the version to close afterwards."""

    sources: tuple[Source, ...]
    opened: OpenedVersion | None
    engine: Engine

    def close(self) -> None:
        """Close the storage, if there is one."""
        if self.opened:
            self.opened.close()


def find_weights(place: str | Path, filename: str | None, suffixes: tuple[str, ...]) -> Weights:
    """Open a local file, or the weight files of a location; `suffixes` are the formats that the caller reads.

    Without `filename` a version must hold one such file, or one index of shards. Raises FileNotFound, UsageError.
    """
    path = Path(place)
    if isinstance(place, Path) or path.is_file() or not looks_like_location(place):
        path = path / filename if filename else path
        sources = [local_source(path)]
        if path.name.endswith(INDEX_SUFFIX):
            shards = shard_names(path.read_bytes(), path.name)
            sources = [local_source(path.parent / shard) for shard in shards]
        return Weights(tuple(sources), None, Engine(load_config().engine))
    opened = open_location(place)
    try:
        names = weight_files(opened, filename, suffixes)
        return Weights(tuple(opened.source(name) for name in names), opened, opened.engine)
    except BaseException:
        opened.close()
        raise


def weight_files(opened: OpenedVersion, filename: str | None, suffixes: tuple[str, ...]) -> list[str]:
    """The files that hold the weights asked for. Raises FileNotFound, UsageError with the names to choose from."""
    if filename is None:
        indices = [path for path in opened.files if path.endswith(INDEX_SUFFIX)] if ".safetensors" in suffixes else []
        found = [path for path in opened.files if path.endswith(suffixes)]
        if len(found) == 1:
            return found
        if len(indices) != 1:
            raise _ambiguous(opened, found, suffixes)
        filename = indices[0]
    opened.entry(filename)
    if not filename.endswith(INDEX_SUFFIX):
        return [filename]
    folder = filename.rpartition("/")[0]
    shards = shard_names(opened.read(filename), filename)
    return [f"{folder}/{shard}" if folder else shard for shard in shards]


def shard_names(data: bytes, name: str) -> list[str]:
    """The files that a sharded model's index names. Raises InvalidFile."""
    try:
        weight_map = json.loads(data[:_MAX_INDEX_BYTES])["weight_map"]
        shards = sorted({str(shard) for shard in weight_map.values()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidFile(f"{name} is not an index of shards: it has no weight_map") from None
    if any(".." in shard.split("/") or shard.startswith("/") for shard in shards):
        raise InvalidFile(f"{name} names a shard outside its folder")
    return shards


def read_index(sources: Iterable[Source], engine: Engine) -> TensorIndex:
    """Read and check the headers. Raises InvalidFile, and what a storage may."""
    return TensorIndex(tuple(TensorFile(source, read_header(RangeReader(source, engine))) for source in sources))


def read_header(reader: RangeReader) -> Header:
    """The checked header of one safetensors file. Raises InvalidFile, naming the file."""
    try:
        size = reader.source.size
        length = header_length(reader.read(0, LENGTH_BYTES), size)
        return parse_header(reader.read(LENGTH_BYTES, LENGTH_BYTES + length), size)
    except InvalidFile as error:
        raise InvalidFile(f"{reader.source.name}: {error}") from None


def _ambiguous(opened: OpenedVersion, found: list[str], suffixes: tuple[str, ...]) -> FileNotFound | UsageError:
    if found:
        return UsageError(f"{opened.version} has {len(found)} weight files: name one of {', '.join(found[:8])}")
    checkpoints = [path for path in opened.files if path.endswith(CHECKPOINT_SUFFIXES)]
    if checkpoints and ".safetensors" in suffixes:
        return UsageError(f"{opened.version} holds the checkpoint {checkpoints[0]}: use hoist.load_checkpoint")
    return FileNotFound(
        f"{opened.version} has no {' or '.join(suffixes)} file; it has {', '.join(list(opened.files)[:5])}"
    )
