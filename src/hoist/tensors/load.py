"""Fetching chosen tensors of one or many files to a device in one go: planned, coalesced, verified."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from hoist.errors import InvalidFile
from hoist.memory import no_collection
from hoist.model.formats.safetensors import TensorInfo
from hoist.read.plan import Plan
from hoist.tensors.device import view_tensor
from hoist.tensors.dtypes import torch_dtype
from hoist.tensors.index import TensorFile, TensorIndex
from hoist.tensors.place import Loading

# How much is fetched before it is cast, where a cast is wanted: the memory that a cast costs.
_CAST_BYTES = 64 << 20


@dataclass(frozen=True)
class Loader(Loading):
    """Loads the tensors of safetensors files; see Loading for its fields."""

    def load(self, index: TensorIndex, names: Iterable[str]) -> dict[str, torch.Tensor]:
        """The tensors of those names, in their order. Raises DamagedBlock, InvalidFile, and what a storage may."""
        names = list(names)
        by_file: dict[int, tuple[TensorFile, list[TensorInfo]]] = {}
        for name in names:
            file, tensor = index.by_name[name]
            by_file.setdefault(id(file), (file, []))[1].append(tensor)
        found: dict[str, torch.Tensor] = {}
        for tensors in self.load_each(list(by_file.values())):
            found |= tensors
        return {name: found[name] for name in names}

    def load_each(self, wanted: list[tuple[TensorFile, list[TensorInfo]]]) -> list[dict[str, torch.Tensor]]:
        """The chosen tensors of each file, by name. Raises what `load` does."""
        for _, tensors in wanted:
            for tensor in tensors:
                shape_of(tensor)  # before anything is fetched for what torch cannot hold
        if self.dtype is None:
            return self._fetch(wanted)
        return [self._cast_file(file, tensors) for file, tensors in wanted]

    def _cast_file(self, file: TensorFile, tensors: list[TensorInfo]) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        for batch in _batches(tensors):
            found |= self._cast(self._fetch([(file, batch)])[0])
        return found

    def _fetch(self, wanted: list[tuple[TensorFile, list[TensorInfo]]]) -> list[dict[str, torch.Tensor]]:
        ranges = [(file.source, [(tensor.begin, tensor.end) for tensor in tensors]) for file, tensors in wanted]
        placed = self.fetch(ranges)
        with no_collection():
            return [
                {tensor.name: tensor_at(each.flat, _locate(each.plan, tensor), tensor) for tensor in tensors}
                for each, (_, tensors) in zip(placed, wanted, strict=True)
            ]

    def _cast(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if self.dtype is None:
            return tensors
        # A tensor of that dtype already would keep its whole batch's memory alive as a view: copy it out.
        return {
            name: tensor.to(self.dtype, copy=True) if tensor.is_floating_point() else tensor.clone()
            for name, tensor in tensors.items()
        }


def _batches(tensors: list[TensorInfo]) -> Iterator[list[TensorInfo]]:
    batch: list[TensorInfo] = []
    for tensor in sorted(tensors, key=lambda tensor: tensor.begin):
        if batch and tensor.end - batch[0].begin > _CAST_BYTES:
            yield batch
            batch = []
        batch.append(tensor)
    if batch:
        yield batch


def shape_of(tensor: TensorInfo) -> tuple[torch.dtype, tuple[int, ...]]:
    """The dtype and shape that torch gives a tensor. Raises InvalidFile if torch cannot hold it."""
    dtype = torch_dtype(tensor.dtype, tensor.name)
    if tensor.dtype != "F4":
        return dtype, tensor.shape
    # torch packs two to an element, along the last dimension, as safetensors' own loader gives them.
    if not tensor.shape or tensor.shape[-1] % 2:
        raise InvalidFile(
            f"tensor {tensor.name!r} is F4 of shape {list(tensor.shape)}: torch needs an even last dimension"
        )
    return dtype, (*tensor.shape[:-1], tensor.shape[-1] // 2)


def tensor_at(flat: torch.Tensor, at: int, tensor: TensorInfo) -> torch.Tensor:
    """The tensor whose bytes lie in `flat` from `at`. Raises InvalidFile if torch cannot hold it."""
    dtype, shape = shape_of(tensor)
    size = tensor.end - tensor.begin
    if size == 0:
        try:
            return torch.empty(shape, dtype=dtype, device=flat.device)
        except RuntimeError:
            raise InvalidFile(f"tensor {tensor.name!r} has a shape that torch cannot hold") from None
    assert size == math.prod(shape) * dtype.itemsize
    return view_tensor(flat, at, size, dtype, shape)


def _locate(plan: Plan, tensor: TensorInfo) -> int:
    return plan.locate(tensor.begin, tensor.end) if tensor.end > tensor.begin else 0
