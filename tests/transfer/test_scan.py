"""What is found in a folder, what is refused, and the digests of what was read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch

from hoist.errors import FileNotFound, HoistError, InvalidFile, InvalidManifest, LocalError, UsageError
from hoist.model.blocks import block_digest
from hoist.transfer.scan import DEFAULT_EXCLUDE, find_files, scan_file
from makers import noise, write_files

PLAIN = {"config.json": b"{}", "unet/model.bin": noise(3000), "unet/deep/x.txt": b"x", "empty": b""}


def paths(folder: Path, *exclude: str) -> list[str]:
    return [file.path for file in find_files(folder, (*DEFAULT_EXCLUDE, *exclude))]


def test_all_files_in_order(tmp_path: Path) -> None:
    assert paths(write_files(tmp_path, PLAIN)) == sorted(PLAIN)


def test_one_file(tmp_path: Path) -> None:
    write_files(tmp_path, PLAIN)
    assert paths(tmp_path / "unet/model.bin") == ["model.bin"]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*.bin", ["config.json", "empty", "unet/deep/x.txt"]),
        ("unet", ["config.json", "empty"]),
        ("unet/deep/*", ["config.json", "empty", "unet/model.bin"]),
        ("deep", ["config.json", "empty", "unet/model.bin"]),
        ("?mpty", ["config.json", "unet/deep/x.txt", "unet/model.bin"]),
    ],
)
def test_excludes(tmp_path: Path, pattern: str, left: list[str]) -> None:
    assert paths(write_files(tmp_path, PLAIN), pattern) == left


def test_what_tools_leave_is_left_out(tmp_path: Path) -> None:
    junk = [".git/HEAD", ".cache/huggingface/x", "a/.DS_Store", "a/__pycache__/b.pyc", ".hoist/tags/x", ".hoist-pull/y"]
    assert paths(write_files(tmp_path, dict.fromkeys(junk, b"j") | {"a/m.bin": b"m", ".hidden": b"h"})) == [
        ".hidden",
        "a/m.bin",
    ]


def test_symbolic_links_are_followed(tmp_path: Path) -> None:
    """As a Hugging Face cache has them: snapshots are links to blobs."""
    write_files(tmp_path, {"blobs/abc": noise(100), "snapshot/plain": b"p", "other/deep/f": b"f"})
    (tmp_path / "snapshot/model.bin").symlink_to("../blobs/abc")
    (tmp_path / "snapshot/linked").symlink_to(tmp_path / "other")
    (tmp_path / "link").symlink_to("snapshot")
    found = find_files(tmp_path / "link")
    assert [(file.path, file.size) for file in found] == [("linked/deep/f", 1), ("model.bin", 100), ("plain", 1)]
    assert scan_file(found[1], lambda _: None).entry.digest == "sha256:" + hashlib.sha256(noise(100)).hexdigest()


@pytest.mark.parametrize("target", [".", "..", "../../up"])
def test_loops_are_refused(tmp_path: Path, target: str) -> None:
    write_files(tmp_path, {"up/a/f": b"f"})
    (tmp_path / "up/a/loop").symlink_to(target)
    with pytest.raises(LocalError, match="has no end"):
        paths(tmp_path / "up")


def test_the_same_folder_twice_is_no_loop(tmp_path: Path) -> None:
    write_files(tmp_path, {"a/f": b"f"})
    (tmp_path / "b").symlink_to("a")
    assert paths(tmp_path) == ["a/f", "b/f"]


def test_dangling_links_and_special_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(LocalError, match="broken symbolic link"):
        paths(tmp_path)
    assert paths(write_files(tmp_path, {"f": b""}), "dangling") == ["f"]
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LocalError, match="special file"):
        paths(tmp_path, "dangling")
    (tmp_path / "pipe").unlink()
    (tmp_path / "itself").symlink_to("itself")
    with pytest.raises(HoistError):
        paths(tmp_path, "dangling")


@pytest.mark.parametrize("name", [b"back\\slash", b"new\nline", b"tab\t", b"\xff\xfe"])
def test_unsafe_names_are_refused(tmp_path: Path, name: bytes) -> None:
    write_files(tmp_path, {"ok": b""})
    (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    with pytest.raises(InvalidManifest, match="unsafe file path"):
        paths(tmp_path)


def test_nothing_to_publish(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no file"):
        find_files(tmp_path)
    with pytest.raises(FileNotFound, match="nothing to publish at"):
        find_files(tmp_path / "x")


@pytest.mark.parametrize("size", [0, 1, 4096, (8 << 20) + 5])
def test_digests_are_of_the_bytes(tmp_path: Path, size: int) -> None:
    data = noise(size)
    (tmp_path / "f").write_bytes(data)
    told: list[int] = []
    scanned = scan_file(find_files(tmp_path / "f")[0], told.append)
    assert scanned.entry.digest == scanned.blocks.file_digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert sum(told) == scanned.entry.size == scanned.blocks.size == size
    for index in range(len(scanned.blocks)):
        begin, end = scanned.blocks.span(index)
        assert scanned.blocks.digest(index) == block_digest(data[begin:end])


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"1" * 64 + b"\nsize 3438167540\n"


@pytest.mark.parametrize(
    ("data", "match"), [(LFS, "git lfs pull"), (b"", "only 0 bytes"), (noise(500), "not a safetensors")]
)
def test_a_safetensors_file_that_is_none_is_refused(tmp_path: Path, data: bytes, match: str) -> None:
    (tmp_path / "m.safetensors").write_bytes(data)
    (file,) = find_files(tmp_path / "m.safetensors")
    with pytest.raises(InvalidFile, match=match) as caught:
        scan_file(file, lambda _: None)
    assert "--unchecked" in str(caught.value)
    assert scan_file(file, lambda _: None, checked=False).entry.size == len(data)


def test_a_truncated_safetensors_file_is_refused(tmp_path: Path) -> None:
    data = safetensors.torch.save({"a": torch.ones(1000)})
    (tmp_path / "m.safetensors").write_bytes(data[:-1])
    with pytest.raises(InvalidFile, match="truncated"):
        scan_file(find_files(tmp_path)[0], lambda _: None)


@pytest.mark.parametrize("name", ["m.ckpt", "m.pt", "m.zip"])
@pytest.mark.parametrize(
    "data", [b"PK\x03\x04" + noise(300), b"PK\x05\x06" + bytes(18), b"PK\x03\x04" + b"PK\x05\x06" + b"\xff" * 18]
)
def test_other_files_that_are_broken_are_published_as_they_are(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert scan_file(find_files(tmp_path)[0], lambda _: None).entry.size == len(data)


def test_a_file_that_becomes_shorter_or_vanishes(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(noise(1000))
    (file,) = find_files(path)
    path.write_bytes(b"short")
    with pytest.raises(LocalError, match="became shorter"):
        scan_file(file, lambda _: None)
    path.unlink()
    with pytest.raises(FileNotFound):
        scan_file(file, lambda _: None)
    assert not file.unchanged()
