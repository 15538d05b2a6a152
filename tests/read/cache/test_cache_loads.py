"""Loads, slices and pulls through the cache: the storage is asked once, and a cache that fails costs a warning."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

import hoist
from hoist.config import load_config
from hoist.errors import HoistWarning, InvalidConfig
from hoist.testing.servers import FaultServer
from makers import finish, run_python
from places import public_bucket, small_file_system

MIB = 1 << 20
TENSORS = {"a": torch.arange(3_000_000.0), "b": torch.arange(1_000_000), "c": torch.ones(3).half()}
PLACE = "here//m:v1"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """A public bucket `here` with one version of a safetensors file and a checkpoint, and a host cache that is on."""
    (tmp_path / "source").mkdir()
    (tmp_path / "models").mkdir()
    safetensors.torch.save_file(TENSORS, tmp_path / "source/m.safetensors")
    torch.save(TENSORS, tmp_path / "source/m.ckpt")
    hoist.publish(tmp_path / "source", f"{tmp_path}/models//m:v1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOIST_CACHE", str(tmp_path / "cache"))
    with public_bucket(tmp_path, monkeypatch) as server:
        yield server


def weights_asked(server: FaultServer, since: int) -> list[str]:
    """The requests for weights since then."""
    return [str(each) for each in server.seen[since:] if "/m/v1/m." in str(each) and ".hoist" not in str(each)]


def same(found: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert found[name].equal(tensor), name


def test_a_second_load_maps_what_the_first_brought(server: FaultServer, tmp_path: Path) -> None:
    same(hoist.load_file(PLACE, "m.safetensors"))
    asked = len(server.seen)
    found = hoist.load_file(PLACE, "m.safetensors")
    same(found)
    assert not weights_asked(server, asked)
    assert str(tmp_path / "cache/files") in Path("/proc/self/maps").read_text()
    found["a"].zero_()
    same(hoist.load_file(PLACE, "m.safetensors"))


@pytest.mark.parametrize("how", ["cast", "checkpoint", "slices", "open", "pull"])
def test_every_way_to_read_goes_through_it(server: FaultServer, tmp_path: Path, how: str) -> None:
    def use(number: int) -> None:
        if how == "cast":
            assert hoist.load_file(PLACE, "m.safetensors", dtype="float16")["a"].dtype == torch.float16
        elif how == "checkpoint":
            same(hoist.load_checkpoint(PLACE, "m.ckpt"))
        elif how == "slices":
            with hoist.safe_open(PLACE, "pt", file="m.safetensors") as opened:
                assert opened.get_slice("a")[:1000].equal(TENSORS["a"][:1000])
                opened.get_tensor("a").zero_()
                assert opened.get_tensor("b").equal(TENSORS["b"])
        elif how == "open":
            with hoist.open(PLACE) as version:
                assert version.read("m.ckpt") == (tmp_path / "source/m.ckpt").read_bytes()
        else:
            done = hoist.pull(PLACE, tmp_path / f"out{number}")
            assert (done.fetched_bytes == 0) == (number > 0)
            assert (tmp_path / f"out{number}/m.ckpt").read_bytes() == (tmp_path / "source/m.ckpt").read_bytes()

    use(0)
    asked = len(server.seen)
    use(1)
    assert not weights_asked(server, asked)
    same(hoist.load_file(PLACE, "m.safetensors"))


def test_progress_is_told_once(server: FaultServer, tmp_path: Path) -> None:
    size = (tmp_path / "source/m.safetensors").stat().st_size
    for _ in range(2):
        told: list[int] = []
        same(hoist.load_file(PLACE, "m.safetensors", on_bytes=told.append))
        assert sum(told) == size


def test_another_process_finds_it(server: FaultServer) -> None:
    code = f"import hoist; print(float(hoist.load_file({PLACE!r}, 'm.safetensors')['a'].sum()))"
    assert float(finish(run_python(code))) == float(TENSORS["a"].sum())
    asked = len(server.seen)
    same(hoist.load_file(PLACE, "m.safetensors"))
    assert not weights_asked(server, asked)


def test_it_is_off_unless_it_is_switched_on(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOIST_CACHE")
    same(hoist.load_file(PLACE, "m.safetensors"))
    assert not (tmp_path / "cache").exists()
    assert not (tmp_path / "home/hoist/blocks").exists()


def test_a_local_storage_needs_none(server: FaultServer, tmp_path: Path) -> None:
    same(hoist.load_file(f"{tmp_path}/models//m:v1", "m.safetensors"))
    assert not (tmp_path / "cache").exists()


def test_a_limit_below_the_model(server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOIST_CACHE_SIZE", "6MiB")
    for _ in range(2):
        same(hoist.load_file(PLACE, "m.safetensors"))
    assert hoist.host_cache().usage().disk_bytes <= 6 * MIB


@pytest.mark.parametrize("where", ["a file", "others may write", "full"])
def test_a_cache_that_cannot_be_used_costs_a_warning(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / "cache"
    if where == "a file":
        folder.write_bytes(b"")
    elif where == "others may write":
        folder.mkdir()
        folder.chmod(0o777)
    else:
        folder = request.getfixturevalue("small_disk")
        (folder / "ballast").write_bytes(bytes(2 * MIB))
        monkeypatch.setenv("HOIST_CACHE", str(folder / "cache"))
        monkeypatch.setenv("HOIST_CACHE_SIZE", "1GiB")
    with pytest.warns(HoistWarning, match="host cache in") as told:
        same(hoist.load_file(PLACE, "m.safetensors"))
    assert len([each for each in told if each.category is HoistWarning]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same(hoist.load_checkpoint(PLACE, "m.ckpt"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    with small_file_system(tmp_path / "disk", "4m", "700") as disk:
        yield disk


def test_the_configuration(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert not load_config(home, tmp_path).cache.enabled
    (tmp_path / "hoist.toml").write_text('[cache]\nfolder = "blocks"\nsize = "2GiB"\n')
    found = load_config(home, tmp_path).cache
    assert (found.enabled, found.folder, found.size) == (True, tmp_path / "blocks", 2 << 30)
    assert not load_config(home | {"HOIST_CACHE": "off"}, tmp_path).cache.enabled
    assert load_config(home | {"HOIST_CACHE": "on"}, tmp_path).cache.folder == tmp_path / "blocks"
    found = load_config(home | {"HOIST_CACHE": "memory", "HOIST_CACHE_SIZE": "1G"}, tmp_path).cache
    assert (found.folder, found.size) == (Path(f"/dev/shm/hoist-{os.geteuid()}"), 1 << 30)
    (tmp_path / "hoist.toml").write_text("[cache]\nenabled = false\n")
    assert not load_config(home, tmp_path).cache.enabled
    for bad in ('size = "much"', "folder = 3", "enabled = 7", "place = 1"):
        (tmp_path / "hoist.toml").write_text(f"[cache]\n{bad}\n")
        with pytest.raises(InvalidConfig, match="cache"):
            load_config(home, tmp_path)
