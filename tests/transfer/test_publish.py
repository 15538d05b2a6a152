"""Publishing: atomic, resumed, copied inside the storage; nothing is seen before it is whole."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

import hoist
from hoist.config import load_config
from hoist.errors import (
    Conflict,
    FileNotFound,
    HoistError,
    InvalidReference,
    LocalError,
    StorageUnavailable,
    VersionNotFound,
)
from hoist.model.reference import parse_reference
from hoist.progress import Progress
from hoist.read.listing import list_versions, sharing
from hoist.storage.base import Storage
from hoist.storage.wrap import Counting, Wrapper
from hoist.transfer.publish import Options, publish_version
from hoist.transfer.verify import verify_version
from makers import V1, directory_storage, memory_storage, noise, opened, publish, write_files

MIB = 1 << 20
FILES = {f"part-{n:02}.bin": noise(MIB + n, n) for n in range(10)} | {"config.json": b"{}", "empty": b""}


def same(storage: Storage, files: dict[str, bytes], reference: str = "m/one:v1") -> None:
    version = opened(storage, parse_reference(reference))
    assert {path: version.read(path) for path in version.files} == files
    assert not verify_version(version, Progress()).damaged


def unseen(storage: Storage) -> None:
    assert list_versions(storage) == []
    with pytest.raises(VersionNotFound):
        opened(storage)


class Stopping(Wrapper):
    """Fails for good at the n-th of some operation."""

    def __init__(self, inner: Storage, operation: str, after: int) -> None:
        super().__init__(inner)
        self._operation, self._left = operation, after

    def before(self, operation: str, size: int) -> None:
        if operation == self._operation:
            self._left -= 1
            if self._left < 0:
                raise StorageUnavailable("the network went away")


@pytest.mark.parametrize(
    ("operation", "after"), [("put_file", 0), ("put_file", 5), ("put_blob", 0), ("put_blob", 1), ("commit", 0)]
)
def test_a_publish_that_stopped_is_resumed(tmp_path: Path, operation: str, after: int) -> None:
    source = write_files(tmp_path / "s", FILES)
    storage = directory_storage(tmp_path / "models")
    with pytest.raises(StorageUnavailable):
        publish(source, Stopping(storage, operation, after))
    unseen(storage)
    done = publish(source, storage)
    assert not done.already
    assert done.sent_bytes + done.resumed_bytes == done.size == sum(map(len, FILES.values()))
    if operation != "put_file":
        assert done.resumed_bytes == done.size
    same(storage, FILES)


def test_already_published_is_a_no_op(tmp_path: Path) -> None:
    source = write_files(tmp_path / "s", FILES)
    counting = Counting(memory_storage())
    first = publish(source, counting)
    before = dict(counting.calls)
    again = publish(source, counting)
    assert (again.already, again.sent_bytes, again.digest) == (True, 0, first.digest)
    assert {name for name in counting.calls if counting.calls[name] != before.get(name)} == {
        "occupied",
        "read_manifest",
    }


def test_the_same_files_have_the_same_digest_wherever_and_whenever(tmp_path: Path) -> None:
    first = publish(write_files(tmp_path / "s", FILES), memory_storage())
    other = write_files(tmp_path / "t", dict(reversed(FILES.items())))
    os.utime(other / "config.json", (0, 0))
    second = publish(other, directory_storage(tmp_path / "models"), "another/name:v9")
    assert first.digest == second.digest


def test_another_content_under_the_label_is_a_conflict(tmp_path: Path) -> None:
    storage = memory_storage()
    publish(write_files(tmp_path / "s", {"a": b"1"}), storage)
    with pytest.raises(Conflict, match="a version never changes"):
        publish(write_files(tmp_path / "s", {"a": b"2"}), storage)
    same(storage, {"a": b"1"})


def test_an_unfinished_publish_of_other_content_is_replaced_only_when_told(tmp_path: Path) -> None:
    storage = directory_storage(tmp_path / "models")
    with pytest.raises(StorageUnavailable):
        publish(write_files(tmp_path / "s", {"old": b"1", "same": b"s"}), Stopping(storage, "commit", 0))
    (tmp_path / "s/old").unlink()
    source = write_files(tmp_path / "s", {"new": b"2"})
    with pytest.raises(Conflict, match="--replace-unfinished"):
        publish(source, storage)
    publish(source, storage, replace_unfinished=True)
    same(storage, {"new": b"2", "same": b"s"})
    assert not (tmp_path / "models/m/one/v1/old").exists()


def test_equal_files_are_copied_inside_the_storage(tmp_path: Path) -> None:
    storage = directory_storage(tmp_path / "models")
    big = {name: data for name, data in FILES.items() if len(data) >= MIB}
    publish(write_files(tmp_path / "s", big), storage)
    moved = write_files(tmp_path / "t", {f"renamed/{name}": data for name, data in big.items()})
    done = publish(moved, storage, "m/two:v1")
    assert (done.sent_bytes, done.copied_bytes) == (0, done.size)
    same(storage, {f"renamed/{name}": data for name, data in big.items()}, "m/two:v1")


def test_tags_are_set(tmp_path: Path) -> None:
    storage = memory_storage()
    publish(write_files(tmp_path / "s", {"a": b"1"}), storage, tags=["latest", "stable"])
    assert list_versions(storage)[0].tags == ("latest", "stable")
    publish(tmp_path / "s", storage, tags=["newest"])
    assert list_versions(storage)[0].tags == ("latest", "newest", "stable")


@pytest.mark.parametrize("reference", ["m/one", "m/one:latest", "m/one@sha256:" + "0" * 64])
def test_what_is_no_version(tmp_path: Path, reference: str) -> None:
    with pytest.raises(InvalidReference):
        publish(write_files(tmp_path / "s", {"a": b"1"}), memory_storage(), reference)


class Meddling(Wrapper):
    """Changes a source file when it is being sent."""

    def __init__(self, inner: Storage, path: Path, data: bytes | None) -> None:
        super().__init__(inner)
        self._path, self._data = path, data

    def before(self, operation: str, size: int) -> None:
        if operation == "put_file":
            if self._data is None:
                self._path.unlink(missing_ok=True)
            else:
                self._path.write_bytes(self._data)


@pytest.mark.parametrize("data", [b"x" * 5000, b"shorter", noise(9000), None])
def test_a_source_that_changes_meanwhile_is_refused(tmp_path: Path, data: bytes | None) -> None:
    source = write_files(tmp_path / "s", {"a": noise(5000)})
    storage = directory_storage(tmp_path / "models")
    with pytest.raises((LocalError, FileNotFound)):
        publish(source, Meddling(storage, source / "a", data))
    unseen(storage)
    # Back to what it was, the publish is the same one again: it must not go on with the wrong bytes.
    write_files(source, {"a": noise(5000)})
    publish(source, storage)
    same(storage, {"a": noise(5000)})


def test_excludes_and_links(tmp_path: Path) -> None:
    source = write_files(tmp_path / "s", {"m.bin": b"m", "x.log": b"x", ".git/HEAD": b"h", "t/y.log": b"y"})
    (source / "link.bin").symlink_to("m.bin")
    storage = memory_storage()
    publish(source, storage, exclude=["*.log"])
    same(storage, {"m.bin": b"m", "link.bin": b"m"})


def test_nothing_is_claimed_by_what_is_refused(tmp_path: Path) -> None:
    storage = memory_storage()
    source = write_files(tmp_path / "s", {"m.safetensors": b"version https://git-lfs"})
    with pytest.raises(HoistError, match="git lfs pull"):
        publish(source, storage)
    assert list(storage.objects.list("")) == []
    publish(source, storage, checked=False)


def _diffusers() -> dict[str, bytes]:
    unet = {f"blocks.{n}.w": torch.randn(40, 40) for n in range(6)}
    shards = [dict(list(unet.items())[:3]), dict(list(unet.items())[3:])]
    names = [f"unet/diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    weights = {key: name.partition("/")[2] for name, shard in zip(names, shards, strict=True) for key in shard}
    return {
        "model_index.json": b'{"_class_name": "StableDiffusionPipeline"}',
        "unet/config.json": b"{}",
        "unet/diffusion_pytorch_model.safetensors.index.json": json.dumps({"weight_map": weights}).encode(),
        **{name: safetensors.torch.save(shard) for name, shard in zip(names, shards, strict=True)},
        "vae/diffusion_pytorch_model.safetensors": safetensors.torch.save({"w": torch.randn(9, 9)}),
        "tokenizer/vocab.json": json.dumps({chr(n): n for n in range(300)}).encode(),
        "tokenizer/merges.txt": "#version: 0.2\nä b\n".encode(),
        "tokenizer_2/spiece.model": noise(777),
        "gguf/model-Q4_K_M.gguf": b"GGUF\x03\0\0\0" + noise(5000, 4),
        "README.md": b"# card",
    }


def test_a_whole_model_folder(tmp_path: Path) -> None:
    files = _diffusers()
    storage = directory_storage(tmp_path / "models")
    done = publish(write_files(tmp_path / "s", files), storage)
    assert done.files == len(files)
    same(storage, files)
    # Any other tool finds the files as they were.
    for path, data in files.items():
        assert (tmp_path / "models/m/one/v1" / path).read_bytes() == data


def test_fine_tunes_share_blocks(tmp_path: Path) -> None:
    torch.manual_seed(1)
    vae = {f"first_stage_model.{n}": torch.randn(1 << 20) for n in range(6)}
    storage = memory_storage()
    for label in ("v1", "v2"):
        unet = {f"model.{n}": torch.randn(1 << 20 if label == "v1" else 3 << 18) for n in range(6)}
        safetensors.torch.save_file(unet | vae, tmp_path / "m.safetensors")
        publish(tmp_path / "m.safetensors", storage, f"sd/a:{label}")
    (shared,) = sharing(opened(storage, parse_reference("sd/a:v2")))
    assert shared.shared_bytes == 24 * MIB


class Telling(Progress):
    def __init__(self) -> None:
        self.phases: list[tuple[str, int]] = []
        self.done = 0

    def begin(self, phase: str, total_bytes: int) -> None:
        self.phases.append((phase, total_bytes))

    def advance(self, count: int) -> None:
        self.done += count


def test_progress_adds_up(tmp_path: Path) -> None:
    size = sum(map(len, FILES.values()))
    telling = Telling()
    publish_version(write_files(tmp_path / "s", FILES), memory_storage(), V1, Options(), telling)
    assert telling.phases == [("publishing to memory://", size)]
    assert telling.done == size


def test_publish_keeps_to_the_bandwidth(tmp_path: Path) -> None:
    (tmp_path / "nas").mkdir()
    write_files(tmp_path / "m", {"large.bin": noise(20 << 20), "small.bin": noise(1 << 20, 2)})
    config = load_config({"HOIST_MAX_BANDWIDTH": "20MiB", "HOME": str(tmp_path)}, tmp_path)
    began = time.monotonic()
    hoist.publish(tmp_path / "m", f"{tmp_path}/nas//m:v1", config=config)
    # 21 MiB at 20 MiB a second, less what is free at first: the cap can only make it slower.
    assert time.monotonic() - began >= 0.85
