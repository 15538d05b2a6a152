"""Arithmetic in another dtype than the weights are kept in: each weight is cast when it is used, and never kept.

A CPU multiplies half-precision matrices very slowly, or not at all; casting a whole model would take twice its memory
again. So large weights stay as they are, which also keeps them shared with whoever else has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from hoist.errors import UsageError
from hoist.tensors.dtypes import cast_dtype

_HALVES = (torch.float16, torch.bfloat16)
Forward = Callable[[Any, torch.Tensor], torch.Tensor]


def choose_dtype(modules: Iterable[nn.Module], wanted: torch.dtype | str | None = "auto") -> torch.dtype | None:
    """The dtype to compute in; None: as the weights are.

    `auto` is as they are where they agree and the device computes in it; otherwise the widest of them, on a CPU at least
    float32. Raises UsageError for what is no dtype.
    """
    if wanted != "auto":
        return cast_dtype(wanted)
    found = {(each.dtype, each.device.type) for each in _floating(modules)}
    dtypes = {dtype for dtype, _ in found}
    if any(device == "cpu" for _, device in found) and torch.float16 in dtypes:
        return torch.float32
    if len(dtypes) < 2:
        return None
    return torch.float32 if dtypes == set(_HALVES) else max(dtypes, key=lambda dtype: dtype.itemsize)


def compute_in(module: nn.Module, dtype: torch.dtype) -> None:
    """Have a module compute in `dtype` and say that it is of it, while its linear, convolution and embedding weights stay.

    Only small parameters of other modules (norms) are copied. Raises UsageError if the dtype is no floating one.
    """
    if not dtype.is_floating_point:
        raise UsageError(f"{dtype} is not a dtype to compute in: try float32 or bfloat16")
    for each in module.modules():
        if all(parameter.dtype == dtype for parameter in _own(each)):
            continue
        forward = _forward_of(each, dtype)
        if forward:
            each.forward = MethodType(forward, each)
        else:
            for name, parameter in list(each.named_parameters(recurse=False)):
                if parameter.is_floating_point():
                    setattr(each, name, nn.Parameter(parameter.to(dtype), requires_grad=parameter.requires_grad))
        for name, buffer in list(each.named_buffers(recurse=False)):
            if buffer.is_floating_point():
                setattr(each, name, buffer.to(dtype))
    _say(module, dtype)


def _forward_of(module: nn.Module, dtype: torch.dtype) -> Forward | None:
    """The module's own forward, with its weights cast as they are used; None for a module that is not known."""

    def cast(tensor: torch.Tensor | None) -> torch.Tensor | None:
        return None if tensor is None else tensor.to(dtype)

    def linear(self: Any, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x.to(dtype), self.weight.to(dtype), cast(self.bias))

    def convolve(self: Any, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self._conv_forward(x.to(dtype), self.weight.to(dtype), cast(self.bias))
        return found

    def embed(self: Any, x: torch.Tensor) -> torch.Tensor:
        return nn.Embedding.forward(self, x).to(dtype)

    known: tuple[tuple[type[nn.Module], Forward], ...] = (
        (nn.Linear, linear),
        (nn.Conv1d, convolve),
        (nn.Conv2d, convolve),
        (nn.Conv3d, convolve),
        (nn.Embedding, embed),
    )
    # A subclass that changed its forward means something else by its weight.
    return next((own for kind, own in known if type(module).forward is kind.forward), None)


def _say(module: nn.Module, dtype: torch.dtype) -> None:
    """Libraries ask a model for its dtype to cast what they give it."""
    kind = type(module)
    if isinstance(getattr(kind, "dtype", None), property):
        module.__class__ = type(
            kind.__name__, (kind,), {"dtype": property(lambda _: dtype), "__module__": kind.__module__}
        )


def _own(module: nn.Module) -> list[nn.Parameter]:
    return [each for each in module.parameters(recurse=False) if each.is_floating_point()]


def _floating(modules: Iterable[nn.Module]) -> Iterable[nn.Parameter]:
    return (each for module in modules for each in module.parameters() if each.is_floating_point())
