"""The ways of loading that a switch compares: Hoist's, and the plain one that most tools have.

A plain loader, as the source document describes a WebUI's, reads the whole file once only to hash it at the first
load, then reads it again to load it. From a directory it hashes the file and calls safetensors' `load_file` or
`torch.load`; from a bucket it does what a mount without a page cache does: each read is a GET of its own.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import obstore
import torch

from hoist.errors import LocalError
from hoist.read.connect import open_location
from hoist.read.version import OpenedVersion
from hoist.storage import layout
from hoist.storage.bucket import BucketObjects
from hoist.storage.directory import DirectoryObjects
from hoist.storage.translate import translated
from hoist.storage.tree import TreeStorage
from hoist.storage.wrap import Counting
from hoist.tensors.checkpoint import Checkpoint
from hoist.tensors.index import CHECKPOINT_SUFFIXES, read_index, weight_files
from hoist.tensors.lazy import LazyTensors
from hoist.tensors.load import Loader
from hoist.tensors.place import Loading

Access = Literal["sequential", "tensors"]
_HASH_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Switch:
    """One switch: the model's location; `hashed`: a first load, for which a plain loader hashes the file; the order.

    `path`: where a mount shows the file. `folder`: where an image is pulled to, missing before a first switch; `podman`: a
    podman that keeps its images there, as words, with the `image`, whether it takes TLS, and the file's path in it.
    """

    location: str
    hashed: bool
    access: Access = "sequential"
    path: str | None = None
    folder: str | None = None
    podman: Sequence[str] = ()
    image: str = ""
    tls: bool = True
    member: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a loader did: the object it made, and the bytes it read from the storage."""

    value: Any
    bytes_read: int


def load_with_hoist(switch: Switch) -> Loaded:
    """One verified read; the whole-file digest is the manifest's, so `hashed` changes nothing."""
    with open_location(switch.location) as plain:
        counting = Counting(plain.storage)
        opened = replace(plain, storage=counting)
        name = _weight_file(opened)
        if name.endswith(CHECKPOINT_SUFFIXES):
            value = Checkpoint(opened.reader(name)).load(Loading(opened.engine, torch.device("cpu")))
        else:
            index = read_index([opened.source(name)], opened.engine)
            if switch.access == "tensors":
                with closing(LazyTensors(index, opened.engine)) as lazy:
                    value = {key: lazy.tensor(key) for key in _model_order(index.by_name)}
            else:
                value = Loader(opened.engine, torch.device("cpu")).load(index, index.by_name)
        return Loaded(value, sum(counting.bytes.values()))


def load_plainly(switch: Switch) -> Loaded:
    """Hash (if this is a first load), then load with safetensors' or torch's own loader."""
    with open_location(switch.location) as opened:
        name = _weight_file(opened)
        key = layout.file_key(opened.version, name)
        storage = opened.storage
        objects = storage.objects if isinstance(storage, TreeStorage) else None
        if isinstance(objects, DirectoryObjects):
            return plain_file(objects.root / key, switch)
        if isinstance(objects, BucketObjects):
            return _plain_bucket(objects, key, switch, opened.entry(name).size)
    raise LocalError(f"there is no plain loader for {storage.address}")


def load_mounted(switch: Switch) -> Loaded:
    """What an unmodified program does with a file in a mount: as from a directory. The mount knows what it fetched."""
    assert switch.path is not None, "a mounted load was given no path"
    return plain_file(Path(switch.path), switch)


LOADERS: Mapping[str, Callable[[Switch], Loaded]] = {
    "hoist": load_with_hoist,
    "plain": load_plainly,
    "hoist-cached": load_with_hoist,
    "mounted": load_mounted,
    "mounted-no-cache": load_mounted,
}


def plain_file(path: Path, switch: Switch) -> Loaded:
    """Hash (if this is a first load), then load a local file with safetensors' or torch's own loader."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    size = path.stat().st_size
    read = 0
    if switch.hashed:
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")
        read += size
    if path.name.endswith(CHECKPOINT_SUFFIXES):
        return Loaded(torch.load(path, weights_only=True), read + size)
    if switch.access == "tensors":
        with safe_open(path, "pt") as opened:
            return Loaded({key: opened.get_tensor(key) for key in _model_order(opened.keys())}, read + size)
    return Loaded(load_file(path), read + size)


def _plain_bucket(objects: BucketObjects, key: str, switch: Switch, size: int) -> Loaded:
    from safetensors.torch import load

    read = 0
    with translated(objects.address, key):
        if switch.hashed:
            whole = hashlib.sha256()
            for chunk in obstore.get(objects.store, key).stream(_HASH_BYTES):
                whole.update(memoryview(chunk))
            read += size
        data = obstore.get(objects.store, key).bytes().to_bytes()
    if key.endswith(CHECKPOINT_SUFFIXES):
        return Loaded(torch.load(BytesIO(data), weights_only=True), read + size)
    return Loaded(load(data), read + size)


def _weight_file(opened: OpenedVersion) -> str:
    found = weight_files(opened, None, (".safetensors", *CHECKPOINT_SUFFIXES))
    if len(found) != 1:
        raise LocalError(
            f"{opened.version} has {len(found)} weight files: a switch is measured with models of one file"
        )
    return found[0]


def _model_order(names: Iterable[str]) -> list[str]:
    """An order that is not the file's: a model asks for its tensors as its modules come, which looks random."""
    found = sorted(names)
    random.Random(0).shuffle(found)  # noqa: S311 the order must be the same in each run, not secret
    return found
