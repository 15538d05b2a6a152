"""Reading the pickle of a checkpoint without ever running its code.

Only a short list of harmless constructors is known; anything else that the pickle asks for is refused, named. The
pure-Python unpickler is used on purpose: it keeps its memo in a dict, so a hostile index cannot make it allocate.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from hoist.errors import InvalidFile, UnsafeCheckpoint

_STORAGES: Mapping[str, torch.dtype | None] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": None,
}


@dataclass(frozen=True, slots=True)
class StorageRef:
    """A checkpoint's stored bytes: the key of its entry, the dtype (None: bytes), and the number of elements."""

    key: str
    dtype: torch.dtype | None
    elements: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.elements * (self.dtype.itemsize if self.dtype else 1)


@dataclass(frozen=True, slots=True)
class _StorageType:
    dtype: torch.dtype | None


Rebuild = Callable[[StorageRef, torch.dtype, int, tuple[int, ...], tuple[int, ...]], Any]
"""Makes a tensor: its storage, dtype, offset in elements, size and stride."""


def unpickle(data: bytes, rebuild: Rebuild, name: str) -> Any:
    """The object that the pickle describes, with `rebuild` making its tensors; `name` is for messages.

    Raises UnsafeCheckpoint if it asks for anything that could run code, InvalidFile if it is malformed.
    """
    try:
        return _Restricted(data, rebuild, name).load()
    except (UnsafeCheckpoint, InvalidFile):
        raise
    except (Exception, RecursionError) as error:  # noqa: BLE001 a hostile pickle can raise anything
        raise InvalidFile(f"{name}: malformed checkpoint pickle: {type(error).__name__}: {error!s:.200}") from None


class _Restricted(pickle._Unpickler):
    stack: list[Any]
    # BYTEARRAY8 would allocate any size that a pickle of a few bytes claims; torch writes none of these.
    dispatch: ClassVar[dict[int, Any]] = {
        code: load
        for code, load in pickle._Unpickler.dispatch.items()
        if code not in (*pickle.BYTEARRAY8, *pickle.NEXT_BUFFER, *pickle.READONLY_BUFFER)
    }

    def __init__(self, data: bytes, rebuild: Rebuild, name: str) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self._rebuild = rebuild
        self._name = name

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _StorageType(_STORAGES[name])
        # Not getattr: torch's own __getattr__ imports submodules.
        if module == "torch" and isinstance(vars(torch).get(name), torch.dtype):
            return vars(torch)[name]
        found = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch", "Size"): torch.Size,
            ("torch._utils", "_rebuild_tensor"): self._tensor_v1,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor_v2,
            ("torch._utils", "_rebuild_tensor_v3"): self._tensor_v3,
            ("torch._utils", "_rebuild_parameter"): _parameter,
        }.get((module, name))
        if found is None:
            raise UnsafeCheckpoint(
                f"{self._name} asks for {module}.{name}, which Hoist will not run: a checkpoint holds tensors and "
                "plain containers only. If you trust its origin, load it once with torch and save its state dict as "
                "safetensors"
            )
        return found

    def load_build(self) -> None:
        """Set attributes, which torch writes only as `_metadata` of an OrderedDict."""
        state = self.stack.pop()
        built = self.stack[-1]
        if type(built) is not OrderedDict or not isinstance(state, dict) or not all(map(_is_plain, state)):
            raise UnsafeCheckpoint(f"{self._name} sets attributes of a {type(built).__name__}, which Hoist will not do")
        vars(built).update(state)

    dispatch[pickle.BUILD[0]] = load_build

    def get_extension(self, code: int) -> None:
        raise UnsafeCheckpoint(f"{self._name} uses pickle extension {code}, which Hoist will not run")

    def persistent_load(self, pid: Any) -> StorageRef:
        try:
            kind, storage, key, _, elements = pid
            known = kind == "storage" and isinstance(storage, _StorageType)
        except (TypeError, ValueError):
            known = False
        if not known or not isinstance(key, str) or type(elements) is not int or elements < 0:
            raise InvalidFile(f"{self._name}: malformed checkpoint: a storage that is none")
        return StorageRef(key, storage.dtype, elements)

    def _tensor_v1(self, storage: Any, offset: Any, size: Any, stride: Any) -> Any:
        if not isinstance(storage, StorageRef) or storage.dtype is None:
            raise InvalidFile(f"{self._name}: malformed checkpoint: a tensor without a typed storage")
        return self._checked(storage, storage.dtype, offset, size, stride)

    def _tensor_v2(self, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Any:
        return self._tensor_v1(storage, offset, size, stride)

    def _tensor_v3(
        self, storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *rest: Any
    ) -> Any:
        if not isinstance(storage, StorageRef) or not isinstance(dtype, torch.dtype):
            raise InvalidFile(f"{self._name}: malformed checkpoint: a tensor without a storage or dtype")
        return self._checked(storage, dtype, offset, size, stride)

    def _checked(self, storage: StorageRef, dtype: torch.dtype, offset: Any, size: Any, stride: Any) -> Any:
        size, stride = tuple(size), tuple(stride)
        numbers = (offset, *size, *stride)
        if len(size) != len(stride) or not all(type(n) is int and 0 <= n < 1 << 62 for n in numbers):
            raise InvalidFile(f"{self._name}: lying checkpoint: a tensor of impossible shape")
        reach = 0 if 0 in size else offset + 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if reach * dtype.itemsize > storage.size:
            raise InvalidFile(f"{self._name}: lying checkpoint: a tensor reaches out of its storage {storage.key!r}")
        return self._rebuild(storage, dtype, offset, size, stride)


def _is_plain(attribute: Any) -> bool:
    """Whether an attribute's name hides nothing that an OrderedDict has."""
    return isinstance(attribute, str) and not hasattr(OrderedDict, attribute)


def _parameter(data: Any, requires_grad: Any = False, hooks: Any = None) -> Any:
    return data
