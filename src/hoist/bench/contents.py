"""What a loader has made, looked at alike whoever made it: touched, and summed up to compare with another loader's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from blake3 import blake3


def tensors_in(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of a loaded object by its path in it, as in `state_dict/model.weight`."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key in value.keys():  # noqa: SIM118 some loaders' mappings load at each look: one look a key
            yield from tensors_in(value[key], f"{name}/{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from tensors_in(item, f"{name}/{number}" if name else str(number))


def touch(value: Any) -> int:
    """Read one byte of every page of every tensor, as the copy to a device would; a mapped file is read only then."""
    total = 0
    for _, tensor in tensors_in(value):
        flat = tensor.detach().contiguous().view(-1)
        total += int(flat.view(torch.uint8)[::4096].sum()) if flat.numel() else 0
    return total


def fingerprint(value: Any) -> str:
    """A digest of all tensors: names, dtypes, shapes and bytes. Equal fingerprints, equal tensors."""
    whole = blake3(max_threads=blake3.AUTO)
    for name, tensor in sorted(tensors_in(value), key=lambda item: item[0]):
        whole.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        flat = tensor.detach().contiguous().reshape(-1)
        if flat.numel():
            data: Any = flat.view(torch.uint8).numpy()
            whole.update(data)
    return whole.hexdigest()
