"""How safetensors' names of element types and torch's correspond."""

from __future__ import annotations

import torch

from hoist.errors import InvalidFile, UsageError

_TORCH = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "F32": torch.float32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F64": torch.float64,
    "C64": torch.complex64,
}
# Names that not every torch has.
_NEWER = {
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "F4": "float4_e2m1fn_x2",
}
_NAMES: dict[torch.dtype, str] = {dtype: name for name, dtype in _TORCH.items()} | {
    getattr(torch, attribute): name for name, attribute in _NEWER.items() if hasattr(torch, attribute)
}


def torch_dtype(name: str, tensor: str = "") -> torch.dtype:
    """torch's dtype of a safetensors name; `tensor` is for the message. Raises InvalidFile if this torch has none."""
    found = _TORCH.get(name) or getattr(torch, _NEWER.get(name, ""), None)
    if not isinstance(found, torch.dtype):
        mend = "upgrade torch" if name in _NEWER else "leave it out with tensors=, or read its bytes with hoist.open"
        subject = f"tensor {tensor!r} is {name}" if tensor else name
        raise InvalidFile(f"{subject}, for which torch {torch.__version__} has no dtype: {mend}")
    return found


def safetensors_name(dtype: torch.dtype) -> str:
    """The safetensors name of torch's dtype, as `inspect` shows it; torch's own name where there is none."""
    return _NAMES.get(dtype, str(dtype).removeprefix("torch."))


def cast_dtype(wanted: torch.dtype | str | None) -> torch.dtype | None:
    """A dtype to cast to, from torch's own or its name (`float16`, `bf16`). Raises UsageError."""
    if wanted is None:
        return None
    aliases = {"fp16": "float16", "half": "float16", "bf16": "bfloat16", "fp32": "float32", "float": "float32"}
    found = wanted if isinstance(wanted, torch.dtype) else getattr(torch, aliases.get(wanted, wanted), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise UsageError(f"{wanted!r} is not a floating-point dtype of torch: try float16, bfloat16 or float32")
    return found
