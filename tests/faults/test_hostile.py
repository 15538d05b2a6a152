"""What stands in the way or lies, met by commands: one plain error each, nothing half done, nothing outside its place."""

from __future__ import annotations

import io
import json
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hoist.model.blocks import BlockTable
from hoist.model.manifest import BLOCKS_TYPE, FILEPATH, FileEntry, Manifest, digest_of
from hoist.storage import layout
from hoist.storage.base import Version
from makers import Raw, blocks_of, directory_storage, files_below, noise, safetensors_bytes, write_files
from places import small_file_system
from zygote import User, Zygote

pytest_plugins = ["fault_users"]
pytestmark = pytest.mark.matrix

MIB = 1 << 20
FILES = {"unet/m.safetensors": safetensors_bytes([Raw("a", "U8", [MIB], noise(MIB))]), "config.json": b"{}"}
USES = (("pull", "LOCATION", "out", "--quiet"), ("verify", "LOCATION", "--quiet"), ("load", "LOCATION", "--quiet"))


@pytest.fixture
def published(directory_user: User) -> User:
    write_files(directory_user.home / "m", FILES)
    directory_user.run("publish", "m", "here//m:v1", "--quiet", "--tag", "stable")
    return directory_user


def put_manifest(user: User, change: Any) -> None:
    """The manifest of here//m:v1, changed as a document."""
    path = user.home / "models/.hoist/versions/m/v1/manifest.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.chmod(0o644)
    path.write_text(json.dumps(document))


def is_refused(user: User, *codes: int) -> None:
    before = files_below(user.home / "m")
    for words in USES:
        ended = user.refused(*("here//m:v1" if word == "LOCATION" else word for word in words))
        assert ended.code in codes, ended.error
    assert user.run("list", "here").code == 0
    assert files_below(user.home / "m") == before
    assert not [path for path in user.home.glob("out/**/*") if path.is_file() and ".hoist-pull" not in str(path)]


@pytest.mark.parametrize(
    "path",
    (
        "../x",
        "/etc/x",
        "a/../../x",
        "a\0b",
        "a\nb",
        ".hoist/x",
        ".hoist-pull/x",
        "..",
        "",
        "a//b",
        "a\\b",
        "x" * 1025,
        "\ud800",
    ),
)
def test_a_manifest_that_names_no_path_of_its_own(published: User, path: str) -> None:
    put_manifest(published, lambda document: document["layers"][0]["annotations"].update({FILEPATH: path}))
    is_refused(published, 7)
    assert not (published.home / "x").exists()
    listed = published.run("list", "here", "--json").json["versions"]
    assert listed[0]["problem"]


@pytest.mark.parametrize("size", [1 << 30, 1 << 40, (1 << 63) - 1, -1, 1.5, True, "7", None])
@pytest.mark.parametrize("layer", ["blocks", "file"])
def test_a_manifest_with_sizes_that_are_none(published: User, layer: str, size: Any) -> None:
    def change(document: Any) -> None:
        for each in document["layers"]:
            if (each["mediaType"] == BLOCKS_TYPE) == (layer == "blocks"):
                each["size"] = size

    put_manifest(published, change)
    is_refused(published, 7)


def test_a_version_that_claims_files_of_256_gib(published: User) -> None:
    """Its table and manifest fit each other; only the files are not there."""
    storage = directory_storage(published.home / "models")
    version = Version("m", "huge")
    blocks = blocks_of(b"x", 1)
    starts = blocks.starts[:1]
    for number in range(1, 1 << 12):
        starts.append(number * (64 << 20))
    huge = type(blocks)(digest_of(b"huge"), starts, bytes(32 * (len(starts) - 1)))
    table = BlockTable.build([huge]).to_bytes()
    manifest, config = Manifest.build([FileEntry("w.safetensors", huge.size, huge.file_digest)], table)
    for blob in (table, config):
        storage.objects.put(layout.blob_key(version, digest_of(blob)), blob)
    storage.objects.put(layout.manifest_key(version), manifest.data)
    storage.objects.put(layout.file_key(version, "w.safetensors"), safetensors_bytes([]))
    for words in USES:
        ended = published.tries(*("here//m:huge" if word == "LOCATION" else word for word in words))
        assert ended.code in (7, 8, 9), ended.error


def test_a_name_that_is_too_long_for_this_machine(published: User) -> None:
    name = "x" * 300 + ".safetensors"
    put_manifest(published, lambda document: document["layers"][1]["annotations"].update({FILEPATH: name}))
    is_refused(published, 9)


CHECKPOINTS = {
    "holds itself": b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01h\x00s.",
    "deep": b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".",
    "60 times doubled": b"\x80\x02]" + b"2\x86" * 60 + b".",
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_containers_without_an_end(directory_user: User, name: str) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("m/data.pkl", CHECKPOINTS[name])
    (directory_user.home / "m.ckpt").write_bytes(out.getvalue())
    ended = directory_user.tries("load", "m.ckpt", "--quiet")
    assert ended.code == 0 or ended.error.startswith("hoist: error: ")


def test_sparse_tensors_are_counted(directory_user: User) -> None:
    torch.save({"a": torch.eye(4).to_sparse(), "b": torch.ones(3)}, directory_user.home / "m.pt")
    assert directory_user.run("load", "m.pt", "--quiet", "--json").json["tensors"] == 2


def test_links_in_the_folder_of_a_pull_are_not_written_through(published: User) -> None:
    outside = write_files(published.home / "outside", {"config.json": b"precious", "m.safetensors": b"too"})
    write_files(published.home / "out", {"unet/nothing": b""})
    (published.home / "out/config.json").symlink_to(outside / "config.json")
    (published.home / "out/unet/m.safetensors").symlink_to(outside / "m.safetensors")
    assert published.refused("pull", "here//m:v1", "out", "--quiet").code == 4
    published.run("pull", "here//m:v1", "out", "--quiet", "--force")
    assert files_below(outside) == {"config.json": b"precious", "m.safetensors": b"too"}
    assert {path: data for path, data in files_below(published.home / "out").items() if data} == FILES
    assert not (published.home / "out/config.json").is_symlink()


def test_what_is_in_the_way_of_a_pull(published: User) -> None:
    write_files(
        published.home, {"file": b"", "a/unet": b"a file", "b/config.json/x": b"a folder", "c/.hoist-pull": b""}
    )
    ended = published.refused("pull", "here//m:v1", "file", "--quiet")
    assert (ended.code, "in the way" in ended.error) == (9, True)
    for folder in ("a", "b", "c"):
        before = files_below(published.home / folder)
        ended = published.refused("pull", "here//m:v1", folder, "--quiet")
        assert ended.code in (4, 9)
        assert "pull to another folder" in ended.error
        assert before.items() <= files_below(published.home / folder).items()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    with small_file_system(tmp_path / "disk", "3m", "777") as disk:
        yield disk


def test_a_full_disk(published: User, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(2 * MIB + MIB // 2))
    for words in (("pull", "here//m:v1", "disk/out"), ("publish", "m", "./disk//m:v1")):
        ended = published.refused(*words, "--quiet")
        assert ended.code == 9
        assert "space" in ended.error
    assert published.run("list", "./disk", "--json").json["versions"] == []
    (small_disk / "ballast").unlink()
    published.run("pull", "here//m:v1", "disk/out", "--quiet")
    assert files_below(small_disk / "out") == FILES
    (small_disk / "out/unet/m.safetensors").unlink()
    published.run("publish", "m", "./disk//m:v1", "--quiet")
    published.run("verify", "./disk//m:v1", "--quiet")


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody else needs root")
def test_no_permission(published: User) -> None:
    for folder in (published.home, *published.home.parents[:-2]):
        if folder.owner() == "root" and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    (published.home / "locked").mkdir(mode=0o700)
    weights = published.home / "models/m/v1/unet/m.safetensors"
    published.run("load", "here//m:v1", "--quiet")
    for words in (
        ("publish", "m", "here//m:v2"),
        ("pull", "here//m:v1", "out"),
        ("pull", "here//m:v1", "locked/out"),
        ("tag", "here//m:v1", "best"),
        ("remove", "here//m:v1", "--yes", "--force"),
        ("list", "./locked"),
    ):
        ended = published.refused(*words, *(["--quiet"] if words[0] in ("publish", "pull") else []), nobody=True)
        assert ended.code == 5, (words, ended.error)
    weights.chmod(0o600)
    for words in (("load", "here//m:v1"), ("verify", "here//m:v1"), ("publish", str(weights), "here//m:v3")):
        assert published.refused(*words, "--quiet", nobody=True).code in (5, 9)
    published.run("verify", "here//m:v1", "--quiet")
    assert not (published.home / "out").exists()


def test_an_unknown_location_has_the_nearest_names(published: User) -> None:
    for location, near in (("here//m:v2", "v1"), ("here//nm:v1", "did you mean m?"), ("hre//m:v1", "here")):
        for words in USES:
            ended = published.refused(*(location if word == "LOCATION" else word for word in words))
            assert ended.code == 3
            assert near in ended.error


@pytest.mark.parametrize("same", [True, False], ids=["same content", "other content"])
def test_two_publishers_of_one_version_at_once(user: User, same: bool, tmp_path: Path) -> None:
    write_files(user.home / "a", FILES)
    write_files(user.home / "b", FILES if same else {**FILES, "config.json": b'{"b": 1}'})
    with Zygote(tmp_path) as other:
        users = {"a": user, "b": User(other, user.home, user.env)}
        for number in range(5):
            codes: dict[str, int] = {}
            start = threading.Barrier(2)

            def publish(
                name: str, where: str = f"here//m:v{number}", codes: dict[str, int] = codes, start: Any = start
            ) -> None:
                start.wait(30)
                codes[name] = users[name].tries("publish", name, where, "--quiet").code

            threads = [threading.Thread(target=publish, args=(name,)) for name in users]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert set(codes.values()) <= {0, 4}
            winners = [name for name, code in codes.items() if code == 0]
            if not winners:
                # Each saw the other: the one that runs again wins.
                user.run("publish", "a", f"here//m:v{number}", "--quiet", "--replace-unfinished")
                winners = ["a"]
            assert same or len(winners) == 1
            user.run("verify", f"here//m:v{number}", "--quiet")
            user.run("pull", f"here//m:v{number}", f"out{number}", "--quiet")
            assert files_below(user.home / f"out{number}") == files_below(user.home / winners[0])
