"""What loading and moving cost at the peak, measured by the kernel in processes of their own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from uuid import uuid4

import pytest
import torch

import hoist
from hoist.testing.servers import RcloneServer
from makers import Raw, finish, run_python, safetensors_bytes

MIB = 1 << 20
# What one load may cost beside the model: requests in flight, the header, the table.
SLACK = 256 * MIB
MODEL = 600 * MIB

_LOAD = """
import sys, json, torch, numpy, hoist
def status(field):
    return next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith(field))
hoist.load_file, hoist.load_checkpoint
before = status("VmRSS")
found = getattr(hoist, sys.argv[1])(sys.argv[2])
tensors = found.values()
size = sum(t.numel() * t.element_size() for t in tensors)
print(json.dumps([status("VmHWM") - before, size]))
"""
_MOVE = """
import sys, hoist
source, location, folder = sys.argv[1:]
def peak():
    return next(int(l.split()[1]) // 1024 for l in open("/proc/self/status") if l.startswith("VmHWM"))
hoist.publish(source, location); print(peak())
"""
_PULL = _MOVE.replace("hoist.publish(source, location)", "hoist.pull(location, folder)")
_VERIFY = _MOVE.replace("hoist.publish(source, location)", "assert not hoist.verify(location).damaged")


def _tile(size: int) -> bytes:
    tile = os.urandom(MIB)
    return tile * (size // MIB)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("peak") / "m.safetensors"
    tensor = _tile(60 * MIB)
    path.write_bytes(safetensors_bytes([Raw(f"t{n}", "F16", [30 * MIB], tensor) for n in range(10)]))
    return path


def _loaded(verb: str, place: str, environ: dict[str, str]) -> None:
    peak, size = json.loads(finish(run_python(_LOAD, verb, place, **environ)))
    assert size == MODEL
    assert size <= peak <= size + SLACK, f"{peak / MIB:.0f} MiB for a model of {size / MIB:.0f} MiB"


@pytest.mark.slow
def test_load_file_from_a_directory(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    hoist.publish(weights, f"{tmp_path}/models//m:v1")
    _loaded("load_file", f"{tmp_path}/models//m:v1", {})


@pytest.mark.slow
def test_load_file_from_a_bucket(weights: Path, rclone_server: RcloneServer) -> None:
    name = f"peak-{uuid4().hex[:10]}"
    rclone_server.create_bucket(name)
    environ = {
        "HOIST_ENDPOINT": rclone_server.endpoint,
        "AWS_ACCESS_KEY_ID": rclone_server.access_key,
        "AWS_SECRET_ACCESS_KEY": rclone_server.secret_key,
        "AWS_REGION": rclone_server.region,
    }
    location = f"s3://{name}//m:v1"
    assert int(finish(run_python(_MOVE, str(weights), location, "", **environ))) < 512
    _loaded("load_file", location, environ)


@pytest.mark.slow
def test_load_checkpoint_from_a_directory(tmp_path: Path) -> None:
    tensor = torch.frombuffer(bytearray(_tile(60 * MIB)), dtype=torch.float16)
    torch.save({f"t{n}": tensor.clone() for n in range(10)}, tmp_path / "m.ckpt")
    (tmp_path / "models").mkdir()
    hoist.publish(tmp_path / "m.ckpt", f"{tmp_path}/models//m:v1")
    _loaded("load_checkpoint", f"{tmp_path}/models//m:v1", {})


@pytest.mark.slow
def test_publish_verify_and_pull_keep_within_512_mib(tmp_path: Path) -> None:
    source, folder = tmp_path / "big.bin", tmp_path / "pulled"
    with source.open("wb") as file:
        tile = _tile(64 * MIB)
        for _ in range(16):
            file.write(tile)
    (tmp_path / "models").mkdir()
    location = f"{tmp_path}/models//m:v1"
    for code in (_MOVE, _VERIFY, _PULL):
        assert int(finish(run_python(code, str(source), location, str(folder)))) < 512
    assert (folder / "big.bin").stat().st_size == 1 << 30
