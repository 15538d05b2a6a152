"""What is in a version: its files, their tensors, and who shares blocks with it. Reads headers, never weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hoist.errors import InvalidFile
from hoist.model.formats.archive import ZIP_MAGIC
from hoist.model.formats.gguf import GGUF_SUFFIX
from hoist.model.manifest import FileEntry, Manifest
from hoist.read.listing import Shared, sharing
from hoist.read.signed import Signature, find_signatures
from hoist.read.version import OpenedVersion
from hoist.storage.base import Version
from hoist.tensors.gguf import read_gguf
from hoist.tensors.index import CHECKPOINT_SUFFIXES, read_header

if TYPE_CHECKING:
    from hoist.tensors.rebuild import TensorOutline

# Real checkpoints have a few thousand values; a hostile one can name a list inside itself.
_MOST_VALUES = 1_000_000
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class TensorSummary:
    """One tensor, as a header or a checkpoint's pickle describes it. `size` is in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int


@dataclass(frozen=True, slots=True)
class FileSummary:
    """One file. `format` is `safetensors`, `checkpoint`, `gguf` or empty; `problem` says why its tensors are not known."""

    entry: FileEntry
    blocks: int
    format: str
    tensors: tuple[TensorSummary, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything that `inspect` shows."""

    version: Version
    manifest: Manifest
    tags: tuple[str, ...]
    files: tuple[FileSummary, ...]
    shared: tuple[Shared, ...]
    signatures: tuple[Signature, ...] = ()


def inspect_version(opened: OpenedVersion, *, shared: bool = True) -> Inspection:
    """Look into a version. `shared` also reads the block table of every other version of the storage.

    Raises InvalidManifest, and what a storage may; a weight file that cannot be read is in its summary's `problem`.
    """
    name, label = opened.version.name, opened.version.label
    tags = tuple(tag.tag for tag in opened.storage.tags(name) if tag.label == label)
    files = tuple(_summary(opened, path) for path in opened.files)
    others = tuple(sharing(opened)) if shared else ()
    signatures = find_signatures(opened.storage, opened.version, opened.manifest)
    return Inspection(opened.version, opened.manifest, tags, files, others, signatures)


def _summary(opened: OpenedVersion, path: str) -> FileSummary:
    entry, blocks = opened.entry(path), len(opened.blocks(path))
    try:
        if path.endswith(".safetensors"):
            tensors = read_header(opened.reader(path)).tensors
            found = (TensorSummary(item.name, item.dtype, item.shape, item.end - item.begin) for item in tensors)
            return FileSummary(entry, blocks, "safetensors", tuple(found))
        if path.endswith(GGUF_SUFFIX):
            infos = read_gguf(opened.reader(path)).tensors
            found = (TensorSummary(item.name, item.type.name, item.shape, item.size) for item in infos)
            return FileSummary(entry, blocks, "gguf", tuple(found))
        if path.endswith(CHECKPOINT_SUFFIXES) and opened.reader(path).read(0, 4) == ZIP_MAGIC:
            return FileSummary(entry, blocks, "checkpoint", tuple(_checkpoint_tensors(opened, path)))
    except (InvalidFile, ImportError) as error:
        return FileSummary(entry, blocks, "", (), str(error))
    return FileSummary(entry, blocks, "", ())


def _checkpoint_tensors(opened: OpenedVersion, path: str) -> Iterator[TensorSummary]:
    from hoist.tensors.checkpoint import Checkpoint
    from hoist.tensors.dtypes import safetensors_name

    for name, tensor in _named(Checkpoint(opened.reader(path)).outline):
        yield TensorSummary(name, safetensors_name(tensor.dtype), tensor.shape, tensor.size)


def _named(outline: Any) -> Iterator[tuple[str, TensorOutline]]:
    """The tensors in nested containers, named by the path to them. Raises InvalidFile where the nesting has no end."""
    from hoist.tensors.rebuild import TensorOutline

    waiting = [("", outline, 0)]
    seen = 0
    while waiting:
        path, value, depth = waiting.pop()
        if isinstance(value, TensorOutline):
            yield path, value
            continue
        items = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
        )
        inside = [(f"{path}.{_key(key)}" if path else _key(key), item, depth + 1) for key, item in items]
        seen += len(inside)
        if depth > _DEEPEST or seen > _MOST_VALUES:
            raise InvalidFile("the checkpoint's containers are nested too deep to be listed")
        waiting += reversed(inside)


def _key(key: Any) -> str:
    """A key as a part of a name; of what a checkpoint may hold as a key, not all can be shown."""
    return str(key) if isinstance(key, str) or (type(key) is int and abs(key) < 1 << 64) else type(key).__name__
