"""The manifest: one identity for the same files, ModelPack's fields, nothing unsafe inside."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoist.errors import HoistError, InvalidManifest
from hoist.model.manifest import FILEPATH, Blob, FileEntry, Manifest, check_path, digest_of

PATHS = st.lists(st.from_regex(r"[A-Za-z0-9_é][A-Za-z0-9._ é-]{0,8}", fullmatch=True), min_size=1, max_size=3).map(
    "/".join
)
DIGESTS = st.binary(max_size=8).map(digest_of)
FILES = st.builds(
    lambda path, size, digest: FileEntry("f/" + path, size, digest), PATHS, st.integers(0, 1 << 62), DIGESTS
)


def _flat(files: list[FileEntry]) -> list[FileEntry]:
    """Names that cannot be one another's folders."""
    return [FileEntry(f"{number}/{file.path}", file.size, file.digest) for number, file in enumerate(files)]


LISTS = st.lists(FILES, min_size=1, max_size=6).map(_flat)


def _some() -> Manifest:
    names = ["README.md", "a.safetensors", "config.json", "sub/run.py"]
    return Manifest.build([FileEntry(name, 7, digest_of(name.encode())) for name in names], b"table")[0]


@given(LISTS, st.binary(max_size=20))
def test_parse_of_build(files: list[FileEntry], table: bytes) -> None:
    manifest, config = Manifest.build(files, table)
    found = Manifest.parse(manifest.data)
    assert found == manifest
    assert found.digest == digest_of(manifest.data)
    assert found.config == Blob(digest_of(config), len(config))
    assert found.blocks == Blob(digest_of(table), len(table))
    assert found.files == tuple(sorted(files))
    assert found.size == sum(file.size for file in files)
    assert found.by_path == {file.path: file for file in files}


@given(st.data(), LISTS)
def test_the_same_files_have_one_digest(data: st.DataObject, files: list[FileEntry]) -> None:
    shuffled = data.draw(st.permutations(files))
    first = Manifest.build(files, b"t")[0]
    assert Manifest.build(shuffled, b"t")[0].data == first.data
    assert Manifest.build(files, b"u")[0].digest != first.digest


def test_the_digest_does_not_tell_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    before = _some().digest
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert _some().digest == before
    # A golden value: a change of it would orphan every published version's identity.
    assert before == "sha256:52f4f88114827ed393ce9213451bcd8968e5e72c4c14dba02cf19be1faeae2a2"


def test_modelpack_fields() -> None:
    """Names and types as https://github.com/modelpack/model-spec/blob/main/docs/spec.md has them."""
    manifest, config = Manifest.build(_some().files, b"table")
    document = json.loads(manifest.data)
    assert document["schemaVersion"] == 2
    assert document["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert document["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert document["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    layers = {
        layer["annotations"]["org.cncf.model.filepath"]: layer for layer in document["layers"] if "annotations" in layer
    }
    kinds = {path: layer["mediaType"] for path, layer in layers.items()}
    assert kinds == {
        "README.md": "application/vnd.cncf.model.doc.v1.raw",
        "a.safetensors": "application/vnd.cncf.model.weight.v1.raw",
        "config.json": "application/vnd.cncf.model.weight.config.v1.raw",
        "sub/run.py": "application/vnd.cncf.model.code.v1.raw",
    }
    assert {path: layer["digest"] for path, layer in layers.items()} == {f.path: f.digest for f in manifest.files}
    assert document["layers"][-1]["mediaType"] == "application/vnd.hoist.blocks.v1.raw"
    card = json.loads(config)
    assert card["config"] == {"format": "safetensors"}
    assert card["modelfs"] == {"type": "layers", "diffIds": [layer["digest"] for layer in document["layers"]]}


@given(st.data())
def test_mutated_documents_are_refused_by_type(data: st.DataObject) -> None:
    raw = bytearray(_some().data)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for found in (bytes(raw), bytes(raw[:cut])):
        try:
            parsed = Manifest.parse(found)
        except HoistError as error:
            assert isinstance(error, InvalidManifest)
        else:
            assert [check_path(file.path) for file in parsed.files]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.sampled_from(["config", "layers", "mediaType", "artifactType", "layer", "path", "size", "digest"]), JSON)
def test_values_of_other_types_are_refused_by_type(place: str, value: Any) -> None:
    document = json.loads(_some().data)
    layer = document["layers"][0]
    holder, key = {
        "layer": (document["layers"], 0), "path": (layer["annotations"], FILEPATH),
        "size": (layer, "size"), "digest": (layer, "digest"),
    }.get(place, (document, place))  # fmt: skip
    holder[key] = value
    try:
        parsed = Manifest.parse(json.dumps(document).encode())
    except HoistError as error:
        assert isinstance(error, InvalidManifest)
    else:
        assert place in ("path", "size")
        assert all(type(file.size) is int and file.size >= 0 for file in parsed.files)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "./a",
        "a\\b",
        "a\nb",
        "a\0",
        "a\x7f",
        ".hoist",
        ".hoist/x",
        "\ud800",
        "é" * 513,
    ],
)
def test_unsafe_paths(path: str) -> None:
    with pytest.raises(InvalidManifest):
        check_path(path)
    with pytest.raises(InvalidManifest):
        Manifest.build([FileEntry(path, 1, digest_of(b""))], b"")
    document = json.loads(_some().data)
    document["layers"][0]["annotations"][FILEPATH] = path
    with pytest.raises(InvalidManifest):
        Manifest.parse(json.dumps(document).encode())


@pytest.mark.parametrize("path", ["a", "a/.hoist", "...", "a b", "é/字", ".hidden", "a:b", "x" * 1024])
def test_safe_paths(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize("paths", [[], ["a", "a"], ["a", "a/b"], ["a/b/c", "a"], ["a", "a-b", "a!", "a/b"]])
def test_lists_that_no_folder_can_hold(paths: list[str]) -> None:
    with pytest.raises(InvalidManifest):
        Manifest.build([FileEntry(path, number, digest_of(b"")) for number, path in enumerate(paths)], b"")


def test_names_that_only_begin_alike_stand_side_by_side() -> None:
    paths = ["a", "a-b/c", "a!/a", "ab/c", "b/a", "b/a.c", "b/a-/c"]
    entries = [FileEntry(path, 1, digest_of(b"")) for path in paths]
    assert {file.path for file in Manifest.build(entries, b"")[0].files} == set(paths)


def _add_table(document: Any) -> None:
    document["layers"].append(document["layers"][-1])


def _drop_table(document: Any) -> None:
    document["layers"].pop()


def _twice(document: Any) -> None:
    document["layers"].insert(0, document["layers"][0])


def _other(document: Any) -> None:
    document["artifactType"] = "application/vnd.oci.image.config.v1+json"


def _true_size(document: Any) -> None:
    document["layers"][0]["size"] = True


def _huge(document: Any) -> None:
    document["layers"][0]["size"] = 1 << 63


def _bomb(document: Any) -> None:
    document["layers"][-1]["size"] = 1 << 40


@pytest.mark.parametrize("spoil", [_add_table, _drop_table, _twice, _other, _true_size, _huge, _bomb])
def test_lying_documents(spoil: Callable[[Any], None]) -> None:
    document = json.loads(_some().data)
    spoil(document)
    with pytest.raises(InvalidManifest):
        Manifest.parse(json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b"null", b"[" * 200_000, b'"x"'])
def test_what_is_no_document(data: bytes) -> None:
    with pytest.raises(InvalidManifest):
        Manifest.parse(data)
