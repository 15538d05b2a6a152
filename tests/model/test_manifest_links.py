"""Symbolic links in a manifest: kept where they mean the same anywhere, else refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoist.errors import InvalidManifest
from hoist.model.manifest import LINK, FileEntry, Manifest, digest_of, link_target

DIGEST = digest_of(b"x")


def entry(path: str, link: str = "", content: bytes = b"x") -> FileEntry:
    return FileEntry(path, len(content), digest_of(content), link)


@pytest.mark.parametrize(
    ("path", "link", "target"),
    [
        ("a", "b", "b"),
        ("d/a", "b", "d/b"),
        ("d/a", "../b", "b"),
        ("d/e/a", "../../f/b", "f/b"),
        ("d/a", "e/b", "d/e/b"),
        ("a", "../b", None),
        ("d/a", "../../b", None),
        ("a", "/etc/passwd", None),
        ("a", "b/../c", None),
        ("a", "./b", None),
        ("a", "b/", None),
        ("a", "b//c", None),
        ("d/a", "..", None),
        ("a", ".hoist/x", None),
        ("a", "b\\c", None),
        ("a", "", None),
    ],
)
def test_where_a_link_leads(path: str, link: str, target: str | None) -> None:
    assert link_target(path, link) == target


@given(st.text(max_size=20), st.text(alphabet="./ab", max_size=20))
def test_no_link_leads_out(path: str, link: str) -> None:
    target = link_target(path, link)
    assert target is None or not (target.startswith("/") or ".." in target.split("/"))


def test_a_link_is_a_file_with_an_annotation() -> None:
    files = [entry("a"), entry("b", "a"), entry("c", "b")]
    manifest, config = Manifest.build(files, b"table")
    assert Manifest.parse(manifest.data).files == tuple(files)
    layers = json.loads(manifest.data)["layers"]
    assert [layer["annotations"].get(LINK) for layer in layers[:3]] == [None, "a", "b"]
    assert {layer["digest"] for layer in layers[:3]} == {DIGEST}
    plain, plain_config = Manifest.build([entry("a"), entry("b"), entry("c")], b"table")
    assert plain.digest != manifest.digest
    assert (plain_config, LINK.encode() in plain.data) == (config, False)


@pytest.mark.parametrize(
    "files",
    [
        [entry("a"), entry("b", "none")],
        [entry("a"), entry("b", "../a")],
        [entry("a"), entry("b", "a", b"other")],
        [entry("b", "b"), entry("a")],
        [entry("a", "b"), entry("b", "a")],
        [entry("a", "b"), entry("b", "c"), entry("c", "a"), entry("d")],
    ],
)
def test_a_link_to_nothing_of_its_content_is_refused(files: list[FileEntry]) -> None:
    with pytest.raises(InvalidManifest, match="the link"):
        Manifest.build(files, b"table")


def test_a_bad_annotation_is_refused() -> None:
    manifest, _ = Manifest.build([entry("a"), entry("b", "a")], b"table")
    document = json.loads(manifest.data)
    for bad in (3, None, ["a"], "/a", "../../etc/passwd"):
        document["layers"][1]["annotations"][LINK] = bad
        with pytest.raises(InvalidManifest):
            Manifest.parse(json.dumps(document).encode())
