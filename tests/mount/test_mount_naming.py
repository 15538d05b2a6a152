"""Single versions by their locations, and storages that may be read and not listed."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from mounting import Mount, inside

from hoist.errors import InvalidReference, NotFound, PermissionDenied
from hoist.model.reference import parse_reference
from hoist.mount.daemon import places_of
from hoist.mount.filesystem import Absent
from hoist.mount.naming import find_chosen
from hoist.mount.tree import Link, VersionRoot
from hoist.storage.base import Storage, Tag
from hoist.storage.wrap import Counting, Wrapper
from hoist.testing.servers import FaultServer
from hoist.testing.servers.base import Answer
from hoist.testing.servers.origins import FolderOrigin
from makers import directory_storage, memory_storage, noise, publish, put_version, wait_for, write_files

pytest_plugins = ("mount_fixtures",)
DATA = noise(400_000)


class Secretive(FolderOrigin):
    """A bucket as S3 shows it to who may not list it: what is not there is refused as what is secret."""

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        found = super().answer(method, target, headers, body)
        if found.status != 404:
            return found
        text = b"<Error><Code>AccessDenied</Code></Error>"
        return Answer(403, {"content-type": "application/xml", "content-length": str(len(text))}, text)


@pytest.fixture
def secretive(fuse: None, tmp_path: Path) -> Iterator[dict[str, str]]:
    storage = directory_storage(tmp_path / "www" / "models")
    source = write_files(tmp_path / "source", {"w.bin": DATA, "sub/a.txt": b"a"})
    for label in ("v1", "v2"):
        publish(source, storage, f"m/one:{label}")
    storage.set_tag(Tag("m/one", "stable", "v1", storage.resolve(parse_reference("m/one:v1"))[1].digest))
    fields = {"URL": "s3://models", "ANONYMOUS": "true"}
    with FaultServer(Secretive(tmp_path / "www")) as server:
        yield {f"HOIST_STORAGE_FAR_{key}": value for key, value in (fields | {"ENDPOINT": server.endpoint}).items()}


def test_a_storage_that_may_not_be_listed(secretive: dict[str, str], tmp_path: Path) -> None:
    with Mount(tmp_path, ("far",), ("--refresh", "0.3"), secretive) as mount:
        assert os.listdir(mount.point) == []
        assert (mount.point / "m/one/v1/w.bin").read_bytes() == DATA
        assert (mount.point / "m/one/stable/sub/a.txt").read_bytes() == b"a"
        assert os.readlink(mount.point / "m/one/stable") == "v1"
        # What was found is listed from then on, and nothing else.
        assert os.listdir(mount.point) == ["m"]
        assert sorted(os.listdir(mount.point / "m/one")) == ["stable", "v1"]
        assert os.listdir(mount.point / "who/knows") == []
        for name in ("Not-A-Name", "m/one/v1/none", "m/one/.hidden", "m/one/v1/w.bin.index"):
            assert not (mount.point / name).exists(), name
        assert "may not be listed" in mount.log
        # What comes and what moves shows up as elsewhere.
        storage = directory_storage(tmp_path / "www" / "models")
        publish(tmp_path / "source", storage, "m/one:v3")
        storage.set_tag(Tag("m/one", "stable", "v3", storage.resolve(parse_reference("m/one:v3"))[1].digest))
        wait_for(lambda: os.readlink(mount.point / "m/one/stable") == "v3")
        assert (mount.point / "m/one/v3/w.bin").read_bytes() == DATA


@pytest.mark.parametrize("listed", [False, True])
def test_versions_by_their_locations(secretive: dict[str, str], tmp_path: Path, listed: bool) -> None:
    storage = str(tmp_path / "www/models") if listed else "far"
    with Mount(tmp_path, (f"{storage}//m/one:stable", f"{storage}//m/one:v2"), (), secretive) as mount:
        assert os.listdir(mount.point) == ["m"]
        assert sorted(os.listdir(mount.point / "m/one")) == ["stable", "v1", "v2"]
        assert os.readlink(mount.point / "m/one/stable") == "v1"
        assert (mount.point / "m/one/stable/w.bin").read_bytes() == DATA
        assert not (mount.point / "m/one/v3").exists()
        assert mount.hoist("mount", "--status", "--json").stdout.count(f"{storage}//m/one") == 2
        assert abs((mount.point / "m/one/v1").stat().st_mtime - time.time()) < 120


def test_a_location_that_is_not_there_is_told(secretive: dict[str, str], tmp_path: Path) -> None:
    mount = Mount(tmp_path, ("far//m/one:v9",), (), secretive)
    refused = mount.hoist("mount", "far//m/one:v9", "mnt")
    assert (refused.returncode, "no permission for" in refused.stderr) == (5, True), refused.stderr
    refused = mount.hoist("mount", f"{tmp_path}/www/models//m/one:v9", "mnt")
    assert (refused.returncode, "m/one has v1, v2, stable" in refused.stderr) == (3, True), refused.stderr
    refused = mount.hoist("mount", "far//m/One:v1", "mnt")
    assert (refused.returncode, "did you mean 'm/one'" in refused.stderr) == (2, True), refused.stderr


def test_the_words_of_a_mount(tmp_path: Path) -> None:
    one, two = parse_reference("m/one:v1"), parse_reference("n@sha256:" + "0" * 64)
    assert places_of(["nas", "s3://b/p"]) == [("nas", []), ("s3://b/p", [])]
    assert places_of(["s3://b//m/one:v1", "nas", f"s3://b//{two}"]) == [("s3://b", [one, two]), ("nas", [])]
    # Who mounts all of a storage has its versions too.
    assert places_of(["nas//m/one:v1", "nas", "nas//m/one:v1"]) == [("nas", [])]
    (tmp_path / "models").mkdir()
    assert places_of([f"{tmp_path}//models"]) == [(f"{tmp_path}//models", [])]
    with pytest.raises(InvalidReference, match="did you mean"):
        places_of(["nas//M/One:v1"])


class Unlisted(Wrapper):
    """May not be listed."""

    def before(self, operation: str, size: int) -> None:
        if operation in ("versions", "tags"):
            raise PermissionDenied("no listing")


@pytest.fixture
def stored() -> Storage:
    storage = memory_storage()
    put_version(storage, {"w.bin": DATA}, 1 << 16)
    storage.set_tag(Tag("m/one", "stable", "v1", storage.resolve(parse_reference("m/one:v1"))[1].digest))
    return storage


def test_a_name_is_asked_for_once_in_a_while(stored: Storage) -> None:
    counting = Counting(stored)
    found = inside(Unlisted(counting), refresh_seconds=60)
    for _ in range(3):
        assert found.find("m/one/v1/w.bin").size == len(DATA)
        with pytest.raises(Absent):
            found.find("m/One")
        assert found.find("m/one/v2").kind == stat.S_IFDIR
    # Each as a version, and the one that is there to open it; those that are not there as tags too.
    assert counting.calls["read_manifest"] == 5
    assert counting.calls["find_tag"] == 3


def test_another_version_of_the_same_label_is_another_folder(stored: Storage) -> None:
    found = inside(Unlisted(stored), refresh_seconds=0)
    first = found.find("m/one/v1")
    stored.remove(first.named.version)
    put_version(stored, {"w.bin": b"other"}, 1 << 16)  # type: ignore[arg-type]
    second = found.find("m/one/v1")
    assert second.number != first.number
    assert found.find("m/one/v1/w.bin").size == 5


def test_chosen_versions_that_go(stored: Storage) -> None:
    references = [parse_reference("m/one:stable")]
    folder = find_chosen(stored, references, strict=True).tree["m/one"]
    assert (type(folder["v1"]), folder["stable"]) == (VersionRoot, Link("v1"))
    stored.remove_tag("m/one", "stable")
    assert find_chosen(stored, references, strict=False).tree == {"": {}}
    with pytest.raises(NotFound):
        find_chosen(stored, references, strict=True)
