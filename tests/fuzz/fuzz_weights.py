"""Targets: weight files. Where a reference implementation reads the format too, both must see the same tensors."""

from __future__ import annotations

import io
import json
import struct
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import safetensors
import torch
from fuzz_target import Target, attempt, scratch

import hoist
from hoist.errors import InvalidFile
from hoist.model.formats.archive import data_range, read_archive
from hoist.model.formats.safetensors import DTYPE_BITS, LENGTH_BYTES, Header, header_length, parse_header
from hoist.tensors.rebuild import Outliner, Rebuilder
from hoist.tensors.unpickle import StorageRef, unpickle
from makers import Raw, safetensors_bytes

_STORED = {"0": bytes(range(64)), "1": bytes(range(100, 148))}
_RUNS = ("os.", "subprocess.", "exec", "compile", "socket.", "open", "shutil.", "ctypes.")
_DEEPEST = 20
_watching = False


def check_safetensors(data: bytes) -> bool:
    """A whole file. Hoist and the reference library agree on every file, but for the differences named here."""
    header = attempt(lambda: _header(data), InvalidFile)
    try:
        # The reference's own names and bytes; it raises one type for all it refuses.
        expected = dict(safetensors.deserialize(data))  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError:
        assert header is None or _is_looser(data), "Hoist accepts what the reference refuses"
        return header is not None
    if header is None:
        assert _is_stricter(data), "Hoist refuses what the reference accepts"
        return False
    found = {t.name: (t.dtype, list(t.shape), data[t.begin : t.end]) for t in header.tensors}
    assert found == {n: (e["dtype"], e["shape"], bytes(e["data"])) for n, e in expected.items()}
    return True


def check_safetensors_header(data: bytes) -> bool:
    """A header alone: the first two bytes are the size of what follows it."""
    if len(data) < 2:
        return False
    header, payload = data[2:], bytes(int.from_bytes(data[:2], "little"))
    return check_safetensors(len(header).to_bytes(LENGTH_BYTES, "little") + header + payload)


def _header(data: bytes) -> Header:
    length = header_length(data[:LENGTH_BYTES], len(data))
    return parse_header(data[LENGTH_BYTES : LENGTH_BYTES + length], len(data))


def _document(data: bytes) -> Any:
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    pairs: list[int] = []

    def count(items: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs.append(len(items) - len(dict(items)))
        return dict(items)

    document = json.loads(data[LENGTH_BYTES : LENGTH_BYTES + length].decode(), object_pairs_hook=count)
    return document, any(pairs)


def _is_stricter(data: bytes) -> bool:
    """Hoist refuses a name that stands twice; the reference takes the last of the two."""
    _, doubled = _document(data)
    return bool(doubled)


def _is_looser(data: bytes) -> bool:
    return False


def check_archive(data: bytes) -> bool:
    """The zip directory. Every entry that Python's own reader can read has the bytes that Hoist would read."""
    found = attempt(lambda: read_archive(io.BytesIO(data), len(data)), InvalidFile)
    if found is None:
        return False
    spans = {}
    for name, entry in found.entries.items():
        span = attempt(lambda entry=entry: data_range(entry, lambda a, b: data[a:b], len(data)), InvalidFile)  # type: ignore[misc]
        if span is None:
            return False
        spans[name] = span
        assert 0 <= span[0] <= span[1] <= len(data)
    with zipfile.ZipFile(io.BytesIO(data)) as library:
        for info in library.infolist():
            try:
                expected = library.read(info)
            except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, UnicodeDecodeError):
                # A wrong CRC or name in the local header: Hoist has its own digests, and asks for no name.
                continue
            begin, end = spans[info.filename.partition("/")[2]]
            assert data[begin:end] == expected
    return True


def check_pickle(data: bytes) -> bool:
    """The pickle of a checkpoint with two storages: nothing runs, no tensor leaves its storage, and where torch's own
    restricted reader accepts it too, the tensors are the same."""
    room = {key: torch.frombuffer(bytearray(stored), dtype=torch.uint8) for key, stored in _STORED.items()}
    with _nothing_runs():
        found = attempt(lambda: unpickle(data, Outliner(_known), "fuzz"), InvalidFile)
        if found is not None:
            attempt(lambda: unpickle(data, Rebuilder(room, torch.device("cpu"), None), "fuzz"), InvalidFile)
    return found is not None and _compare_with_torch(_checkpoint(data))


def _known(storage: StorageRef) -> None:
    if storage.key not in _STORED or storage.size != len(_STORED[storage.key]):
        raise InvalidFile("no such storage")


def check_checkpoint(data: bytes) -> bool:
    """A whole checkpoint file."""
    return _compare_with_torch(data)


def _compare_with_torch(data: bytes) -> bool:
    path = scratch() / "m.pt"
    path.write_bytes(data)
    ours = attempt(lambda: [hoist.load_checkpoint(path)], InvalidFile)
    if ours is None:
        return False
    try:
        theirs = torch.load(path, weights_only=True, map_location="cpu")
    except Exception:
        # It reads fewer opcodes and checks CRCs; what it refuses is not compared.
        return True
    assert _same(ours[0], theirs), "torch reads other tensors"
    return True


def _same(ours: Any, theirs: Any, depth: int = 0) -> bool:
    if depth > _DEEPEST:
        # A container may hold itself.
        return True
    if isinstance(theirs, torch.Tensor):
        return isinstance(ours, torch.Tensor) and _same_tensor(ours, theirs)
    if isinstance(theirs, dict):
        ours, theirs = (list(each.values()) if isinstance(each, dict) else None for each in (ours, theirs))
    if isinstance(theirs, list | tuple):
        same_kind = isinstance(ours, list | tuple) and len(ours) == len(theirs)
        return same_kind and all(_same(one, other, depth + 1) for one, other in zip(ours, theirs, strict=True))
    return True


def _same_tensor(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    if (ours.layout, ours.dtype, ours.shape) != (theirs.layout, theirs.dtype, theirs.shape):
        return False
    if theirs.layout != torch.strided or theirs.is_quantized or theirs.is_meta:
        return True
    # A stride of 0 makes tensors of any size out of a few bytes: those are not written out.
    return ours.stride() == theirs.stride() and (ours.numel() > 1 << 16 or _bytes(ours) == _bytes(theirs))


def _bytes(tensor: torch.Tensor) -> bytes:
    flat = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach()).flatten()
    return flat.view(torch.uint8).numpy().tobytes()


def _checkpoint(pickled: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        entries = {"data.pkl": pickled, "byteorder": b"little", "version": b"3\n"}
        entries |= {f"data/{key}": stored for key, stored in _STORED.items()}
        for name, content in entries.items():
            made.writestr(f"m/{name}", content)
    return out.getvalue()


@contextmanager
def _nothing_runs() -> Iterator[None]:
    """Whatever Python could be made to do while a pickle is read is a finding."""
    global _watching
    _install_watch()
    _watching = True
    try:
        yield
    finally:
        _watching = False


@cache
def _install_watch() -> None:
    def heard(event: str, arguments: tuple[object, ...]) -> None:
        if _watching and event.startswith(_RUNS):
            raise AssertionError(f"the pickle caused {event} {arguments!r:.200}")

    sys.addaudithook(heard)


def _safetensors_seeds() -> list[bytes]:
    raws = [
        [Raw("a", "F32", [2, 2], bytes(16)), Raw("b.weight", "I8", [3], b"123")],
        [Raw(f"t{bits}.{name}", name, [8], bytes(bits)) for name, bits in DTYPE_BITS.items()],
        [Raw("empty", "F16", [0, 4], b""), Raw("point", "BF16", [], b"12")],
        [],
    ]
    return [safetensors_bytes(raw, meta) for raw in raws for meta in ({}, {"format": "pt"})]


def _header_seeds() -> list[bytes]:
    found = []
    for data in _safetensors_seeds():
        length = int.from_bytes(data[:LENGTH_BYTES], "little")
        payload = len(data) - LENGTH_BYTES - length
        found.append(struct.pack("<H", payload) + data[LENGTH_BYTES : LENGTH_BYTES + length])
    return found


def _saved() -> list[bytes]:
    shared = torch.arange(16.0)
    values: Sequence[Any] = (
        {"a": shared, "b": torch.ones(3, 2, dtype=torch.int64)},
        OrderedDict(x=shared[2:6], y=shared.reshape(4, 4).t(), z=[torch.tensor(1, dtype=torch.bfloat16)]),
        {"state_dict": {"w": torch.nn.Parameter(torch.ones(2))}, "step": 3, "lr": 0.5, "name": "é", "none": None},
        {"empty": torch.empty(0, 3), "bool": torch.tensor([True, False]), "c": torch.ones(2, dtype=torch.complex64)},
    )
    return [_written(value) for value in values]


def _written(value: Any) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def _pickles() -> list[bytes]:
    with warnings.catch_warnings():
        # What is beta or going away in torch is in checkpoints all the same.
        warnings.simplefilter("ignore")
        return _pickles_of_all_kinds()


def _pickles_of_all_kinds() -> list[bytes]:
    """Pickles about the two storages that are there, of 64 and 48 bytes."""
    first, second = torch.arange(16.0), torch.ones(3, 2, dtype=torch.int64)
    values = (
        {"a": first, "b": second, "c": second[1:, 0]},
        OrderedDict(x=first[2:6], y=first.reshape(4, 4).t(), z=[second, (first, None)]),
        {"state_dict": {"w": torch.nn.Parameter(first)}, "step": 3, "lr": 0.5, "name": "é", "big": 1 << 80},
        {"half": torch.ones(32, dtype=torch.float16), "c": torch.ones(6, dtype=torch.complex64)[:2]},
        {"q": torch.quantize_per_tensor(torch.ones(64), 0.5, 3, torch.quint8), "m": torch.ones(9, device="meta")},
        {
            "sparse": torch.eye(6).to_sparse(),
            "csr": torch.eye(3).to_sparse_csr(),
            "conj": first[:8].view(torch.complex64).conj(),
        },
        {"bool": torch.ones(64, dtype=torch.bool), "f8": torch.ones(48, dtype=torch.float8_e4m3fn)},
    )
    found = []
    for data in map(_written, values):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
            found.append(archive.read(name))
    return [*found, b"\x80\x02}q\x00.", b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01K\x02e."]


_JSON = (
    b'"dtype":',
    b'"shape":[',
    b'"data_offsets":[',
    b'"__metadata__":{',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b'"',
    b"\\u",
)
_ZIP = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"data.pkl", b"data/0", b"version")
_PICKLE = (
    *(f"ctorch\n{name}\n".encode() for name in ("FloatStorage", "LongStorage", "HalfStorage", "float32", "Size")),
    *(f"ctorch._utils\n_rebuild_{name}\n".encode() for name in ("tensor_v2", "tensor_v3", "tensor", "parameter")),
    b"ccollections\nOrderedDict\n", b"cposix\nsystem\n", b"X\x07\x00\x00\x00storage", b"X\x01\x00\x00\x000", b"Q", b"tR",
    b"\x85R", b"\x86R", b"\x87R", b"\x93", b"\x81", b"b", b"o", b"i", b"K\x10", b"M\x00\x01", b"\x8a\x08",
)  # fmt: skip
TARGETS = (
    Target("safetensors", check_safetensors, _safetensors_seeds, (*_JSON, *(f'"{n}"'.encode() for n in DTYPE_BITS))),
    Target("header", check_safetensors_header, _header_seeds, (*_JSON, *(f'"{n}"'.encode() for n in DTYPE_BITS))),
    Target("archive", check_archive, _saved, _ZIP),
    Target("pickle", check_pickle, _pickles, _PICKLE),
    Target("checkpoint", check_checkpoint, _saved, (*_ZIP, *_PICKLE)),
)
