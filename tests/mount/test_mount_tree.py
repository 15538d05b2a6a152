"""Names in folders, from what is listed."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from hoist.model.manifest import FileEntry
from hoist.mount.tree import GROUP, Link, VersionRoot, catalogue, contents, number_of
from hoist.storage.base import Tag, Version

PART = st.text("abc", min_size=1, max_size=3)
PATH = st.lists(PART, min_size=1, max_size=4).map("/".join)


@given(st.sets(PATH, max_size=30))
def test_every_file_is_found_by_walking(paths: set[str]) -> None:
    files = {path for path in paths if not any(other.startswith(path + "/") for other in paths)}
    tree = contents(FileEntry(path, 1, "sha256:" + "0" * 64) for path in files)
    assert {f"{folder}/{name}".lstrip("/") for folder, names in tree.items() for name in names} == {
        "/".join(path.split("/")[:depth]) for path in files for depth in range(1, path.count("/") + 2)
    }
    for folder, names in tree.items():
        for name, what in names.items():
            path = f"{folder}/{name}".lstrip("/")
            assert (what is GROUP) is (path in tree)
            assert isinstance(what, FileEntry) is (path in files)


def test_versions_tags_and_nested_models() -> None:
    versions = [Version("sd15", "v1"), Version("sd15/any", "v5"), Version("sd15/any/deep", "v1")]
    tags = [
        Tag("sd15/any", "stable", "v5", ""),
        Tag("sd15/any", "gone", "v4", ""),
        Tag("sd15/any", "broken", "", ""),
        Tag("sd15", "any", "v1", ""),
    ]
    tree = catalogue((VersionRoot(version, 5) for version in versions), tags).tree
    assert tree == {
        "": {"sd15": GROUP},
        "sd15": {"v1": VersionRoot(versions[0], 5), "any": GROUP},
        "sd15/any": {"v5": VersionRoot(versions[1], 5), "stable": Link("v5"), "deep": GROUP},
        "sd15/any/deep": {"v1": VersionRoot(versions[2], 5)},
    }


@given(st.lists(PATH, max_size=3), st.lists(PATH, max_size=3))
def test_numbers_are_the_same_each_time_and_no_others(one: list[str], other: list[str]) -> None:
    assert 1 < number_of(*one) < 1 << 63
    assert (number_of(*one) == number_of(*other)) is (
        one == other or (not "".join(one + other) and len(one) == len(other))
    )


def test_a_name_for_each_storage() -> None:
    from hoist.mount.daemon import shelf_name

    for address in ("nas", "s3://bucket/prefix", "/srv/models", "../x", "//"):
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", shelf_name(address)), address
