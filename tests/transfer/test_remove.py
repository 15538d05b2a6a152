"""Removing versions and tags, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from hoist.errors import Conflict, VersionNotFound
from hoist.model.reference import parse_reference
from hoist.read.listing import list_versions
from hoist.storage.base import Tag, Version
from hoist.storage.tree import TreeStorage
from hoist.transfer.remove import remove_reference
from makers import directory_storage, noise, opened, publish, put_version, write_files

V1 = Version("m/one", "v1")


@pytest.fixture
def storage(tmp_path: Path) -> TreeStorage:
    found = directory_storage(tmp_path / "models")
    for reference in ("m/one:v1", "m/one:v2"):
        put_version(found, {"a": reference.encode(), "sub/b": noise(100)}, 64, parse_reference(reference))
    return found


def versions(storage: TreeStorage) -> list[str]:
    return [str(item.version) for item in list_versions(storage)]


def remove(storage: TreeStorage, reference: str, *, force: bool = False) -> Version | Tag:
    return remove_reference(storage, parse_reference(reference), force=force)


def tag(storage: TreeStorage, name: str) -> None:
    storage.set_tag(Tag("m/one", name, "v1", opened(storage).manifest.digest))


def test_a_version_goes_with_all_its_files(storage: TreeStorage, tmp_path: Path) -> None:
    assert remove(storage, "m/one:v1") == V1
    assert versions(storage) == ["m/one:v2"]
    assert not (tmp_path / "models/m/one/v1").exists()
    assert not (tmp_path / "models/.hoist/versions/m/one/v1").exists()
    assert opened(storage, parse_reference("m/one:v2")).read("a") == b"m/one:v2"
    with pytest.raises(VersionNotFound):
        remove(storage, "m/one:v1")


def test_by_digest(storage: TreeStorage) -> None:
    digest = opened(storage).manifest.digest
    assert remove(storage, f"m/one@{digest}") == V1
    assert versions(storage) == ["m/one:v2"]


def test_a_tag_goes_alone(storage: TreeStorage) -> None:
    tag(storage, "stable")
    found = remove(storage, "m/one:stable")
    assert isinstance(found, Tag)
    assert found.tag == "stable"
    assert versions(storage) == ["m/one:v1", "m/one:v2"]
    assert list(storage.tags()) == []


def test_a_version_with_tags_needs_force(storage: TreeStorage) -> None:
    tag(storage, "stable")
    tag(storage, "latest")
    with pytest.raises(Conflict, match="has the tags latest, stable"):
        remove(storage, "m/one:v1")
    assert versions(storage) == ["m/one:v1", "m/one:v2"]
    remove(storage, "m/one:v1", force=True)
    assert versions(storage) == ["m/one:v2"]
    assert list(storage.tags()) == []


@pytest.mark.parametrize("reference", ["m/one:v9", "m/two:v1", "m/one", "m/one@sha256:" + "0" * 64])
def test_what_is_not_there(storage: TreeStorage, reference: str) -> None:
    with pytest.raises(VersionNotFound):
        remove(storage, reference)


def test_a_copy_survives_its_origin(tmp_path: Path) -> None:
    storage = directory_storage(tmp_path / "models")
    files = write_files(tmp_path / "s", {"big.bin": noise(2 << 20)})
    publish(files, storage, "m/one:v1")
    assert publish(files, storage, "m/two:v1").copied_bytes == 2 << 20
    remove(storage, "m/one:v1")
    assert opened(storage, parse_reference("m/two:v1")).read("big.bin") == noise(2 << 20)


def test_the_label_is_free_again(storage: TreeStorage) -> None:
    remove(storage, "m/one:v1")
    put_version(storage, {"other": b"x"}, 64)
    assert opened(storage).read("other") == b"x"
