"""Listings: every version with its tags, a damaged one with its problem; and who shares blocks with whom."""

from __future__ import annotations

import pytest

from hoist.model.reference import parse_reference
from hoist.read.listing import Shared, list_versions, sharing
from hoist.storage import layout
from hoist.storage.base import Tag, Version
from hoist.storage.tree import TreeStorage
from makers import memory_storage, noise, opened, put_version

VAE, UNET, OTHER = noise(4096, 1), noise(8192, 2), noise(8192, 3)


@pytest.fixture
def storage() -> TreeStorage:
    found = memory_storage()
    for reference, files in {
        "sd/a:v1": {"unet": UNET, "vae": VAE},
        "sd/a:v2": {"unet": OTHER, "vae": VAE, "copy": VAE},
        "sd/b:v1": {"all": UNET + VAE},
        "sd/c:v1": {"x": noise(100, 9)},
    }.items():
        put_version(found, files, 1024, parse_reference(reference))
    return found


def test_all_versions_in_order(storage: TreeStorage) -> None:
    digest = opened(storage, parse_reference("sd/a:v1")).manifest.digest
    storage.set_tag(Tag("sd/a", "latest", "v1", digest))
    storage.set_tag(Tag("sd/a", "stable", "v1", digest))
    listed = list_versions(storage)
    assert [str(item.version) for item in listed] == ["sd/a:v1", "sd/a:v2", "sd/b:v1", "sd/c:v1"]
    first = listed[0]
    assert (first.digest, first.size, first.files, first.tags) == (digest, 12288, 2, ("latest", "stable"))
    assert listed[1].tags == ()


def test_one_model(storage: TreeStorage) -> None:
    assert [str(item.version) for item in list_versions(storage, "sd/a")] == ["sd/a:v1", "sd/a:v2"]
    assert list_versions(storage, "sd") == []


def test_a_damaged_manifest_is_listed_with_its_problem(storage: TreeStorage) -> None:
    storage.objects.put(layout.manifest_key(Version("sd/b", "v1")), b"{")
    listed = {str(item.version): item for item in list_versions(storage)}
    assert "malformed" in listed["sd/b:v1"].problem
    assert listed["sd/a:v1"].problem == ""


def test_an_empty_storage() -> None:
    assert list_versions(memory_storage()) == []


def test_sharing_counts_each_block_once_and_the_most_first(storage: TreeStorage) -> None:
    found = sharing(opened(storage, parse_reference("sd/a:v1")))
    assert found == [Shared(Version("sd/b", "v1"), 12288), Shared(Version("sd/a", "v2"), 4096)]


def test_a_damaged_version_shares_nothing(storage: TreeStorage) -> None:
    storage.objects.put(layout.manifest_key(Version("sd/b", "v1")), b"{")
    found = sharing(opened(storage, parse_reference("sd/a:v1")))
    assert [shared.version for shared in found] == [Version("sd/a", "v2")]
