"""Checkpoints that lie or attack: typed errors, and nothing is executed."""

from __future__ import annotations

import functools
import importlib
import os
import pickle
import struct
import sys
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch

import hoist
from hoist.errors import InvalidFile, UnsafeCheckpoint
from hoist.tensors.unpickle import _Restricted
from makers import directory_storage, publish

FLOATS = torch.arange(8.0)


class Ref:
    """A storage in a pickle, as torch.save writes it."""

    def __init__(
        self, key: Any = "0", elements: Any = 8, kind: Any = torch.FloatStorage, word: Any = "storage"
    ) -> None:
        self.pid = (word, kind, key, "cpu", elements)


class Call:
    """Pickles as a call of `function` with `arguments`, and then the state `built`."""

    def __init__(self, function: Any, *arguments: Any, built: Any = None) -> None:
        self._parts = (function, arguments, built) if built is not None else (function, arguments)

    def __reduce__(self) -> Any:
        return self._parts


def tensor(ref: Any = None, offset: Any = 0, size: Any = (8,), stride: Any = (1,), built: Any = None) -> Call:
    return Call(torch._utils._rebuild_tensor_v2, ref or Ref(), offset, size, stride, False, OrderedDict(), built=built)


class _Pickler(pickle._Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return obj.pid if isinstance(obj, Ref) else None


def pickled(value: Any) -> bytes:
    out = BytesIO()
    _Pickler(out, 2).dump(value)
    return out.getvalue()


def archive(path: Path, pickle_bytes: bytes, *more: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, data in (("data.pkl", pickle_bytes), ("data/0", FLOATS.numpy().tobytes()), *more):
            made.writestr(f"archive/{name}", data)
    return path


def refused(path: Path, kind: type[InvalidFile], match: str = ".") -> None:
    began = time.monotonic()
    with pytest.raises(kind, match=match):
        hoist.load_checkpoint(path)
    assert time.monotonic() - began < 5


def test_an_honest_one_of_the_same_make(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.pt", pickled({"a": tensor(), "b": tensor(offset=2, size=(2, 3), stride=(3, 1))}))
    found = hoist.load_checkpoint(path)
    assert found["a"].equal(FLOATS)
    assert found["b"].equal(FLOATS[2:].reshape(2, 3))


def _attacks(canary: str) -> dict[str, Any]:
    touch = f"touch {canary}"
    code = f"open({canary!r}, 'w')"
    return {
        "os.system": Call(os.system, touch),
        "builtins.eval": Call(eval, code),
        "builtins.exec": Call(exec, code),
        "builtins.open": Call(open, canary, "w"),
        "torch.load": Call(torch.load, canary),
        "torch.save": Call(torch.save, 1, canary),
        "importlib": Call(importlib.import_module, "antigravity"),
        "getattr": Call(getattr, Call(importlib.import_module, "os"), "system"),
        "nested getattr": Call(getattr, Call(getattr, Call(importlib.import_module, "os"), "system"), "__call__"),
        "eval inside getattr": Call(getattr, Call(eval, code), "x"),
        "partial": Call(functools.partial, os.system, touch),
        "torch.hub": Call(torch.hub.load, "x", "y"),
        "an OrderedDict of it": OrderedDict(a=Call(os.system, touch)),
        "behind a tensor": [tensor(), Call(os.system, touch)],
        "as a hook": Call(torch._utils._rebuild_tensor_v2, Ref(), 0, (8,), (1,), False, Call(os.system, touch)),
        "as a parameter": Call(torch._utils._rebuild_parameter, Call(os.system, touch), True, OrderedDict()),
        "as a storage's key": tensor(Ref(key=Call(os.system, touch))),
    }


@pytest.mark.parametrize("what", _attacks(""))
def test_attacks_are_refused_and_nothing_runs(tmp_path: Path, what: str) -> None:
    canary = tmp_path / "canary"
    path = archive(tmp_path / "m.pt", pickled({"state_dict": _attacks(str(canary))[what]}))
    refused(path, UnsafeCheckpoint, "asks for .*, which Hoist will not run")
    assert not canary.exists()
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "raw",
    [
        b"cposix\nsystem\n(S'touch CANARY'\ntR.",
        b"(S'touch CANARY'\niposix\nsystem\n.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0ctouch CANARY\x85R.",
        b"(cposix\nsystem\nS'touch CANARY'\no.",
        b"\x80\x02\x82\x01.",
        b"ctorch\nserialization.load\n.",
        b"ctorch.storage\n_load_from_bytes\n(S'x'\ntR.",
        b"ccollections\nOrderedDict.__init__.__globals__\n.",
        b"ctorch\n_inductor\n.",
    ],
)
def test_hand_written_attacks(tmp_path: Path, raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    imported = set(sys.modules)
    refused(archive(tmp_path / "m.pt", raw), UnsafeCheckpoint)
    assert not (tmp_path / "CANARY").exists()
    assert "torch._inductor" not in set(sys.modules) - imported


@pytest.mark.parametrize(
    "built",
    [
        Call(torch._utils._rebuild_parameter, 1, True, OrderedDict(), built={"x": 1}),
        Call(OrderedDict, built={"keys": 1}),
        Call(OrderedDict, built={"__class__": dict}),
        Call(OrderedDict, built={5: 1}),
        Call(OrderedDict, built=(None, {"_metadata": 1})),
        tensor(built={"data": 1}),
    ],
)
def test_attributes_are_not_set(tmp_path: Path, built: Any) -> None:
    refused(archive(tmp_path / "m.pt", pickled(built)), InvalidFile)


def test_functions_of_the_loader_cannot_be_changed(tmp_path: Path) -> None:
    raw = b"\x80\x02ctorch._utils\n_rebuild_parameter\nN}X\x0c\x00\x00\x00__defaults__(K\x01K\x02ts\x86b."
    refused(archive(tmp_path / "m.pt", raw), UnsafeCheckpoint, "sets attributes")
    assert _Restricted._parameter.__defaults__ == (False, None)


LIES: dict[str, Callable[[], Any]] = {
    "reaches out": lambda: tensor(size=(9,)),
    "reaches out by its offset": lambda: tensor(offset=1),
    "reaches out by its stride": lambda: tensor(size=(2,), stride=(8,)),
    "negative offset": lambda: tensor(offset=-1, size=(1,)),
    "negative stride": lambda: tensor(stride=(-1,)),
    "negative size": lambda: tensor(size=(-1,)),
    "huge size": lambda: tensor(size=(1 << 62, 1 << 62)),
    "huge number": lambda: tensor(size=(1 << 9000,)),
    "bool size": lambda: tensor(size=(True,)),
    "more strides than sizes": lambda: tensor(stride=(1, 1)),
    "size is a text": lambda: tensor(size="8"),
    "size is a number": lambda: tensor(size=8),
    "wrong storage size": lambda: tensor(Ref(elements=9)),
    "smaller storage": lambda: tensor(Ref(elements=4), size=(4,)),
    "wrong storage dtype": lambda: tensor(Ref(kind=torch.DoubleStorage)),
    "negative storage": lambda: tensor(Ref(elements=-8)),
    "no such storage": lambda: tensor(Ref(key="1")),
    "a storage elsewhere": lambda: tensor(Ref(key="../data.pkl")),
    "key no text": lambda: tensor(Ref(key=0)),
    "not a storage": lambda: tensor(Ref(word="module")),
    "kind no storage": lambda: tensor(Ref(kind=torch.float32)),
    "two sizes of one storage": lambda: [tensor(), tensor(Ref(elements=7), size=(7,))],
    "no storage at all": lambda: tensor(ref="0"),
    "untyped": lambda: tensor(Ref(kind=torch.UntypedStorage, elements=32)),
    "too few arguments": lambda: Call(torch._utils._rebuild_tensor_v2, Ref()),
}


@pytest.mark.parametrize("what", LIES)
def test_lies_are_refused(tmp_path: Path, what: str) -> None:
    refused(archive(tmp_path / "m.pt", pickled({"a": LIES[what]()})), InvalidFile)


RAW = {
    "empty": b"",
    "truncated": pickled({"a": tensor()})[:-20],
    "no stop": b"\x80\x02}",
    "unknown opcode": b"\xff.",
    "newer protocol": b"\x80\x09.",
    "huge memo index": b"\x80\x02]r\xff\xff\xff\xff.",
    "missing memo": b"\x80\x02j\xff\xff\xff\xff.",
    "pop of nothing": b"0.",
    "huge claimed bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x.",
    "huge claimed bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b"x.",
    "bytearray of 12 GiB": b"\x80\x05\x96" + struct.pack("<Q", 12 << 30) + b"x.",
    "huge frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 63) + b"N.",
    "buffers": b"\x80\x05\x97.",
    "number of many digits": b"I" + b"9" * 5000 + b"\n.",
    "bad text": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
    "persistent id of nothing": b"\x80\x02NQ.",
    "text persistent id": b"Pstorage\n.",
    "call of a text": b"S'a'\n)R.",
    "setitem on a text": b"S'a'\nNNs.",
    "unhashable key": b"\x80\x02}]Ns.",
}


@pytest.mark.parametrize("what", RAW)
def test_malformed_pickles(tmp_path: Path, what: str) -> None:
    path = archive(tmp_path / "m.pt", RAW[what])
    if what == "huge memo index":
        # A memo is a dict: the index costs nothing.
        assert hoist.load_checkpoint(path) == []
        return
    refused(path, InvalidFile, r"m\.pt")


def test_deep_nesting_is_loaded_or_refused(tmp_path: Path) -> None:
    for raw in (b"]" * 200_000 + b"a" * 199_999 + b".", b"\x80\x02" + b"N\x85" + b"\x85" * 200_000 + b"."):
        path = archive(tmp_path / "m.pt", raw)
        with suppress(InvalidFile):
            hoist.load_checkpoint(path)


def _inspected(tmp_path: Path, raw: bytes) -> str:
    publish(archive(tmp_path / "m.pt", raw), directory_storage(tmp_path / "models"))
    (file,) = hoist.inspect(f"{tmp_path / 'models'}//m/one:v1").files
    return file.problem


@pytest.mark.parametrize(
    "raw",
    [
        b"]" * 200_000 + b"a" * 199_999 + b".",
        b"\x80\x02]q\x00h\x00a.",
        b"\x80\x02](" + pickled(tensor())[2:-1] + b"e" + b"2\x86" * 60 + b".",
    ],
    ids=["deep", "in itself", "60 times doubled"],
)
def test_inspect_ends_on_hostile_nesting(tmp_path: Path, raw: bytes) -> None:
    began = time.monotonic()
    assert "nested" in _inspected(tmp_path, raw)
    assert time.monotonic() - began < 10


def test_one_entry_twice(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.pt", pickled({"a": tensor()}), ("data/x", b"1"))
    path.write_bytes(path.read_bytes().replace(b"archive/data/x", b"archive/data/0"))
    refused(path, InvalidFile, "stands twice")


def test_an_entry_that_runs_into_the_next(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.pt", pickled({"a": tensor()}), ("data/1", bytes(100)))
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x03\x04", 10)
    data[at + 28 : at + 30] = struct.pack("<H", 80)
    path.write_bytes(data)
    refused(path, InvalidFile, "runs into the next")
