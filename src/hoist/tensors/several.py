"""Several safetensors files of one place loaded in one go, each under its own name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from hoist.config import load_config
from hoist.errors import FileNotFound, InvalidFile
from hoist.model.reference import looks_like_location
from hoist.read.connect import open_location
from hoist.read.engine import Engine
from hoist.read.source import local_source
from hoist.storage.base import OnBytes
from hoist.tensors.compat import as_safetensors
from hoist.tensors.device import torch_device
from hoist.tensors.dtypes import cast_dtype
from hoist.tensors.index import SAFETENSORS_INDEX, Weights, as_list, local_files, read_index, stored_files
from hoist.tensors.load import Loader

_SUFFIX = ".safetensors"
Member = TypeVar("Member", str, Path)
Groups = dict[str, list[int]]
"""For each name that a user gives, the places of its files among the sources."""


def load_files(
    path_or_location: str | Path,
    filenames: Sequence[str] | None = None,
    device: str | int | torch.device = "cpu",
    *,
    dtype: torch.dtype | str | None = None,
    on_bytes: OnBytes | None = None,
) -> dict[str, dict[str, torch.Tensor]]:
    """Load several safetensors files of a version, or of a local folder, at once: `{filename: {tensor name: tensor}}`.

    Without `filenames`, all there are; the shards of an index stand together under the index's name. Two files may hold
    tensors of one name. The other arguments, and what is raised, are those of `load_file`.
    """
    with as_safetensors():
        place, cast = torch_device(device), cast_dtype(dtype)
        weights, groups = _find(path_or_location, filenames)
        try:
            files = read_index(weights.sources, weights.engine).files
            loader = Loader(weights.engine, place, cast, on_bytes)
            loaded = loader.load_each([(file, list(file.header.tensors)) for file in files])
            return {name: _merge(name, [loaded[number] for number in members]) for name, members in groups.items()}
        finally:
            weights.close()


def _merge(name: str, parts: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    merged = {key: tensor for part in parts for key, tensor in part.items()}
    if len(merged) != sum(map(len, parts)):
        raise InvalidFile(f"two shards of {name} hold one tensor")
    return merged


def _find(place: str | Path, filenames: Sequence[str] | None) -> tuple[Weights, Groups]:
    folder = Path(place)
    if isinstance(place, Path) or folder.is_dir() or not looks_like_location(place):
        names = _weights_in(_below(folder), str(folder)) if filenames is None else as_list(filenames)
        groups, paths = _group({name: local_files(folder / name) for name in names}, everything=filenames is None)
        return Weights(tuple(map(local_source, paths)), None, Engine(load_config().engine)), groups
    opened = open_location(str(place))
    try:
        names = _weights_in(opened.files, str(opened.version)) if filenames is None else as_list(filenames)
        groups, stored = _group({name: stored_files(opened, name) for name in names}, everything=filenames is None)
        return Weights(tuple(map(opened.source, stored)), opened, opened.engine), groups
    except BaseException:
        opened.close()
        raise


def _below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _weights_in(names: Iterable[str], where: str) -> list[str]:
    found = [name for name in names if name.endswith((_SUFFIX, SAFETENSORS_INDEX))]
    if not found:
        raise FileNotFound(f"{where} has no {_SUFFIX} file")
    return found


def _group(resolved: dict[str, list[Member]], *, everything: bool) -> tuple[Groups, list[Member]]:
    """Number the distinct files: one that two names mean is loaded once. Of everything, shards stand with their index."""
    shards = {each for name, members in resolved.items() if name.endswith(SAFETENSORS_INDEX) for each in members}
    numbers: dict[Member, int] = {}
    groups: Groups = {}
    for name, members in resolved.items():
        if not everything or name.endswith(SAFETENSORS_INDEX) or shards.isdisjoint(members):
            groups[name] = [numbers.setdefault(each, len(numbers)) for each in members]
    return groups, list(numbers)
