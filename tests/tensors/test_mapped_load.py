"""Loads from a local disk map the file: verified in place, remembered, private to the process, and never stale."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

import hoist
from hoist.config import EngineConfig, load_config
from hoist.errors import DamagedBlock
from hoist.model.blocks import block_digest
from hoist.read import trust
from hoist.read.mapped import map_file
from hoist.read.source import local_source
from hoist.read.trust import TrustedFiles, identity
from makers import noise

TENSORS = {"a": torch.arange(3_000_000.0), "b": torch.arange(1_000_000), "c": torch.ones(3).half()}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A location on a local disk, whose file is old enough to be remembered, and an empty memory of verified files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(trust, "_YOUNG_SECONDS", 0.0)
    safetensors.torch.save_file(TENSORS, tmp_path / "m.safetensors")
    (tmp_path / "models").mkdir()
    location = f"{tmp_path}/models//m:v1"
    hoist.publish(tmp_path / "m.safetensors", location)
    return location


@pytest.fixture
def stored(place: str, tmp_path: Path) -> Path:
    return tmp_path / "models/m/v1/m.safetensors"


def remembered(tmp_path: Path) -> int:
    folder = tmp_path / "cache/hoist/verified"
    return len(list(folder.iterdir())) if folder.exists() else 0


def same(found: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert found[name].equal(tensor), name


def mappings(path: Path) -> int:
    return sum(str(path) in line for line in Path("/proc/self/maps").read_text().splitlines())


def test_the_file_is_mapped_and_let_go_with_the_tensors(place: str, stored: Path) -> None:
    found = hoist.load_file(place)
    assert mappings(stored) >= 1
    same(found)
    del found
    assert mappings(stored) == 0
    assert not [fd for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink() and fd.readlink() == stored]


def test_writing_to_a_tensor_never_reaches_the_file(place: str, stored: Path) -> None:
    before = stored.read_bytes()
    hoist.load_file(place)["a"].zero_()
    assert stored.read_bytes() == before
    same(hoist.load_file(place))


def test_a_verified_file_is_not_hashed_again(place: str, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []

    def noted(data: memoryview) -> bytes:
        hashed.append(len(data))
        return block_digest(data)

    monkeypatch.setattr("hoist.read.engine.block_digest", noted)
    same(hoist.load_file(place))
    assert sum(hashed) >= stored.stat().st_size
    hashed.clear()
    same(hoist.load_file(place))
    assert sum(hashed) < 10_000, "more than the header was hashed again"


@pytest.mark.parametrize("recheck", ["1", "0"])
def test_recheck_verifies_each_time(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recheck: str) -> None:
    monkeypatch.setenv("HOIST_RECHECK", recheck)
    same(hoist.load_file(place))
    assert remembered(tmp_path) == (0 if recheck == "1" else 1)
    assert (load_config().engine.trusted is None) == (recheck == "1")


@pytest.mark.parametrize("keep_times", [False, True])
def test_a_file_changed_in_place_is_verified_again(place: str, stored: Path, keep_times: bool) -> None:
    same(hoist.load_file(place))
    status = stored.stat()
    stored.chmod(0o644)
    data = bytearray(stored.read_bytes())
    data[len(data) // 2] ^= 1
    with stored.open("r+b") as file:
        file.write(data)
    if keep_times:
        os.utime(stored, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DamagedBlock, match=r"m\.safetensors"):
        hoist.load_file(place)


def test_a_subset_is_right_and_not_remembered(place: str, tmp_path: Path) -> None:
    assert hoist.load_file(place, tensors=["b"])["b"].equal(TENSORS["b"])
    assert remembered(tmp_path) == 0


def test_damage_is_found_by_the_first_mapped_load(place: str, stored: Path, tmp_path: Path) -> None:
    stored.chmod(0o644)
    with stored.open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"\xff\x00\xff")
    with pytest.raises(DamagedBlock):
        hoist.load_file(place)
    assert remembered(tmp_path) == 0


def test_a_truncated_file_is_not_mapped_but_refused(place: str, stored: Path) -> None:
    stored.chmod(0o644)
    os.truncate(stored, stored.stat().st_size - 5)
    with pytest.raises(DamagedBlock):
        hoist.load_file(place)


def test_a_checkpoint_is_mapped_too(tmp_path: Path, place: str) -> None:
    base = torch.arange(2_000_000.0)
    torch.save({"base": base, "part": base[7:99]}, tmp_path / "m.pt")
    hoist.publish(tmp_path / "m.pt", f"{tmp_path}/models//c:v1")
    for _ in range(2):
        found = hoist.load_checkpoint(f"{tmp_path}/models//c:v1")
        assert mappings(tmp_path / "models/c/v1/m.pt") >= 1
        assert found["base"].equal(base) and found["part"].data_ptr() == found["base"].data_ptr() + 28
    assert remembered(tmp_path) == 1


def test_a_young_file_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    trusted = TrustedFiles(tmp_path / "trusted")
    with path.open("rb") as file:
        name = identity(file.fileno(), "digest")
        trusted.remember(file.fileno(), name, "digest")
        assert not trusted.knows(name)
        time.sleep(trust._YOUNG_SECONDS + 0.1)
        trusted.remember(file.fileno(), name, "digest")
        assert trusted.knows(name)
        assert identity(file.fileno(), "other") != name


def test_the_memory_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_YOUNG_SECONDS", 0.0)
    monkeypatch.setattr(trust, "_MOST_ENTRIES", 10)
    trusted = TrustedFiles(tmp_path / "trusted")
    for number in range(40):
        path = tmp_path / str(number)
        path.touch()
        with path.open("rb") as file:
            trusted.remember(file.fileno(), identity(file.fileno(), "d"), "d")
    assert 5 <= len(list((tmp_path / "trusted").iterdir())) <= 11
    assert trusted.knows(identity(os.open(tmp_path / "39", os.O_RDONLY), "d"))


def test_a_memory_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_YOUNG_SECONDS", 0.0)
    (tmp_path / "file").write_bytes(b"in the way")
    with (tmp_path / "file").open("rb") as file:
        TrustedFiles(tmp_path / "file" / "below").remember(file.fileno(), identity(file.fileno(), "d"), "d")


def test_a_plain_file_is_mapped_without_a_memory(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(noise(100_000))
    mapped = map_file(local_source(path), path, TrustedFiles(tmp_path / "trusted"))
    assert mapped is not None
    with mapped:
        mapped.remember()
        assert bytes(mapped.memory) == path.read_bytes()
    assert not (tmp_path / "trusted").exists()


def test_the_default_engine_remembers_nothing() -> None:
    assert EngineConfig().trusted is None


def test_of_several_who_would_verify_a_file_one_does(place: str, stored: Path, tmp_path: Path) -> None:
    """The others wait for it, and hash nothing."""
    trusted = TrustedFiles(tmp_path / "cache/hoist/verified")
    digest = hoist.open(place).entry("m.safetensors").digest
    with stored.open("rb") as file:
        name = identity(file.fileno(), digest)
        turn = trusted.take_turn(name, 1 << 40, wait=False)
        assert turn is not None
        assert trusted.take_turn(name, 1 << 40, wait=False) is None
        loads = [threading.Thread(target=lambda: same(hoist.load_file(place))) for _ in range(3)]
        for load in loads:
            load.start()
        time.sleep(0.3)
        assert all(load.is_alive() for load in loads), "they wait for who has the turn"
        trusted.remember(file.fileno(), name, digest)
        os.close(turn)
        for load in loads:
            load.join()
    assert remembered(tmp_path) == 1


def test_one_that_never_ends_is_waited_for_no_longer_than_verifying_takes(
    place: str, stored: Path, tmp_path: Path
) -> None:
    trusted = TrustedFiles(tmp_path / "cache/hoist/verified")
    with stored.open("rb") as file:
        name = identity(file.fileno(), hoist.open(place).entry("m.safetensors").digest)
    turn = trusted.take_turn(name, 1, wait=True)
    assert turn is not None
    same(hoist.load_file(place))
    os.close(turn)
    assert remembered(tmp_path) == 1


def test_several_files_are_no_deadlock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two loads that verify the same two files in opposite orders, again and again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(trust, "_LEAST_WAIT", 1000.0)
    (tmp_path / "models").mkdir()
    for name in ("a", "b"):
        safetensors.torch.save_file({name: torch.ones(1000)}, tmp_path / f"{name}.safetensors")
    hoist.publish(tmp_path, f"{tmp_path}/models//m:v1", exclude=["models", "cache"])

    def load(files: list[str]) -> None:
        for _ in range(30):
            assert set(hoist.load_file(f"{tmp_path}/models//m:v1", files)) == {"a", "b"}

    names = ["a.safetensors", "b.safetensors"]
    loads = [threading.Thread(target=load, args=(each,)) for each in (names, names[::-1])]
    for thread in loads:
        thread.start()
    for thread in loads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in loads)
