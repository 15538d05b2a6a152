"""load_checkpoint against torch.load(weights_only=True): the same objects, from a path and from a location."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import zipfile
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch

import hoist
from hoist.errors import FileNotFound, HoistError, InvalidFile, UsageError
from makers import directory_storage, noise, publish, write_files

BF16 = torch.arange(20.0).bfloat16()
BASE = torch.arange(24.0)


def _state() -> dict[str, Any]:
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    return {
        "state_dict": module.state_dict(),
        "plain": {"epoch": 3, "lr": 1e-4, "name": "näme", "none": None, "yes": True, "pair": (1, [2.5, "x"])},
        "size": torch.Size([1, 2]),
        "dtype": torch.float16,
        "nested": [{"t": (torch.ones(2), {"u": torch.zeros(3)})}],
        "ordered": OrderedDict(b=torch.ones(1), a=torch.zeros(1)),
        "shapes": [torch.tensor(2.5), torch.zeros(0, 3), torch.zeros(2, 0), torch.ones(1, 1, 1)],
        "strided": [BASE.reshape(4, 6).t(), BASE[::2], BASE.reshape(4, 6)[1:3, 2:4], torch.ones(1).expand(5, 4)],
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "dtypes": [BF16, *(BASE.to(d) for d in (torch.float16, torch.float64, torch.int8, torch.int64, torch.bool))],
        "newer": [BASE.to(torch.float8_e4m3fn), BASE.to(torch.float8_e5m2), torch.arange(9).to(torch.uint16)],
        "complex": torch.randn(3, dtype=torch.complex64),
        "huge int": 1 << 200,
    }


def same(found: Any, expected: Any) -> None:
    if isinstance(expected, torch.Tensor):
        assert (found.dtype, found.shape, found.stride()) == (expected.dtype, expected.shape, expected.stride())
        assert (
            found.detach()
            .contiguous()
            .reshape(-1)
            .view(torch.uint8)
            .equal(expected.detach().contiguous().reshape(-1).view(torch.uint8))
        )
    elif isinstance(expected, dict):
        assert type(found) is type(expected)
        assert list(found) == list(expected)
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert (type(found), len(found)) == (type(expected), len(expected))
        for ours, theirs in zip(found, expected, strict=True):
            same(ours, theirs)
    else:
        assert (type(found), found) == (type(expected), expected)


def saved(value: Any) -> bytes:
    out = BytesIO()
    torch.save(value, out)
    return out.getvalue()


def at_location(tmp_path: Path, data: bytes, name: str = "m.ckpt") -> str:
    publish(write_files(tmp_path / "source", {name: data}), directory_storage(tmp_path / "models"))
    return f"{tmp_path / 'models'}//m/one:v1"


@pytest.fixture(scope="module")
def state() -> bytes:
    return saved(_state())


@pytest.mark.parametrize("where", ["path", "location"])
def test_the_same_as_torch(tmp_path: Path, state: bytes, where: str) -> None:
    location = at_location(tmp_path, state)
    path = tmp_path / "source" / "m.ckpt"
    found = hoist.load_checkpoint(path if where == "path" else location)
    expected = torch.load(path, weights_only=True)
    same(found, expected)
    assert found["state_dict"]._metadata == expected["state_dict"]._metadata
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    module.load_state_dict(found["state_dict"])


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
def test_other_names_of_checkpoints(tmp_path: Path, state: bytes, suffix: str) -> None:
    location = at_location(tmp_path, state, "pytorch_model" + suffix)
    assert hoist.load_checkpoint(location)["plain"]["epoch"] == 3
    assert hoist.load_checkpoint(location, "pytorch_model" + suffix)["plain"]["epoch"] == 3


def test_shared_storages_stay_shared(tmp_path: Path) -> None:
    base = torch.arange(40.0)
    path = tmp_path / "m.pt"
    torch.save(
        {"whole": base, "part": base[10:20], "matrix": base.view(5, 8), "again": base, "other": torch.ones(4)}, path
    )
    found = hoist.load_checkpoint(path)
    assert found["part"].data_ptr() == found["whole"].data_ptr() + 40
    assert found["again"].data_ptr() == found["matrix"].data_ptr() == found["whole"].data_ptr()
    found["whole"][12] = -1
    assert found["part"][2] == -1
    assert found["other"].equal(torch.ones(4))


def test_a_cast_touches_only_floats(tmp_path: Path, state: bytes) -> None:
    (tmp_path / "m.pt").write_bytes(state)
    found = hoist.load_checkpoint(tmp_path / "m.pt", dtype="fp16")
    assert found["parameter"].dtype == torch.float16
    assert found["shapes"][1].dtype == torch.float16
    assert found["dtypes"][4].dtype == torch.int64
    assert found["nested"][0]["t"][0].equal(torch.ones(2).half())


def test_bytes_are_told_and_only_what_is_needed(tmp_path: Path, state: bytes) -> None:
    told: list[int] = []
    hoist.load_checkpoint(at_location(tmp_path, state), on_bytes=told.append)
    assert 0 < sum(told) <= len(state)


def test_an_archive_of_another_writer_whose_data_are_not_aligned(tmp_path: Path, state: bytes) -> None:
    """Python's zip writer aligns nothing: the tensors are copied out, and right."""
    packed = BytesIO()
    with zipfile.ZipFile(BytesIO(state)) as source, zipfile.ZipFile(packed, "w") as target:
        for info in source.infolist():
            target.writestr(f"x/{info.filename.partition('/')[2]}", source.read(info))
    (tmp_path / "m.pt").write_bytes(packed.getvalue())
    same(hoist.load_checkpoint(tmp_path / "m.pt"), torch.load(BytesIO(state), weights_only=True))


def test_several_are_named(tmp_path: Path, state: bytes) -> None:
    publish(write_files(tmp_path / "s", {"a.pt": state, "b.pt": state}), directory_storage(tmp_path / "models"))
    location = f"{tmp_path / 'models'}//m/one:v1"
    with pytest.raises(UsageError, match=r"name one of a\.pt, b\.pt"):
        hoist.load_checkpoint(location)
    with pytest.raises(FileNotFound, match=r"it has .*a\.pt"):
        hoist.load_checkpoint(location, "a.ptt")


def test_a_legacy_file_is_refused_with_the_command_that_converts_it(tmp_path: Path) -> None:
    old, new = tmp_path / "old.pt", tmp_path / "new.pt"
    torch.save({"a": torch.ones(3)}, old, _use_new_zipfile_serialization=False)
    with pytest.raises(InvalidFile, match="legacy checkpoint") as caught:
        hoist.load_checkpoint(old)
    code = str(caught.value).partition("python -c '")[2].rpartition("'")[0]
    code = code.replace('"OLD"', json.dumps(str(old))).replace('"NEW"', json.dumps(str(new)))
    subprocess.run([sys.executable, "-c", code], check=True)
    assert hoist.load_checkpoint(new)["a"].equal(torch.ones(3))


@pytest.mark.parametrize("data", [b"", b"P", b"hello world", b"PK\x03\x04", noise(500)])
def test_what_is_no_checkpoint(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.pt").write_bytes(data)
    with pytest.raises(InvalidFile, match=r"m\.pt"):
        hoist.load_checkpoint(tmp_path / "m.pt")


def test_a_compressed_archive_is_refused(tmp_path: Path, state: bytes) -> None:
    with zipfile.ZipFile(BytesIO(state)) as source, zipfile.ZipFile(tmp_path / "m.pt", "w", 8) as target:
        for info in source.infolist():
            target.writestr(info.filename, source.read(info), zipfile.ZIP_DEFLATED)
    with pytest.raises(InvalidFile, match="is compressed: save it again"):
        hoist.load_checkpoint(tmp_path / "m.pt")


def test_mutated_files_load_or_are_refused_by_type(tmp_path: Path) -> None:
    whole = saved({"a": torch.arange(5.0), "b": OrderedDict(c=torch.ones(2, 2).half()), "d": [1, "x", None]})
    path = tmp_path / "m.pt"
    rng = random.Random(7)
    first = whole.find(b"PK\x01\x02")
    pickled = (whole.find(b"\x80\x02"), whole.find(b"\x80\x02") + 400)
    for _ in range(600):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            low, high = rng.choice([pickled, (first, len(whole)), (0, len(whole))])
            data[rng.randrange(low, high)] = rng.randrange(256)
        path.write_bytes(data[: rng.choice([len(data)] * 9 + [rng.randrange(len(data))])])
        try:
            hoist.load_checkpoint(path)
        except HoistError as error:
            assert isinstance(error, InvalidFile), error


def _shards(folder: Path) -> dict[str, torch.Tensor]:
    """A sharded model as transformers saves it: two checkpoints and an index."""
    tensors = {f"layer.{n}.weight": torch.randn(7, 3) + n for n in range(5)}
    held = {
        "pytorch_model-00001-of-00002.bin": list(tensors)[:3],
        "pytorch_model-00002-of-00002.bin": list(tensors)[3:],
    }
    folder.mkdir()
    for shard, names in held.items():
        torch.save({name: tensors[name] for name in names}, folder / shard)
    weight_map = {name: shard for shard, names in held.items() for name in names}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return tensors


def test_a_sharded_checkpoint_by_its_index(tmp_path: Path) -> None:
    tensors = _shards(tmp_path / "m")
    location = f"{tmp_path}/nas//m/sharded:v1"
    (tmp_path / "nas").mkdir()
    hoist.publish(tmp_path / "m", location)
    for place in (location, tmp_path / "m", tmp_path / "m" / "pytorch_model.bin.index.json"):
        found = hoist.load_checkpoint(place)
        assert list(found) == list(tensors)
        assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    one = hoist.load_checkpoint(location, "pytorch_model-00002-of-00002.bin")
    assert list(one) == list(tensors)[3:]


def test_shards_that_hold_one_entry_twice_or_no_dict(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "one.bin")
    torch.save({"a": torch.ones(2)}, tmp_path / "two.bin")
    torch.save([torch.ones(2)], tmp_path / "list.bin")
    with pytest.raises(InvalidFile, match=r"'a' is in both one\.bin and two\.bin"):
        hoist.load_checkpoint(tmp_path, ["one.bin", "two.bin"])
    with pytest.raises(InvalidFile, match=r"list\.bin holds no dict"):
        hoist.load_checkpoint(tmp_path, ["one.bin", "list.bin"])
    with pytest.raises(UsageError, match=r"several|name one"):
        hoist.load_checkpoint(tmp_path)
