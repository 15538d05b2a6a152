"""Modules built around tensors that are there already: no memory is taken for weights that are about to be replaced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from typing import Any, TypeVar

import torch
from torch.overrides import TorchFunctionMode

from hoist.errors import InvalidFile
from hoist.memory import no_collection

Module = TypeVar("Module", bound=torch.nn.Module)

BUILDING = RLock()
"""Held while modules are made: libraries set torch's default dtype and its initialisers for the whole process."""


# transformers puts its own in the place of torch's while it makes a model.
_INITIALISERS = ("torch.nn.init", "transformers.initialization")


class _EmptyOnMeta(TorchFunctionMode):
    """Uninitialised memory, which is what parameters begin as, is not taken; what is computed (buffers) is."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        given = kwargs or {}
        if func is torch.empty and given.get("device") is None:
            return func(*args, **{**given, "device": "meta"})
        if getattr(func, "__module__", "") in _INITIALISERS:
            # Where there is no memory, there is nothing to fill: half of the time that a large module takes.
            tensor = args[0] if args else given.get("tensor")
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                return tensor
        return func(*args, **given)


@contextmanager
def without_weights() -> Iterator[None]:
    """Modules made in this block have parameters without memory, and their real buffers. One thread at a time."""
    with BUILDING, no_collection(), _EmptyOnMeta():
        yield


def assign(module: Module, state: Mapping[str, torch.Tensor], device: torch.device) -> Module:
    """Make `state`'s tensors the module's own, without a copy and in their dtypes, ready for inference.

    What the module has no place for is left out. Raises InvalidFile for a tensor that is missing or has another shape.
    """
    module.requires_grad_(False)
    try:
        missing = module.load_state_dict(state, strict=False, assign=True).missing_keys
    except RuntimeError as error:
        raise InvalidFile(f"the weights do not fit {type(module).__name__}: {_last_line(error)}") from None
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    lacking = [name for name in missing if name in parameters]
    # A buffer that is in no file was computed when the module was made.
    lacking += [name for name, buffer in module.named_buffers() if buffer.is_meta]
    if lacking:
        more = f" (and {len(lacking) - 1} more)" if lacking[1:] else ""
        raise InvalidFile(f"the weights of {type(module).__name__} lack {lacking[0]!r}{more}")
    if device.type != "cpu":
        module.to(device)  # buffers: the parameters are there
    return module.eval()


def _last_line(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1].strip()
