"""Names of images, as docker, skopeo and Hoist write them."""

from __future__ import annotations

import pytest

from hoist.errors import InvalidReference
from hoist.image.addresses import parse_image

HEX = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scratch", ("scratch", "", "", "")),
        ("busybox", ("registry", "docker.io", "library/busybox", "latest")),
        ("python:3.12-slim", ("registry", "docker.io", "library/python", "3.12-slim")),
        ("me/app:v1", ("registry", "docker.io", "me/app", "v1")),
        ("ghcr.io/me/app:v1", ("registry", "ghcr.io", "me/app", "v1")),
        ("localhost/app", ("registry", "localhost", "app", "latest")),
        ("127.0.0.1:5000/a/b:c", ("registry", "127.0.0.1:5000", "a/b", "c")),
        ("[::1]:5000/a:c", ("registry", "[::1]:5000", "a", "c")),
        (f"oci://r.example/a@{HEX}", ("registry", "r.example", "a", HEX)),
        ("docker://r.example/a:b", ("registry", "r.example", "a", "b")),
        ("oci-layout:///srv/x", ("layout", "/srv/x", "", "")),
        ("oci-layout:///srv/x:v1", ("layout", "/srv/x", "", "v1")),
        ("oci-layout:///srv/x:app:v1", ("layout", "/srv/x", "app", "v1")),
        ("oci-layout:///srv/x:a/b:v1", ("layout", "/srv/x", "a/b", "v1")),
        ("oci-layout:///srv/a%20b:v1", ("layout", "/srv/a b", "", "v1")),
        (f"oci-layout:///srv/x@{HEX}", ("layout", "/srv/x", "", HEX)),
        (f"oci-layout:///srv/x:app@{HEX}", ("layout", "/srv/x", "app", HEX)),
        ("oci-archive:///srv/x.tar:v1", ("archive", "/srv/x.tar", "", "v1")),
    ],
)
def test_what_a_name_means(text: str, expected: tuple[str, str, str, str]) -> None:
    found = parse_image(text)
    assert (found.where, found.place, found.repository, found.reference) == expected
    assert str(found) == text


@pytest.mark.parametrize(
    "text",
    ["", "App", "a:b:c", "r.example/A:v1", "r.example/", "a@sha256:12", "s3://bucket/a", "oci-layout://rel/x:v1", "a:-x",
     "oci-layout:///srv/x:", "r.example/a/../b"],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(InvalidReference):
        parse_image(text)


@pytest.mark.parametrize("text", ["r.example/a:v1", "oci-layout:///srv/x:v1", "oci-layout:///srv/x:app:v1"])
def test_another_tag_of_the_same_repository_can_be_said_again(text: str) -> None:
    for reference in ("v2", HEX):
        other = parse_image(text).at(reference)
        again = parse_image(str(other))
        assert again == other
        assert again.reference == reference
