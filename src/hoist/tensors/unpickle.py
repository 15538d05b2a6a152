"""Reading the pickle of a checkpoint without ever running its code.

Only a short list of harmless constructors is known; anything else that the pickle asks for is refused, named. The
pure-Python unpickler is used on purpose: it keeps its memo in a dict, so a hostile index cannot make it allocate.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch

from hoist.errors import InvalidFile, UnsafeCheckpoint
from hoist.memory import no_collection

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
    "QInt8Storage": torch.qint8,
    "QUInt8Storage": torch.quint8,
    "QInt32Storage": torch.qint32,
    "UntypedStorage": None,
}
_NUMBERS = (int, float, complex)


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


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a tensor lies in its storage: dtype, offset in elements, size, stride. `flags`: `conj` and `neg` bits."""

    dtype: torch.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    flags: frozenset[str] = frozenset()


class Builder(Protocol):
    """What makes the tensors that a pickle describes; or only notes them."""

    def tensor(self, storage: StorageRef, layout: Layout, *, requires_grad: bool) -> Any:
        """A plain tensor, which lies inside its storage."""

    def quantised(self, storage: StorageRef, layout: Layout, parameters: tuple[Any, ...]) -> Any:
        """A quantised tensor: its scheme, then scale and zero point, or scales, zero points and axis."""

    def sparse(self, layout: torch.layout, parts: tuple[Any, ...]) -> Any:
        """A sparse tensor of indices, values and a size, the parts made before."""

    def empty(self, layout: Layout, *, requires_grad: bool) -> Any:
        """A tensor on torch's `meta` device, which has no bytes."""

    def parameter(self, tensor: Any, *, requires_grad: bool) -> Any:
        """A tensor wrapped as a module's parameter."""


@no_collection()
def unpickle(data: bytes, builder: Builder, name: str) -> Any:
    """The object that the pickle describes, with `builder` making its tensors; `name` is for messages.

    Raises UnsafeCheckpoint if it asks for anything that could run code, InvalidFile if it is malformed.
    """
    reader = _Restricted(data, builder, name)
    try:
        return reader.load()
    except (UnsafeCheckpoint, InvalidFile):
        raise
    except (Exception, RecursionError) as error:  # noqa: BLE001 a hostile pickle can raise anything
        raise InvalidFile(f"{name}: malformed checkpoint pickle: {type(error).__name__}: {error!s:.200}") from None
    finally:
        # It refers to the reader's own methods: the tensors in it would stay until Python looks for cycles.
        reader.memo.clear()


class _Restricted(pickle._Unpickler):
    stack: list[Any]
    memo: dict[int, Any]
    # BYTEARRAY8 would allocate any size that a pickle of a few bytes claims; torch writes none of these.
    dispatch: ClassVar[dict[int, Any]] = {
        code: load
        for code, load in pickle._Unpickler.dispatch.items()
        if code not in (*pickle.BYTEARRAY8, *pickle.NEXT_BUFFER, *pickle.READONLY_BUFFER)
    }

    def __init__(self, data: bytes, builder: Builder, name: str) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self._builder = builder
        self._name = name
        self._storages: dict[str, StorageRef] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _StorageType(_STORAGES[name])
        # Not getattr: torch's own __getattr__ imports submodules.
        if module == "torch" and isinstance(vars(torch).get(name), torch.dtype | torch.qscheme):
            return vars(torch)[name]
        found = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch", "Size"): torch.Size,
            ("torch._utils", "_rebuild_tensor"): self._tensor_v1,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor_v2,
            ("torch._utils", "_rebuild_tensor_v3"): self._tensor_v3,
            ("torch._utils", "_rebuild_parameter"): self._parameter,
            ("torch._utils", "_rebuild_qtensor"): self._quantised,
            ("torch._utils", "_rebuild_sparse_tensor"): self._sparse,
            ("torch._utils", "_rebuild_meta_tensor_no_storage"): self._meta,
            **_PLAIN,
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
        found = StorageRef(key, storage.dtype, elements)
        if self._storages.setdefault(key, found) != found:
            # torch writes one dtype for a storage, and reads all tensors in it as the first that it meets.
            raise InvalidFile(f"{self._name}: lying checkpoint: storage {key!r} is of two dtypes or sizes")
        return found

    def _tensor_v1(self, storage: Any, offset: Any, size: Any, stride: Any) -> Any:
        return self._tensor_v2(storage, offset, size, stride)

    def _tensor_v2(
        self, storage: Any, offset: Any, size: Any, stride: Any, grad: Any = False, hooks: Any = None, flags: Any = None
    ) -> Any:
        if not isinstance(storage, StorageRef) or storage.dtype is None:
            raise InvalidFile(f"{self._name}: malformed checkpoint: a tensor without a typed storage")
        return self._tensor_v3(storage, offset, size, stride, grad, hooks, storage.dtype, flags)

    def _tensor_v3(
        self, storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, flags: Any = None
    ) -> Any:
        if not isinstance(storage, StorageRef) or not isinstance(dtype, torch.dtype):
            raise InvalidFile(f"{self._name}: malformed checkpoint: a tensor without a storage or dtype")
        layout = self._checked(storage.key, storage.size, dtype, offset, size, stride, flags)
        return self._builder.tensor(storage, layout, requires_grad=grad is True)

    def _quantised(
        self, storage: Any, offset: Any, size: Any, stride: Any, parameters: Any, grad: Any = False, hooks: Any = None
    ) -> Any:
        if not isinstance(storage, StorageRef) or storage.dtype is None or not isinstance(parameters, tuple):
            raise InvalidFile(f"{self._name}: malformed checkpoint: a quantised tensor without a storage or parameters")
        layout = self._checked(storage.key, storage.size, storage.dtype, offset, size, stride)
        if math.prod(layout.size) > storage.elements:
            raise InvalidFile(f"{self._name}: lying checkpoint: a quantised tensor larger than its storage")
        return self._builder.quantised(storage, layout, parameters)

    def _sparse(self, layout: Any, parts: Any) -> Any:
        if not isinstance(layout, torch.layout) or not isinstance(parts, tuple) or not 3 <= len(parts) <= 4:
            raise InvalidFile(f"{self._name}: malformed checkpoint: a sparse tensor that is none")
        return self._builder.sparse(layout, parts)

    def _meta(self, dtype: Any, size: Any, stride: Any, grad: Any = False) -> Any:
        if not isinstance(dtype, torch.dtype):
            raise InvalidFile(f"{self._name}: malformed checkpoint: a tensor without a dtype")
        return self._builder.empty(self._checked("meta", 1 << 62, dtype, 0, size, stride), requires_grad=grad is True)

    def _parameter(self, data: Any, requires_grad: Any = False, hooks: Any = None) -> Any:
        return self._builder.parameter(data, requires_grad=requires_grad is True)

    def _checked(
        self, key: str, room: int, dtype: torch.dtype, offset: Any, size: Any, stride: Any, flags: Any = None
    ) -> Layout:
        size, stride, flags = tuple(size), tuple(stride), flags or {}
        numbers = (offset, *size, *stride)
        if len(size) != len(stride) or not all(type(n) is int and 0 <= n < 1 << 62 for n in numbers):
            raise InvalidFile(f"{self._name}: lying checkpoint: a tensor of impossible shape")
        reach = 0 if 0 in size else offset + 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if reach * dtype.itemsize > room:
            raise InvalidFile(f"{self._name}: lying checkpoint: a tensor reaches out of its storage {key!r}")
        if not isinstance(flags, dict) or not flags.keys() <= {"conj", "neg"}:
            raise InvalidFile(f"{self._name}: a tensor has metadata that Hoist does not know: {flags!r:.80}")
        return Layout(dtype, offset, size, stride, frozenset(flag for flag, on in flags.items() if on is True))


def _is_plain(attribute: Any) -> bool:
    """Whether an attribute's name hides nothing that an OrderedDict has."""
    return isinstance(attribute, str) and not hasattr(OrderedDict, attribute)


def _encode(text: Any, encoding: Any) -> bytes:
    """What protocol 2 has in the place of bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes that are none")
    return text.encode("latin-1")


def _bytearray(data: Any = b"", encoding: Any = None) -> bytearray:
    """Never by a length: a pickle of a few bytes could ask for any."""
    return bytearray(_encode(data, encoding) if encoding is not None else memoryview(data))


def _complex(real: Any, imaginary: Any) -> complex:
    if type(real) not in _NUMBERS or type(imaginary) not in _NUMBERS:
        raise ValueError("a complex number that is none")
    return complex(real, imaginary)


def _layout(name: Any) -> torch.layout:
    found = vars(torch).get(str(name).removeprefix("torch."))
    if not isinstance(found, torch.layout):
        raise ValueError(f"torch has no layout {name!r:.80}")
    return found


_PLAIN: Mapping[tuple[str, str], Any] = {
    ("torch", "device"): torch.device,
    ("torch.serialization", "_get_layout"): _layout,
    ("_codecs", "encode"): _encode,
    ("collections", "Counter"): Counter,
    **{
        (module, name): made
        for module in ("builtins", "__builtin__")
        for name, made in (("bytearray", _bytearray), ("set", set), ("complex", _complex))
    },
}
"""What torch.load(weights_only=True) takes besides tensors; none of it does anything but hold what it is given."""
