"""Pulling: verified, resumed after a kill, careful with what is there, clear about a full disk."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hoist.errors import Conflict, DamagedBlock, FileNotFound, HoistError, LocalError
from hoist.progress import Progress
from hoist.storage import layout
from hoist.storage.base import Storage, Traits, Version
from hoist.storage.tree import TreeStorage
from hoist.storage.wrap import Counting, Faulty
from hoist.transfer.pull import STAGING, Pulled, pull_version
from makers import directory_storage, files_below, memory_storage, noise, opened, put_version, write_files

BLOCK = 1 << 16
FILES = {
    "config.json": b"{}",
    "empty": b"",
    "unet/a.bin": noise(40 * BLOCK + 5, 1),
    "unet/same.bin": noise(10 * BLOCK, 2),
    "vae/same.bin": noise(10 * BLOCK, 2),
    "vae/b.bin": noise(20 * BLOCK, 3),
}
SIZE = sum(map(len, FILES.values()))


@pytest.fixture
def storage(tmp_path: Path) -> TreeStorage:
    found = directory_storage(tmp_path / "models")
    put_version(found, FILES, BLOCK)
    found.traits = Traits(BLOCK, 2)
    return found


def pull(storage: Storage, folder: Path, *include: str, force: bool = False) -> Pulled:
    return pull_version(opened(storage), folder, Progress(), include=include, force=force)


def test_everything(storage: TreeStorage, tmp_path: Path) -> None:
    done = pull(storage, tmp_path / "f" / "deep")
    assert files_below(tmp_path / "f" / "deep") == FILES
    assert not (tmp_path / "f/deep" / STAGING).exists()
    once = SIZE - len(FILES["vae/same.bin"])
    assert (done.files, done.size, done.fetched_bytes, done.kept_bytes) == (len(FILES), SIZE, once, SIZE - once)


def test_right_under_faults(storage: TreeStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoist.retry._FIRST_WAIT", 0.001)
    monkeypatch.setattr("hoist.read.engine._DAMAGED_TRIES", 30)
    pull(Faulty(storage, fail=0.2, flip=0.2, only=frozenset({"read_into"})), tmp_path / "f")
    assert files_below(tmp_path / "f") == FILES


@pytest.mark.parametrize(
    ("include", "brought"),
    [
        (["*.json"], {"config.json"}),
        (["vae/*"], {"vae/same.bin", "vae/b.bin"}),
        (["*/same.bin", "empty"], {"unet/same.bin", "vae/same.bin", "empty"}),
    ],
)
def test_include(storage: TreeStorage, tmp_path: Path, include: list[str], brought: set[str]) -> None:
    done = pull(storage, tmp_path / "f", *include)
    assert files_below(tmp_path / "f") == {path: data for path, data in FILES.items() if path in brought}
    assert done.files == len(brought)


def test_include_of_nothing(storage: TreeStorage, tmp_path: Path) -> None:
    with pytest.raises(FileNotFound, match=r"no file of m/one:v1 matches \*\.gguf or x"):
        pull(storage, tmp_path / "f", "*.gguf", "x")
    assert not (tmp_path / "f").exists()


def test_files_in_place_are_kept(storage: TreeStorage, tmp_path: Path) -> None:
    pull(storage, tmp_path / "f")
    (tmp_path / "f/vae/b.bin").unlink()
    before = (tmp_path / "f/unet/a.bin").stat()
    counting = Counting(storage)
    done = pull(counting, tmp_path / "f")
    assert (done.fetched_bytes, done.kept_bytes) == (20 * BLOCK, SIZE - 20 * BLOCK)
    assert counting.bytes["read_into"] == 20 * BLOCK
    after = (tmp_path / "f/unet/a.bin").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert files_below(tmp_path / "f") == FILES


@pytest.mark.parametrize("other", [b"mine", noise(40 * BLOCK + 5, 9)])
def test_other_content_is_left_alone_without_force(storage: TreeStorage, tmp_path: Path, other: bytes) -> None:
    folder = write_files(tmp_path / "f", {"unet/a.bin": other, "mine.txt": b"m"})
    with pytest.raises(Conflict, match="--force"):
        pull(storage, folder)
    assert (folder / "unet/a.bin").read_bytes() == other
    pull(storage, folder, force=True)
    assert files_below(folder) == FILES | {"mine.txt": b"m"}


def test_a_folder_in_the_way(storage: TreeStorage, tmp_path: Path) -> None:
    (tmp_path / "f/config.json").mkdir(parents=True)
    for force in (False, True):
        with pytest.raises(Conflict):
            pull(storage, tmp_path / "f", force=force)


def test_a_file_in_the_way_of_a_folder(storage: TreeStorage, tmp_path: Path) -> None:
    write_files(tmp_path / "f", {"unet": b"file"})
    with pytest.raises(HoistError):
        pull(storage, tmp_path / "f")
    with pytest.raises(HoistError):
        pull(storage, tmp_path / "f/unet")


def test_a_dangling_link_in_the_way(storage: TreeStorage, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f/config.json").symlink_to(tmp_path / "outside")
    with pytest.raises(Conflict):
        pull(storage, tmp_path / "f")
    pull(storage, tmp_path / "f", force=True)
    assert files_below(tmp_path / "f") == FILES
    assert not (tmp_path / "outside").exists()


def test_blocks_that_arrived_before_a_kill_are_kept(storage: TreeStorage, tmp_path: Path) -> None:
    entry = opened(storage).entry("unet/a.bin")
    part = bytearray(FILES["unet/a.bin"])
    part[3 * BLOCK : 5 * BLOCK] = bytes(2 * BLOCK)
    write_files(tmp_path / "f", {f"{STAGING}/{entry.digest.removeprefix('sha256:')}": bytes(part[: 30 * BLOCK])})
    done = pull(storage, tmp_path / "f", "unet/a.bin")
    assert done.kept_bytes == 28 * BLOCK - 28 * BLOCK % opened(storage).blocks("unet/a.bin").span(0)[1]
    assert files_below(tmp_path / "f") == {"unet/a.bin": FILES["unet/a.bin"]}


def test_a_damaged_block_leaves_no_file(storage: TreeStorage, tmp_path: Path) -> None:
    path = tmp_path / "models" / layout.file_key(Version("m/one", "v1"), "vae/b.bin")
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"XX")
    with pytest.raises(DamagedBlock, match=r"vae/b\.bin"):
        pull(storage, tmp_path / "f")
    assert not (tmp_path / "f/vae/b.bin").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=False).returncode
    ):
        pytest.skip("cannot mount a small file system here: needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_said_and_a_later_pull_completes(small_disk: Path) -> None:
    data = noise(3 << 20)
    memory = memory_storage()
    put_version(memory, {"m.bin": data}, BLOCK)
    (small_disk / "filler").write_bytes(bytes(2 << 20))
    with pytest.raises(LocalError, match=r"no space left .* it goes on where it stopped"):
        pull(memory, small_disk / "f")
    (small_disk / "filler").unlink()
    done = pull(memory, small_disk / "f")
    assert done.kept_bytes > 0
    assert files_below(small_disk) == {"f/m.bin": data}


def test_a_folder_that_cannot_be_written(storage: TreeStorage) -> None:
    with pytest.raises(HoistError):
        pull(storage, Path("/proc/hoist"))
