"""load_file against safetensors' own, bit by bit, from every kind of place."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import safetensors.torch
import torch

import hoist
from hoist.errors import (
    DamagedBlock,
    FileNotFound,
    InvalidFile,
    StorageNotFound,
    UsageError,
    VersionNotFound,
)
from hoist.storage import layout
from hoist.storage.base import Version
from hoist.testing.servers import RcloneServer
from makers import Raw, directory_storage, publish, safetensors_bytes, write_files

Tensors = dict[str, torch.Tensor]


def bits(tensor: torch.Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return tensor.dtype, tensor.shape, bytes(flat.view(torch.uint8).numpy().tobytes()) if flat.numel() else b""


def same(found: Tensors, expected: Tensors) -> None:
    assert {name: bits(tensor) for name, tensor in found.items()} == {
        name: bits(tensor) for name, tensor in expected.items()
    }


def model(seed: int = 0) -> Tensors:
    torch.manual_seed(seed)
    return {
        "unet.in.weight": torch.randn(64, 33),
        "unet.in.bias": torch.randn(33).half(),
        "vae.deep.name": torch.randn(7, 5, 3).bfloat16(),
        "ids": torch.arange(77, dtype=torch.int64),
        "mask": torch.tensor([True, False, True]),
        "point": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
    }


def _dtypes() -> Tensors:
    raw = torch.arange(256, dtype=torch.uint8).repeat(2)
    dtypes = {name: dtype for name, dtype in safetensors.torch._TYPES.items() if isinstance(dtype, torch.dtype)}
    found = {name: raw.clone().view(dtype) for name, dtype in dtypes.items() if dtype is not torch.bool}
    return found | {"BOOL": raw % 2 == 0} | {f"{name}.point": tensor[1].clone() for name, tensor in found.items()}


def _published(tmp_path: Path, files: dict[str, bytes]) -> str:
    root = tmp_path / "models"
    publish(write_files(tmp_path / "source", files), directory_storage(root))
    return f"{root}//m/one:v1"


Place = Callable[[Tensors], str | Path]


@pytest.fixture(params=["path", "text path", "directory", "memory", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Puts tensors somewhere, and says where."""

    def put(tensors: Tensors) -> str | Path:
        path = tmp_path / "model.safetensors"
        safetensors.torch.save_file(tensors, path, {"format": "pt"})
        if "path" in request.param:
            return path if request.param == "path" else str(path)
        storage = {"directory": str(tmp_path / "models"), "memory": f"memory://{uuid4().hex}"}.get(request.param)
        if storage is None:
            storage = _bucket(request.getfixturevalue("rclone_server"), monkeypatch)
        elif request.param == "directory":
            Path(storage).mkdir()
        hoist.publish(path, f"{storage}//m/one:v1")
        return f"{storage}//m/one:v1"

    yield put


def _bucket(server: RcloneServer, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"load-{uuid4().hex[:10]}"
    server.create_bucket(name)
    monkeypatch.setenv("HOIST_ENDPOINT", server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    monkeypatch.setenv("AWS_REGION", server.region)
    return f"s3://{name}/prefix"


def test_every_dtype_from_everywhere(place: Place, tmp_path: Path) -> None:
    where = place(_dtypes() | model())
    same(hoist.load_file(where), safetensors.torch.load_file(tmp_path / "model.safetensors"))


def test_a_subset_and_a_cast_from_everywhere(place: Place) -> None:
    tensors = model()
    where = place(tensors)
    same(hoist.load_file(where, tensors=["ids", "unet.in.bias"]), {n: tensors[n] for n in ("ids", "unet.in.bias")})
    same(hoist.load_file(where, prefix="unet."), {n: t for n, t in tensors.items() if n.startswith("unet.")})
    same(hoist.load_file(where, tensors=["unet.in.bias", "ids"], prefix="u"), {"unet.in.bias": tensors["unet.in.bias"]})
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    same(hoist.load_file(where, dtype="fp16"), half)
    same(hoist.load_file(where, dtype=torch.float16), half)


def test_a_cast_over_several_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoist.tensors.load._CAST_BYTES", 1000)
    tensors = {f"t{n}": torch.randn(100 + n) for n in range(20)} | {"h": torch.ones(9).bfloat16()}
    safetensors.torch.save_file(tensors, tmp_path / "m.safetensors")
    same(hoist.load_file(tmp_path / "m.safetensors", dtype="bf16"), {n: t.bfloat16() for n, t in tensors.items()})


def test_misaligned_data_are_loaded(tmp_path: Path) -> None:
    values = torch.randn(5)
    data = safetensors_bytes(
        [Raw("a", "U8", [3], b"abc"), Raw("b", "F32", [5], values.numpy().tobytes()), Raw("c", "F16", [1], b"\0<")]
    )
    (tmp_path / "m.safetensors").write_bytes(data)
    found = hoist.load_file(tmp_path / "m.safetensors")
    same(found, {"a": torch.tensor([97, 98, 99], dtype=torch.uint8), "b": values, "c": torch.ones(1).half()})


def test_an_empty_shape_that_torch_cannot_hold_is_refused_by_type(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(safetensors_bytes([Raw("a", "F32", [0, 1 << 62, 1 << 62], b"")]))
    with pytest.raises(InvalidFile, match="'a'"):
        hoist.load_file(tmp_path / "m.safetensors")


def test_dtypes_that_torch_has_not_are_named(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(safetensors_bytes([Raw("a", "F6_E2M3", [4], bytes(3))]))
    with pytest.raises(InvalidFile, match=r"'a' is F6_E2M3.*no dtype"):
        hoist.load_file(tmp_path / "m.safetensors")


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "cpu:0"])
def test_devices(tmp_path: Path, device: str | torch.device) -> None:
    safetensors.torch.save_file(model(), tmp_path / "m.safetensors")
    same(hoist.load_file(str(tmp_path / "m.safetensors"), device=device), model())


@pytest.mark.parametrize("device", ["cpux", "", "meta", "mps", -1, "cuda:99"])
def test_devices_that_are_none(tmp_path: Path, device: str | int) -> None:
    safetensors.torch.save_file(model(), tmp_path / "m.safetensors")
    with pytest.raises(UsageError):
        hoist.load_file(tmp_path / "m.safetensors", device=device)


@pytest.mark.parametrize("dtype", ["int32", "float99", "nn", "", torch.int32, torch.bool])
def test_dtypes_that_no_float_is_cast_to(tmp_path: Path, dtype: str | torch.dtype) -> None:
    safetensors.torch.save_file(model(), tmp_path / "m.safetensors")
    with pytest.raises(UsageError, match="floating-point"):
        hoist.load_file(tmp_path / "m.safetensors", dtype=dtype)


def _sharded() -> tuple[dict[str, bytes], Tensors]:
    tensors = model()
    names = sorted(tensors)
    shards = {f"model-0000{n + 1}-of-00003.safetensors": names[n::3] for n in range(3)}
    files = {shard: safetensors.torch.save({n: tensors[n] for n in held}) for shard, held in shards.items()}
    weights = {name: shard for shard, held in shards.items() for name in held}
    files["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": weights}).encode()
    return files, tensors


def test_a_sharded_model_by_its_index(tmp_path: Path) -> None:
    files, tensors = _sharded()
    location = _published(tmp_path, {f"text_encoder/{name}": data for name, data in files.items()} | {"x.json": b"{}"})
    same(hoist.load_file(location), tensors)
    same(hoist.load_file(location, prefix="unet."), {n: t for n, t in tensors.items() if n.startswith("unet.")})
    index = "text_encoder/model.safetensors.index.json"
    same(hoist.load_file(location, index), tensors)
    same(hoist.load_file(tmp_path / "source" / index), tensors)
    same(hoist.load_file(tmp_path / "source", index), tensors)
    (shard, *_) = sorted(files)
    same(hoist.load_file(location, f"text_encoder/{shard}"), safetensors.torch.load(files[shard]))


@pytest.mark.parametrize(
    "index",
    [b"", b"{}", b'{"weight_map": []}', b'{"weight_map": {"a": "../x"}}', b'{"weight_map": {"a": "/etc/x"}}', b"\xff"],
)
def test_bad_indices(tmp_path: Path, index: bytes) -> None:
    location = _published(tmp_path, {"m.safetensors.index.json": index})
    with pytest.raises(InvalidFile):
        hoist.load_file(location)


def test_an_index_of_a_shard_that_is_not_there(tmp_path: Path) -> None:
    location = _published(tmp_path, {"m.safetensors.index.json": b'{"weight_map": {"a": "x.safetensors"}}'})
    with pytest.raises(FileNotFound, match=r"x\.safetensors"):
        hoist.load_file(location)


def test_one_name_in_two_shards(tmp_path: Path) -> None:
    one = safetensors.torch.save({"a": torch.ones(1)})
    index = json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}).encode()
    location = _published(tmp_path, {"1.safetensors": one, "2.safetensors": one, "m.safetensors.index.json": index})
    with pytest.raises(InvalidFile, match=r"'a' is in both .*1\.safetensors and .*2\.safetensors"):
        hoist.load_file(location)


def test_the_device_may_stand_second_as_in_safetensors_own(tmp_path: Path) -> None:
    safetensors.torch.save_file(model(), tmp_path / "m.safetensors")
    same(hoist.load_file(tmp_path / "m.safetensors", "cpu", backend="pread"), model())
    with pytest.raises(UsageError, match="device"):
        hoist.load_file(tmp_path / "m.safetensors", 99)
    with pytest.raises(UsageError, match="backend"):
        hoist.load_file(tmp_path / "m.safetensors", backend="x")


def test_several_weight_files_are_named(tmp_path: Path) -> None:
    one = safetensors.torch.save({"a": torch.ones(1)})
    location = _published(tmp_path, {"one.safetensors": one, "two.safetensors": one})
    with pytest.raises(UsageError, match=r"has 2 weight files: name one of one\.safetensors, two\.safetensors"):
        hoist.load_file(location)
    same(hoist.load_file(location, "two.safetensors"), {"a": torch.ones(1)})
    with pytest.raises(FileNotFound, match=r"it has two\.safetensors"):
        hoist.load_file(location, "twoo.safetensors")


def test_a_checkpoint_is_told_where_to_go(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"use hoist\.load_checkpoint"):
        hoist.load_file(_published(tmp_path, {"m.ckpt": b"PK"}))


def test_what_is_not_there(tmp_path: Path) -> None:
    location = _published(tmp_path, {"a.json": b"{}"})
    with pytest.raises(FileNotFound, match=r"no \.safetensors file; it has a\.json"):
        hoist.load_file(location)
    with pytest.raises(FileNotFound):
        hoist.load_file(tmp_path / "nothing.safetensors")
    with pytest.raises(VersionNotFound):
        hoist.load_file(location.replace(":v1", ":v2"))
    with pytest.raises(StorageNotFound):
        hoist.load_file("nowhere//m:v1")


def test_tensors_that_are_not_there(tmp_path: Path) -> None:
    location = _published(tmp_path, {"m.safetensors": safetensors.torch.save(model())})
    with pytest.raises(FileNotFound, match=r"no tensor 'x' \(and 1 more\)"):
        hoist.load_file(location, tensors=["ids", "x", "y"])
    with pytest.raises(FileNotFound, match="starts with 'clip"):
        hoist.load_file(location, prefix="clip.")
    assert hoist.load_file(location, tensors=[]) == {}


def test_a_damaged_block_is_not_loaded(tmp_path: Path) -> None:
    location = _published(tmp_path, {"m.safetensors": safetensors.torch.save(model())})
    path = tmp_path / "models" / layout.file_key(Version("m/one", "v1"), "m.safetensors")
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(-10, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(DamagedBlock, match=r"m\.safetensors"):
        hoist.load_file(location)


def test_bytes_are_told(tmp_path: Path) -> None:
    data = safetensors.torch.save(model())
    told: list[int] = []
    hoist.load_file(_published(tmp_path, {"m.safetensors": data}), on_bytes=told.append)
    assert 0 < sum(told) <= len(data)
