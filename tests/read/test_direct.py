"""Cold local files read past the page cache: the same bytes, verified, and nothing left in the cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

import hoist
from hoist.errors import DamagedBlock
from hoist.pagecache import cached_fraction, drop
from hoist.read.direct import direct_source
from hoist.read.source import local_source
from makers import noise

pytestmark = pytest.mark.usefixtures("page_cache")

TENSORS = {"a": torch.arange(3_000_000.0), "b": torch.arange(1_000_001), "c": torch.ones(3).half()}


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a published version, cold."""
    monkeypatch.setenv("HOIST_DIRECT", "1")
    safetensors.torch.save_file(TENSORS, tmp_path / "m.safetensors")
    (tmp_path / "models").mkdir()
    hoist.publish(tmp_path / "m.safetensors", f"{tmp_path}/models//m:v1")
    found = tmp_path / "models/m/v1/m.safetensors"
    if drop([found]):
        pytest.skip("this system does not let go of its page cache")
    return found


def test_a_cold_file_is_read_past_the_page_cache(stored: Path, tmp_path: Path) -> None:
    found = hoist.load_file(f"{tmp_path}/models//m:v1")
    assert all(found[name].equal(tensor) for name, tensor in TENSORS.items())
    assert str(stored) not in Path("/proc/self/maps").read_text()
    # The header and the ends of ranges come plainly, and with them what the system reads ahead.
    assert cached_fraction(stored) < 0.5


def test_a_warm_file_is_mapped_all_the_same(stored: Path, tmp_path: Path) -> None:
    stored.read_bytes()
    found = hoist.load_file(f"{tmp_path}/models//m:v1")
    assert all(found[name].equal(tensor) for name, tensor in TENSORS.items())
    assert str(stored) in Path("/proc/self/maps").read_text()


def test_damage_is_found(stored: Path, tmp_path: Path) -> None:
    stored.chmod(0o644)
    with stored.open("r+b") as file:
        file.seek(5_000_000)
        file.write(b"\xff\xff\xff\xff\xff")
    drop([stored])
    with pytest.raises(DamagedBlock):
        hoist.load_file(f"{tmp_path}/models//m:v1")


@pytest.mark.parametrize("size", [1, 4095, 4096, 100_001])
@pytest.mark.parametrize("shift", [0, 1, 4095])
def test_every_range_has_its_bytes(tmp_path: Path, size: int, shift: int) -> None:
    """Aligned or not: what cannot be read past the cache is read plainly."""
    path = tmp_path / "f"
    path.write_bytes(noise(200_000))
    drop([path])
    source = direct_source(local_source(path))
    for begin in (0, 1, 4096, 50_000, 200_000 - size):
        whole = bytearray(b"x" * (size + shift + 10))
        source.read_into(begin, memoryview(whole)[shift : shift + size])
        assert whole[shift : shift + size] == noise(200_000)[begin : begin + size]
        assert whole[shift + size :] == b"x" * 10
