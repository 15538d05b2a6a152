"""GGUF files by name: published on tensor boundaries, inspected, read, and loaded, as the reference reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

import hoist
from hoist.errors import DamagedBlock, FileNotFound, InvalidFile, TensorNotFound, UsageError
from hoist.storage import layout
from hoist.storage.base import Version
from hoist.storage.wrap import Counting
from hoist.tensors import index as index_module
from makers import directory_storage, memory_storage, opened, publish, put_version

RNG = np.random.default_rng(0)
PLAIN: dict[str, np.ndarray[Any, Any]] = {
    "token_embd.weight": RNG.random((300, 64)).astype(np.float32),
    "blk.0.w": RNG.random((7, 32)).astype(np.float16),
    "blk.0.i8": RNG.integers(-9, 9, (3, 5)).astype(np.int8),
    "blk.1.i32": RNG.integers(-9, 9, (4, 2, 2)).astype(np.int32),
    "blk.1.f64": RNG.random(9),
}
TYPES = [gguf.GGMLQuantizationType[name] for name in ("Q8_0", "Q4_0", "BF16", "TQ2_0")]
QUANTISED = {kind.name: gguf.quants.quantize(RNG.random((4, 256)).astype(np.float32), kind) for kind in TYPES}


def write(path: Path) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("general.name", "tiny")
    for name, values in PLAIN.items():
        writer.add_tensor(name, values)
    for kind in TYPES:
        writer.add_tensor(f"q.{kind.name}", QUANTISED[kind.name], raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "m.gguf")


@pytest.fixture(params=["path", "location"])
def place(request: pytest.FixtureRequest, path: Path, tmp_path: Path) -> str:
    if request.param == "path":
        return str(path)
    publish(path, directory_storage(tmp_path / "s"))
    return f"{tmp_path / 's'}//m/one:v1"


def test_names_types_shapes_and_bytes(place: str, path: Path) -> None:
    reference = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    with hoist.open_gguf(place) as found:
        assert found.metadata["general.name"] == "tiny"
        assert found.keys() == list(reference)
        for name, tensor in reference.items():
            assert found.tensors[name].type.name == tensor.tensor_type.name
            assert found.tensors[name].shape == tuple(map(int, tensor.shape))[::-1]
            assert found.read(name) == tensor.data.tobytes()
            buffer = bytearray(b"x") * (tensor.n_bytes + 3)
            assert found.into(name, buffer) == tensor.n_bytes
            assert buffer == tensor.data.tobytes() + b"xxx"


def test_tensors(place: str) -> None:
    with hoist.open_gguf(place) as found:
        tensors = found.get_tensors()
        one = found.get_tensor("blk.0.w")
    assert one.equal(torch.from_numpy(PLAIN["blk.0.w"]))
    for name, values in PLAIN.items():
        assert tensors[name].numpy().dtype == values.dtype
        assert np.array_equal(tensors[name].numpy(), values)
    assert tensors["q.BF16"].dtype == torch.bfloat16
    assert tensors["q.BF16"].shape == (4, 256)
    for name in ("Q8_0", "Q4_0", "TQ2_0"):
        assert np.array_equal(tensors[f"q.{name}"].numpy(), QUANTISED[name])
        values = gguf.quants.dequantize(tensors[f"q.{name}"].numpy(), gguf.GGMLQuantizationType[name])
        assert values.shape == (4, 256)


def test_names_and_buffers_that_do_not_fit(place: str) -> None:
    with hoist.open_gguf(place) as found:
        for ask in (found.read, found.get_tensor, lambda name: found.into(name, bytearray(1))):
            with pytest.raises(TensorNotFound, match="no tensor 'x'"):
                ask("x")
        for buffer in (bytearray(3), bytes(1 << 20), memoryview(bytearray(1 << 20))[::2]):
            with pytest.raises(UsageError, match="writable bytes"):
                found.into("blk.0.w", buffer)


def test_inspect(path: Path, tmp_path: Path) -> None:
    publish(path, directory_storage(tmp_path / "s"))
    (summary,) = hoist.inspect(f"{tmp_path / 's'}//m/one:v1").files
    assert (summary.format, summary.problem) == ("gguf", "")
    found = {item.name: (item.dtype, item.shape, item.size) for item in summary.tensors}
    assert found["q.Q4_0"] == ("Q4_0", (4, 256), 4 * 256 // 32 * 18)
    assert found["blk.1.i32"] == ("I32", (4, 2, 2), 64)
    assert len(found) == len(PLAIN) + len(TYPES)


def test_a_malformed_file_is_published_as_bytes_and_refused_when_opened(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + bytes(40))
    publish(tmp_path / "m.gguf", directory_storage(tmp_path / "s"))
    location = f"{tmp_path / 's'}//m/one:v1"
    with pytest.raises(InvalidFile, match=r"m\.gguf.*version 0"):
        hoist.open_gguf(location)
    (summary,) = hoist.inspect(location).files
    assert "version 0" in summary.problem
    hoist.verify(location)


def test_which_file(path: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFound):
        hoist.open_gguf(tmp_path / "none.gguf")
    publish(path, directory_storage(tmp_path / "s"))
    with pytest.raises(UsageError, match=r"m\.gguf: use hoist\.open_gguf"):
        hoist.load_file(f"{tmp_path / 's'}//m/one:v1")


BLOCK = 4096


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch, path: Path) -> Counting:
    storage = memory_storage()
    put_version(storage, {"m.gguf": path.read_bytes()}, BLOCK)
    found = Counting(storage)
    monkeypatch.setattr(index_module, "open_location", lambda place: opened(found))
    return found


def test_the_header_and_a_tensor_bring_only_their_own_blocks(counting: Counting) -> None:
    with hoist.open_gguf("memory://x//m/one:v1") as found:
        assert found.header.data_begin < BLOCK
        assert counting.bytes["read_into"] == BLOCK
        for get in (found.read, found.get_tensor):
            before = counting.bytes["read_into"]
            get("q.Q4_0")
            assert counting.bytes["read_into"] - before <= 2 * BLOCK


def test_no_byte_that_is_damaged(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = memory_storage()
    data = path.read_bytes()
    put_version(storage, {"m.gguf": data}, BLOCK)
    key = layout.file_key(Version("m/one", "v1"), "m.gguf")
    at = data.index(PLAIN["token_embd.weight"].tobytes()) + 50_000
    storage.objects.put(key, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    monkeypatch.setattr(index_module, "open_location", lambda place: opened(storage))
    with hoist.open_gguf("memory://x//m/one:v1") as found:
        assert found.read("blk.0.w") == PLAIN["blk.0.w"].tobytes()
        for get in (found.read, found.get_tensor, lambda name: found.into(name, bytearray(1 << 20))):
            with pytest.raises(DamagedBlock):
                get("token_embd.weight")
