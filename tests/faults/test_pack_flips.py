"""Bits of packs flipped on the way from a bucket: the right bytes, by the files themselves where it must be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import hoist
from hoist.errors import DamagedBlock
from hoist.testing.servers import FaultServer, Rule
from hoist.testing.servers.fault_kinds import Flip
from makers import directory_storage, files_below, noise, publish, write_files
from places import public_bucket

FILES = {f"{n:02}.json": noise(300 + n, n) for n in range(20)}
FILES["big.bin"] = noise(70_000, 99)
BITS = [*range(0, 8 * 6000, 997), *range(8 * 6000, 8 * 78_000, 60_013)]


@pytest.fixture
def flipping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """A version with packs in a public bucket, `here`."""
    with directory_storage(tmp_path / "models") as storage:
        assert publish(write_files(tmp_path / "source", FILES), storage, pack_below=256 << 10).packs == 1
    monkeypatch.setenv("HOIST_RETRY_SECONDS", "0")
    with public_bucket(tmp_path, monkeypatch) as server:
        yield server


@pytest.mark.parametrize("path", ["*/pack-*", "*/packs-*"])
def test_a_flipped_bit(flipping: FaultServer, path: str) -> None:
    for bit in BITS:
        for count in (1, None):
            flipping.plan(Rule(Flip(at=bit), path=path, count=count))
            with hoist.open("here//m/one:v1") as version:
                found = version.small_files()
                paths = [path for path in FILES if found and path in found]
                assert not found or dict(found.fetch(paths)) == {path: FILES[path] for path in paths}


def test_a_pull_through_flips(flipping: FaultServer, tmp_path: Path) -> None:
    for number, bit in enumerate(BITS[::25]):
        flipping.plan(Rule(Flip(at=bit), path="*/pack*"))
        hoist.pull("here//m/one:v1", tmp_path / f"out{number}")
        assert files_below(tmp_path / f"out{number}") == FILES


def test_a_file_that_is_flipped_everywhere(flipping: FaultServer, tmp_path: Path) -> None:
    flipping.plan(Rule(Flip(at=8), path="*/pack-*"), Rule(Flip(at=8), path="*/00.json"))
    with pytest.raises(DamagedBlock, match=r"00\.json"):
        hoist.pull("here//m/one:v1", tmp_path / "out")
    assert not (tmp_path / "out/00.json").exists()
