"""What `safe_open` hands out: torch's tensors, or numpy's arrays."""

from __future__ import annotations

from typing import Any

import torch

from hoist.errors import UsageError

_FRAMEWORKS = {"pt": False, "torch": False, "pytorch": False, "np": True, "numpy": True}
_ELSEWHERE = {
    "jax": "jax.numpy.asarray",
    "flax": "jax.numpy.asarray",
    "tf": "tensorflow.convert_to_tensor",
    "tensorflow": "tensorflow.convert_to_tensor",
    "mlx": "mlx.core.array",
    "paddle": "paddle.to_tensor",
}


def wants_numpy(framework: str) -> bool:
    """Whether `framework`, by any of safetensors' names for it, is numpy rather than torch. Raises UsageError."""
    if framework in _ELSEWHERE:
        raise UsageError(
            f"framework {framework!r}: Hoist makes tensors for torch and numpy; open with framework='np' and give each to "
            f"{_ELSEWHERE[framework]}"
        )
    if framework not in _FRAMEWORKS:
        raise UsageError(f"framework {framework!r} is invalid: it is none of {', '.join(_FRAMEWORKS)}")
    return _FRAMEWORKS[framework]


def to_numpy(tensor: torch.Tensor) -> Any:
    """The tensor as an array of its own memory, as safetensors gives it.

    numpy has bfloat16 and the 8-bit floats once `ml_dtypes` is imported. Raises UsageError if it has no such dtype.
    """
    import numpy as np

    try:
        return tensor.numpy().copy()
    except TypeError:
        name = str(tensor.dtype).removeprefix("torch.")
    try:
        dtype = np.dtype(name)
    except TypeError:
        raise UsageError(
            f"numpy has no dtype {name}: import ml_dtypes before, which adds some, or open the file with framework='pt'"
        ) from None
    return tensor.view({1: torch.uint8, 2: torch.uint16}[tensor.itemsize]).numpy().view(dtype).copy()
