"""Names, references and locations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoist.errors import HoistError, InvalidReference
from hoist.model.reference import (
    DEFAULT_LABEL,
    Location,
    Reference,
    check_digest,
    check_label,
    check_name,
    looks_like_location,
    parse_location,
    parse_reference,
    split_location,
)

NAMES = st.from_regex(r"[a-z0-9]{1,5}(?:(?:[._]|__|--?)[a-z0-9]{1,4}){0,2}(?:/[a-z0-9]{1,6}){0,2}", fullmatch=True)
LABELS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
DIGESTS = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
STORAGES = st.sampled_from(
    ["nas", "s3://bucket", "s3://bucket/a/prefix", "oss://b/p", "file:///srv/models", "/abs", "/abs/b", "./rel", "../x"]
)
REFERENCES = st.one_of(
    st.builds(lambda name, label: Reference(name, label=label), NAMES, LABELS),
    st.builds(lambda name, digest: Reference(name, digest=digest), NAMES, DIGESTS),
)


@given(REFERENCES)
def test_a_reference_reads_back(reference: Reference) -> None:
    assert parse_reference(str(reference)) == reference


@given(STORAGES, REFERENCES)
def test_a_location_reads_back(storage: str, reference: Reference) -> None:
    location = Location(storage, reference)
    assert parse_location(str(location)) == location
    assert looks_like_location(str(location))


@given(st.text(max_size=60))
def test_any_text_parses_or_is_refused_by_type(text: str) -> None:
    for parse in (parse_reference, parse_location, check_name, check_label, check_digest):
        try:
            parse(text)
        except HoistError as error:
            assert isinstance(error, InvalidReference)


@pytest.mark.parametrize(
    ("text", "storage", "reference"),
    [
        ("nas//sd15/anything:v5", "nas", "sd15/anything:v5"),
        ("s3://bucket//m:v1", "s3://bucket", "m:v1"),
        ("s3://bucket/a/b//m/n:v1", "s3://bucket/a/b", "m/n:v1"),
        ("oss://bucket/p//m", "oss://bucket/p", "m"),
        ("file:///srv/models//m:v1", "file:///srv/models", "m:v1"),
        ("file:////srv//m:v1", "file:////srv", "m:v1"),
        ("/srv/models//m:v1", "/srv/models", "m:v1"),
        ("./rel//m:v1", "./rel", "m:v1"),
        ("memory://x//m:v1", "memory://x", "m:v1"),
    ],
)
def test_where_a_location_splits(text: str, storage: str, reference: str) -> None:
    assert split_location(text) == (storage, reference)


@pytest.mark.parametrize(
    "text", ["", "//", "//m:v1", "nas//", "nas", "nas/m:v1", "s3://bucket", "s3://bucket/m:v1", "/a/b"]
)
def test_what_is_no_location(text: str) -> None:
    assert not looks_like_location(text)
    with pytest.raises(InvalidReference, match="is not a location"):
        split_location(text)


@pytest.mark.parametrize(
    "name",
    ["", "A", "a//b", "/a", "a/", "-a", "a-", "a..b", "a/../b", "a b", "ä", "a\n", "a" * 201, ".hoist/x", "a/.hoist"],
)
def test_bad_names(name: str) -> None:
    with pytest.raises(InvalidReference):
        check_name(name)


@pytest.mark.parametrize("label", ["", ".", "..", "-a", "a/b", "a b", "a" * 129, "v1\n"])
def test_bad_labels(label: str) -> None:
    with pytest.raises(InvalidReference):
        check_label(label)


@pytest.mark.parametrize(
    "digest", ["sha256:", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "sha512:" + "a" * 64, "a" * 64]
)
def test_bad_digests(digest: str) -> None:
    with pytest.raises(InvalidReference):
        parse_reference(f"m@{digest}")


def test_a_bare_name_means_the_default_tag() -> None:
    assert parse_reference("sd15/anything") == Reference("sd15/anything", label=DEFAULT_LABEL)


def test_an_empty_label_is_refused() -> None:
    with pytest.raises(InvalidReference):
        parse_reference("m:")


def test_a_near_miss_is_told_the_mend() -> None:
    with pytest.raises(InvalidReference, match="did you mean 'sd15/my-model'"):
        check_name("SD15/My Model")
