"""The tensors of a version's safetensors files (one, or all the shards of an index), without their bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hoist.config import load_config
from hoist.errors import FileNotFound, InvalidFile, TensorNotFound, UsageError
from hoist.model.formats.gguf import GGUF_SUFFIX
from hoist.model.formats.safetensors import LENGTH_BYTES, Header, TensorInfo, header_length, parse_header
from hoist.model.reference import looks_like_location
from hoist.read.connect import open_location
from hoist.read.engine import Engine
from hoist.read.file import RangeReader
from hoist.read.source import Source, local_error, local_source
from hoist.read.version import OpenedVersion

SAFETENSORS_INDEX, CHECKPOINT_INDEX = ".safetensors.index.json", ".bin.index.json"
INDEX_SUFFIXES = (SAFETENSORS_INDEX, CHECKPOINT_INDEX)
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
                    first, second = _full_name(found[tensor.name][0].source), _full_name(file.source)
                    raise InvalidFile(
                        f"tensor {tensor.name!r} is in both {first} and {second}: load them apart, "
                        "as with hoist.load_files"
                    )
                found[tensor.name] = (file, tensor)
        return found

    @property
    def metadata(self) -> Mapping[str, str] | None:
        """The free metadata of all files together; None if no file has any."""
        given = [file.header.metadata for file in self.files if file.header.metadata is not None]
        return {key: value for metadata in given for key, value in metadata.items()} if given else None

    def select(self, tensors: Iterable[str] | None, prefix: str | None) -> list[str]:
        """The names asked for: all, those in `tensors`, or those that start with `prefix`. Raises TensorNotFound."""
        if tensors is None:
            names = [name for name in self.by_name if name.startswith(prefix or "")]
            if prefix and not names:
                raise TensorNotFound(f"no tensor's name starts with {prefix!r}")
            return names
        names = [name for name in tensors if name.startswith(prefix or "")]
        missing = [name for name in names if name not in self.by_name]
        if missing:
            raise TensorNotFound(
                f"there is no tensor {missing[0]!r}" + (f" (and {len(missing) - 1} more)" * bool(missing[1:]))
            )
        return names


@dataclass(frozen=True)
class Weights:
    """What a path or a location and a file name mean: sources to read, and the version to close afterwards."""

    sources: tuple[Source, ...]
    opened: OpenedVersion | None
    engine: Engine

    def only(self) -> Source:
        """The one file that there is. Raises UsageError if several were named."""
        if len(self.sources) != 1:
            raise UsageError("several files at once work with safetensors only: name one")
        return self.sources[0]

    def close(self) -> None:
        """Close the storage, if there is one."""
        if self.opened:
            self.opened.close()


Filenames = str | Sequence[str] | None
"""One file of a version or folder, several, or the one there is."""


def find_weights(place: str | Path, filename: Filenames, suffixes: tuple[str, ...]) -> Weights:
    """Open local files, or the weight files of a location; `suffixes` are the formats that the caller reads.

    Without `filename` a version or folder must hold one such file, or one index of shards. Raises FileNotFound, UsageError.
    """
    path = Path(place)
    if isinstance(place, Path) or path.exists() or not looks_like_location(place):
        if filename is None and path.is_dir():
            filename = _only_file(path, suffixes)
        wanted = [path] if filename is None else [path / name for name in as_list(filename)]
        paths = dict.fromkeys(found for each in wanted for found in local_files(each))
        return Weights(tuple(map(local_source, paths)), None, Engine(load_config().engine))
    opened = open_location(place)
    try:
        names = weight_files(opened, filename, suffixes)
        return Weights(tuple(opened.source(name) for name in names), opened, opened.engine)
    except BaseException:
        opened.close()
        raise


def _only_file(folder: Path, suffixes: tuple[str, ...]) -> str:
    names = sorted(item.name for item in folder.iterdir() if item.is_file())
    indices = [name for name in names if name.endswith(_index_suffix(suffixes))]
    found = [name for name in names if name.endswith(suffixes)]
    chosen = found if len(found) == 1 else indices
    if len(chosen) != 1:
        mend = f"name one of {', '.join(found[:8])}" if found else "there is none"
        raise UsageError(f"{folder} does not hold one weight file: {mend}")
    return chosen[0]


def _index_suffix(suffixes: tuple[str, ...]) -> tuple[str, ...]:
    """How the index of shards ends, in the formats of those suffixes; a caller of both takes either."""
    return tuple(index for index in INDEX_SUFFIXES if index.removesuffix(".index.json") in suffixes)


def weight_files(opened: OpenedVersion, filename: Filenames, suffixes: tuple[str, ...]) -> list[str]:
    """The files that hold the weights asked for. Raises FileNotFound, UsageError with the names to choose from."""
    if filename is None:
        indices = [path for path in opened.files if path.endswith(_index_suffix(suffixes))]
        found = [path for path in opened.files if path.endswith(suffixes)]
        if len(found) == 1:
            return found
        if len(indices) != 1:
            raise _ambiguous(opened, found, suffixes)
        filename = indices[0]
    return list(dict.fromkeys(found for name in as_list(filename) for found in stored_files(opened, name)))


def as_list(filename: str | Sequence[str]) -> Sequence[str]:
    """The names, of which there is at least one. Raises UsageError."""
    names = [filename] if isinstance(filename, str) else list(filename)
    if not names:
        raise UsageError("no file is named: name one or more, or leave the argument out")
    return names


def stored_files(opened: OpenedVersion, name: str) -> list[str]:
    """The file of that name; of an index, its shards. Raises FileNotFound, InvalidFile, and what a storage may."""
    opened.entry(name)
    if not name.endswith(INDEX_SUFFIXES):
        return [name]
    folder = name.rpartition("/")[0]
    return [f"{folder}/{shard}" if folder else shard for shard in shard_names(opened.read(name), name)]


def local_files(path: Path) -> list[Path]:
    """The file of that path; of an index, its shards. Raises FileNotFound, InvalidFile, LocalError."""
    if not path.name.endswith(INDEX_SUFFIXES):
        return [path]
    try:
        return [path.parent / shard for shard in shard_names(path.read_bytes(), path.name)]
    except OSError as error:
        raise local_error(error, path) from None


def _full_name(source: Source) -> str:
    return source.name if source.blocks.digests else f"{source.where}/{source.name}"


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
    others = [path for path in opened.files if path.endswith(GGUF_SUFFIX)]
    if others and GGUF_SUFFIX not in suffixes:
        return UsageError(f"{opened.version} holds the GGUF file {others[0]}: use hoist.open_gguf")
    return FileNotFound(
        f"{opened.version} has no {' or '.join(suffixes)} file; it has {', '.join(list(opened.files)[:5])}"
    )
