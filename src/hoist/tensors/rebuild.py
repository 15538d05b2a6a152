"""Making the tensors that a checkpoint's pickle describes: noted as outlines first, then rebuilt over their storages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from hoist.errors import InvalidFile
from hoist.tensors.device import view_tensor
from hoist.tensors.unpickle import Layout, StorageRef


@dataclass(frozen=True, slots=True)
class TensorOutline:
    """What a checkpoint says of a tensor, without its bytes."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of its elements."""
        return math.prod(self.shape) * self.dtype.itemsize


class Outliner:
    """Puts TensorOutlines in the tensors' places, and tells `note` of each storage."""

    def __init__(self, note: Callable[[StorageRef], None]) -> None:
        self._note = note

    def tensor(self, storage: StorageRef, layout: Layout, *, requires_grad: bool) -> TensorOutline:
        self._note(storage)
        return TensorOutline(layout.dtype, layout.size)

    def quantised(self, storage: StorageRef, layout: Layout, parameters: tuple[Any, ...]) -> TensorOutline:
        return self.tensor(storage, layout, requires_grad=False)

    def sparse(self, layout: torch.layout, parts: tuple[Any, ...]) -> TensorOutline:
        outlines = [part for part in parts if isinstance(part, TensorOutline)]
        if not outlines:
            raise InvalidFile("malformed checkpoint: a sparse tensor without values")
        shape = next((part for part in parts if isinstance(part, torch.Size)), outlines[-1].shape)
        return TensorOutline(outlines[-1].dtype, tuple(shape))

    def empty(self, layout: Layout, *, requires_grad: bool) -> TensorOutline:
        return TensorOutline(layout.dtype, layout.size)

    def parameter(self, tensor: Any, *, requires_grad: bool) -> Any:
        return tensor


class Rebuilder:
    """Rebuilds the tensors as views of their storages' bytes; a cast is of whole storages, so sharing survives it."""

    def __init__(self, storages: Mapping[str, torch.Tensor], device: torch.device, cast: torch.dtype | None) -> None:
        self._storages = storages
        self._device = device
        self._cast = cast
        self._typed: dict[tuple[str, torch.dtype], torch.Tensor] = {}

    def tensor(self, storage: StorageRef, layout: Layout, *, requires_grad: bool) -> torch.Tensor:
        if 0 in layout.size:
            dtype = self._target(layout.dtype)
            found = torch.empty_strided(layout.size, layout.stride, dtype=dtype, device=self._device)
        else:
            typed = self._elements(storage, layout.dtype)
            found = typed.as_strided(layout.size, layout.stride, typed.storage_offset() + layout.offset)
        if "conj" in layout.flags:
            found = found.conj()
        if "neg" in layout.flags:
            found = torch._neg_view(found)
        return found.requires_grad_() if requires_grad else found

    def quantised(self, storage: StorageRef, layout: Layout, parameters: tuple[Any, ...]) -> torch.Tensor:
        scheme, *rest = parameters
        more: dict[str, Any] = {"dtype": layout.dtype, "device": self._device}
        if scheme == torch.per_tensor_affine:
            scale, zero = rest
            found = torch._empty_affine_quantized(layout.size, scale=scale, zero_point=zero, **more)
        elif scheme in (torch.per_channel_affine, torch.per_channel_affine_float_qparams):
            scales, zeros, axis = rest
            if not 0 <= axis < len(layout.size) or not scales.numel() == zeros.numel() == layout.size[axis]:
                raise ValueError("scales that do not fit their quantised tensor")
            found = torch._empty_per_channel_affine_quantized(
                layout.size, scales=scales, zero_points=zeros, axis=axis, **more
            )
        else:
            raise ValueError(f"a quantised tensor of scheme {scheme}")
        if 0 in layout.size:
            return found
        flat = self._elements(storage, _WHOLE[layout.dtype.itemsize])
        return found.set_(flat.untyped_storage(), flat.storage_offset() + layout.offset, layout.size, layout.stride)

    def sparse(self, layout: torch.layout, parts: tuple[Any, ...]) -> torch.Tensor:
        if layout == torch.sparse_coo:
            indices, values, size, *coalesced = parts
            return torch.sparse_coo_tensor(
                indices, values, size, check_invariants=True, is_coalesced=coalesced[0] if coalesced else None
            )
        indices, others, values, size = parts
        return torch.sparse_compressed_tensor(indices, others, values, size, layout=layout, check_invariants=True)

    def empty(self, layout: Layout, *, requires_grad: bool) -> torch.Tensor:
        dtype = self._target(layout.dtype)
        found = torch.empty_strided(layout.size, layout.stride, dtype=dtype, device="meta")
        return found.requires_grad_() if requires_grad else found

    def parameter(self, tensor: Any, *, requires_grad: bool) -> torch.nn.Parameter:
        return torch.nn.Parameter(tensor, requires_grad)

    def _elements(self, storage: StorageRef, dtype: torch.dtype) -> torch.Tensor:
        """A whole storage as elements of `dtype`, cast if that is wanted; once for all tensors that share it."""
        if (storage.key, dtype) not in self._typed:
            flat = self._storages[storage.key]
            count = flat.numel() // dtype.itemsize
            typed = view_tensor(flat, 0, count * dtype.itemsize, dtype, (count,))
            self._typed[storage.key, dtype] = typed.to(self._target(dtype))
        return self._typed[storage.key, dtype]

    def _target(self, dtype: torch.dtype) -> torch.dtype:
        return self._cast if self._cast and dtype.is_floating_point else dtype


_WHOLE = {1: torch.uint8, 4: torch.int32}
