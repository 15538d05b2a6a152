"""An image's documents: what is written is read again, what somebody else wrote is kept, what lies is Damaged."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoist.errors import Damaged
from hoist.model.image import documents as docs
from hoist.model.image.contents import Contents
from hoist.model.image.descriptor import Descriptor
from hoist.model.image.labels import VERSIONS, ImageVersion, parse_versions, versions_text
from hoist.model.manifest import digest_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
DIGEST = st.binary(max_size=4).map(digest_of)
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
NOTES = st.dictionaries(TEXT, TEXT, max_size=3).map(lambda notes: tuple(sorted(notes.items())))
DESCRIPTORS = st.builds(
    Descriptor,
    DIGEST,
    st.integers(0, (1 << 63) - 1),
    st.sampled_from([docs.LAYER_TYPE, docs.CONFIG_TYPE, docs.LAYER_TYPE + "+zstd"]),
    NOTES,
    st.sampled_from(["", "application/vnd.example.v1+json"]),
    st.sampled_from(["", "linux/amd64", "linux/arm64/v8"]),
)
SUBJECTS = st.none() | DESCRIPTORS
MANIFESTS = st.builds(
    docs.ImageManifest, DESCRIPTORS, st.lists(DESCRIPTORS, max_size=4).map(tuple), NOTES, subject=SUBJECTS
)
INDEXES = st.builds(docs.ImageIndex, st.lists(DESCRIPTORS, max_size=4).map(tuple), NOTES, subject=SUBJECTS)
VERSION_LISTS = st.lists(
    st.builds(ImageVersion, st.sampled_from(["a", "sd15/any"]), st.sampled_from(["v1", "v2"]), DIGEST, DIGEST),
    unique_by=lambda each: (each.name, each.label),
).map(lambda each: tuple(sorted(each)))


@given(MANIFESTS | INDEXES)
def test_documents_are_read_as_they_were_written(document: docs.ImageManifest | docs.ImageIndex) -> None:
    data = document.to_bytes()
    assert docs.parse_image(data) == document
    assert docs.parse_image(data).to_bytes() == data  # type: ignore[union-attr]


@given(VERSION_LISTS)
def test_versions_are_read_as_they_were_written(versions: tuple[ImageVersion, ...]) -> None:
    assert parse_versions(versions_text(versions)) == versions
    assert versions_text(reversed(versions)) == versions_text(versions)


@given(MANIFESTS, st.sampled_from(["config", "layers", "mediaType", "annotations", "subject"]), JSON)
def test_one_field_of_something_else(document: docs.ImageManifest, key: str, value: Any) -> None:
    changed = json.dumps(json.loads(document.to_bytes()) | {key: value}).encode()
    for data in (changed, changed[:-1], changed[3:]):
        with suppress(Damaged):
            docs.parse_image(data, docs.MANIFEST_TYPE)


@given(JSON, st.sampled_from(["rootfs", "config", "history", "os"]))
def test_one_field_of_a_config(value: Any, key: str) -> None:
    data = json.dumps(dict(docs.new_config().document) | {key: value}).encode()
    try:
        found = docs.parse_config(data)
    except Damaged:
        return
    assert found.extended([digest_of(b"1")], {"a": "b"}, [docs.history_entry("x")]).labels["a"] == "b"


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_at_all(data: bytes) -> None:
    for parse in (
        docs.parse_image,
        docs.parse_config,
        Contents.parse,
        lambda data: parse_versions(data.decode("latin-1")),
    ):
        with suppress(Damaged):
            parse(data)


@pytest.mark.parametrize("data", [b"[" * 200_000, b'{"a":' * 100_000, b" " * (docs.MAX_DOCUMENT_BYTES + 1)])
def test_deep_and_large_documents(data: bytes) -> None:
    for parse in (docs.parse_image, docs.parse_config, Contents.parse):
        with pytest.raises(Damaged):
            parse(data)


def test_a_config_keeps_what_it_does_not_know() -> None:
    base = {
        "architecture": "arm64",
        "os": "linux",
        "variant": "v8",
        "config": {"Env": ["A=b"], "Labels": {"mine": "1"}, "Healthcheck": {"Test": ["NONE"]}},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(b"base")]},
        "history": [{"created_by": "base", "empty_layer": True}],
        "container": "x",
    }
    found = docs.parse_config(json.dumps(base).encode())
    assert (found.platform, found.diff_ids, found.labels) == ("linux/arm64/v8", (digest_of(b"base"),), {"mine": "1"})
    more = found.extended([digest_of(b"new")], {VERSIONS: "[]"}, [docs.history_entry("hoist")])
    again = docs.parse_config(more.to_bytes())
    assert again.diff_ids == (digest_of(b"base"), digest_of(b"new"))
    assert again.labels == {"mine": "1", VERSIONS: "[]"}
    assert again.document["config"]["Env"] == ["A=b"]
    assert again.document["container"] == "x"
    assert [each["created_by"] for each in again.document["history"]] == ["base", "hoist"]


def test_docker_types_and_untyped_documents() -> None:
    document = {
        "schemaVersion": 2,
        "config": {"mediaType": docs.DOCKER_CONFIG_TYPE, "digest": digest_of(b""), "size": 0},
        "layers": [],
    }
    data = json.dumps(document).encode()
    assert docs.parse_image(data) is None
    for media_type in (docs.MANIFEST_TYPE, docs.DOCKER_MANIFEST_TYPE + "; charset=utf-8"):
        assert isinstance(docs.parse_image(data, media_type), docs.ImageManifest)
    with pytest.raises(Damaged, match="both"):
        docs.parse_image(json.dumps(document | {"manifests": []}).encode(), docs.INDEX_TYPE)


def test_one_version_named_twice() -> None:
    one = {"name": "a", "label": "v1", "digest": digest_of(b"1"), "documents": digest_of(b"2")}
    for listed in ([one, one], [one | {"label": "../x"}], [one | {"digest": "sha256:x"}], {"a": one}, [one] * 2000):
        with pytest.raises(Damaged):
            parse_versions(json.dumps(listed))
