"""Symbolic links from a published folder to a pulled one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hoist.errors import Conflict
from hoist.progress import Progress
from hoist.storage.tree import TreeStorage
from hoist.transfer.pull import Pulled, pull_version
from hoist.transfer.verify import verify_version
from makers import directory_storage, files_below, memory_storage, noise, opened, publish, write_files

DATA = noise(300_000)
FILES = {"w.bin": DATA, "sub/x.txt": b"x", "other/y.txt": b"y"}
LINKS = {"alias.bin": "w.bin", "sub/up.bin": "../w.bin", "sub/again.bin": "up.bin", "down.txt": "sub/x.txt"}


@pytest.fixture(params=["memory", "directory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> TreeStorage:
    return memory_storage() if request.param == "memory" else directory_storage(tmp_path / "models")


def source(tmp_path: Path) -> Path:
    folder = write_files(tmp_path / "source", FILES)
    for path, target in LINKS.items():
        (folder / path).symlink_to(target)
    return folder


def pull(storage: TreeStorage, folder: Path, include: tuple[str, ...] = (), *, force: bool = False) -> Pulled:
    return pull_version(opened(storage), folder, Progress(), include=include, force=force)


def links_below(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): os.readlink(path) for path in folder.rglob("*") if path.is_symlink()}  # noqa: PTH115


def test_links_to_other_files_are_kept(storage: TreeStorage, tmp_path: Path) -> None:
    publish(source(tmp_path), storage)
    version = opened(storage)
    assert {file.path: file.link for file in version.manifest.files if file.link} == LINKS
    # Who knows no links reads plain files.
    assert version.read("sub/again.bin") == DATA
    first = pull(storage, tmp_path / "out")
    assert links_below(tmp_path / "out") == LINKS
    assert files_below(tmp_path / "out") == files_below(tmp_path / "source")
    assert first.fetched_bytes == sum(map(len, FILES.values()))
    assert pull(storage, tmp_path / "out").fetched_bytes == 0
    # What was pulled is the version it came from.
    assert publish(tmp_path / "out", storage).already


def test_links_that_lead_elsewhere_are_the_files_that_they_mean(storage: TreeStorage, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "source", FILES)
    write_files(tmp_path / "outside", {"z.bin": b"z"})
    (folder / "out.bin").symlink_to("../outside/z.bin")
    (folder / "absolute.bin").symlink_to(folder / "w.bin")
    (folder / "wound.bin").symlink_to("sub/../w.bin")
    (folder / "excluded.bin").symlink_to("other/y.txt")
    (folder / "folder").symlink_to("sub")
    (folder / "through.txt").symlink_to("folder/x.txt")
    publish(folder, storage, exclude=["other"])
    pull(storage, tmp_path / "out")
    # A folder that is a link is a folder in the version, so that what leads through it still does.
    assert links_below(tmp_path / "out") == {"through.txt": "folder/x.txt"}
    found = files_below(tmp_path / "out")
    assert (found["out.bin"], found["absolute.bin"], found["wound.bin"]) == (b"z", DATA, DATA)
    assert (found["excluded.bin"], found["folder/x.txt"]) == (b"y", b"x")


def test_a_file_that_is_published_by_a_link_is_a_file(storage: TreeStorage, tmp_path: Path) -> None:
    publish(source(tmp_path) / "alias.bin", storage)
    assert [(file.path, file.link) for file in opened(storage).manifest.files] == [("alias.bin", "")]


def test_a_part_of_a_version(storage: TreeStorage, tmp_path: Path) -> None:
    publish(source(tmp_path), storage)
    pull(storage, tmp_path / "out", ("sub/*",))
    # What `up.bin` leads to was not wanted, so it is a file; `again.bin` leads to it.
    assert links_below(tmp_path / "out") == {"sub/again.bin": "up.bin"}
    assert (tmp_path / "out/sub/again.bin").read_bytes() == DATA
    assert pull(storage, tmp_path / "out").kept_bytes >= len(DATA)


def test_what_is_in_the_place_of_a_link(storage: TreeStorage, tmp_path: Path) -> None:
    publish(source(tmp_path), storage)
    out = write_files(tmp_path / "out", {"alias.bin": DATA})
    pull(storage, out)
    # The same content is left as it is.
    assert not (out / "alias.bin").is_symlink()
    (out / "down.txt").unlink()
    (out / "down.txt").symlink_to("w.bin")
    with pytest.raises(Conflict, match=r"down\.txt"):
        pull(storage, out)
    pull(storage, out, force=True)
    assert links_below(out)["down.txt"] == "sub/x.txt"
    assert (out / "w.bin").read_bytes() == DATA


def test_a_directory_has_the_links_too(tmp_path: Path) -> None:
    storage = directory_storage(tmp_path / "models")
    folder = source(tmp_path)
    big = noise(3_000_000, 3)
    write_files(folder, {"z-big.bin": big})
    (folder / "big.bin").symlink_to("z-big.bin")
    publish(folder, storage)
    stored = tmp_path / "models/m/one/v1"
    assert links_below(stored) == LINKS | {"big.bin": "z-big.bin"}
    assert files_below(stored) == files_below(folder)
    # Another version takes its files from there, never the links in their places.
    (folder / "big.bin").unlink()
    (folder / "z-big.bin").rename(folder / "a.bin")
    publish(folder, storage, "m/one:v2")
    assert (tmp_path / "models/m/one/v2/a.bin").stat().st_ino == (stored / "z-big.bin").stat().st_ino
    assert links_below(tmp_path / "models/m/one/v2") == LINKS
    assert not verify_version(opened(storage), Progress()).damaged
    storage.remove(opened(storage).version)
    assert not stored.exists()
    assert files_below(tmp_path / "models/m/one/v2") == files_below(folder)
