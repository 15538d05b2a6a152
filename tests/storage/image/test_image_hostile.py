"""Images that lie: whatever is wrong in them is Damaged, and nobody reads a byte outside of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from image_making import image_of, layout_of, put_blob, put_image, read, replaced_layer

from hoist.errors import Damaged, StorageUnsupported
from hoist.model.image.layers import Member, documents_layer
from hoist.model.image.tar import END, header
from hoist.model.image.untar import members_of
from hoist.storage.base import Version
from hoist.storage.image.inflate import compression_of, inflate
from hoist.testing.conformance import publish
from hoist.testing.conformance.base import small

V1 = Version("sd15/any", "v1")
FOLDER = "models/.hoist/versions/sd15/any/v1"
CONTENT = small("one")


def repacked(change: Callable[[dict[str, bytes]], object]) -> Callable[[bytes], bytes]:
    """Change the documents of a documents layer."""

    def run(data: bytes) -> bytes:
        files = {
            each.path: data[each.offset : each.offset + each.size] for each in members_of(data) if each.kind == "file"
        }
        change(files)
        return documents_layer(Member("file", path, len(blob)) for path, blob in files.items()).to_bytes(files)

    return run


def contents(change: Callable[[str], str]) -> Callable[[bytes], bytes]:
    def run(files: dict[str, bytes]) -> None:
        files[f"{FOLDER}/image.json"] = change(files[f"{FOLDER}/image.json"].decode()).encode()

    return repacked(run)


WRONG = {
    "no archive": lambda data: b"x" * 5000,
    "cut off": lambda data: data[:700],
    "a path outside": lambda data: header("file", "../evil") + data,
    "twice": lambda data: data[: -len(END)] + data,
    "no manifest": repacked(lambda files: files.pop(f"{FOLDER}/manifest.json")),
    "another manifest": repacked(lambda files: files.update({f"{FOLDER}/manifest.json": b"{}"})),
    "no image.json": repacked(lambda files: files.pop(f"{FOLDER}/image.json")),
    "malformed image.json": contents(lambda text: text[:-3]),
    "another size": contents(lambda text: text.replace('"size":64', '"size":63')),
    "no such file": contents(lambda text: text.replace('"path":"config.json"', '"path":"c.json"')),
    "no such layer": contents(lambda text: text.replace('"diff_id":"sha256:', '"diff_id":"sha256:0')[:71] + text[71:]),
    "a layer of nobody": contents(lambda text: text.replace(text[23:87], "0" * 64)),
    "far behind the end": contents(lambda text: text.replace('"offset":', '"offset":9999')),
    "a negative offset": contents(lambda text: text.replace('"offset":', '"offset":-')),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_documents_layer_that_lies(tmp_path: Path, name: str) -> None:
    storage = layout_of(tmp_path / "images")
    publish(storage, "sd15/any:v1", CONTENT, tmp_path)
    replaced_layer(storage.repositories, "sd15/any", "v1", -1, WRONG[name])
    with pytest.raises(Damaged):
        storage.read_manifest(V1)
        read(storage, V1, CONTENT, "config.json")


@pytest.mark.parametrize("key", ["config", "layers"])
def test_a_config_that_does_not_fit(tmp_path: Path, key: str) -> None:
    """Asked only where a layer is compressed; then it has to fit."""
    storage = layout_of(tmp_path / "images")
    publish(storage, "sd15/any:v1", CONTENT, tmp_path)
    repositories = storage.repositories
    image = image_of(repositories, "sd15/any", "v1")
    packed = gzip.compress(repositories.read_blob("sd15/any", image["layers"][-1]["digest"], 1 << 20))
    image["layers"][-1] |= {"digest": put_blob(repositories, "sd15/any", packed), "size": len(packed)}
    image["layers"][-1]["mediaType"] += "+gzip"
    if key == "config":
        image["config"] |= {"digest": put_blob(repositories, "sd15/any", b"{"), "size": 1}
    else:
        image["layers"] = image["layers"][1:]
    put_image(repositories, "sd15/any", "v1", image)
    with pytest.raises(Damaged):
        storage.read_manifest(V1)


@pytest.mark.parametrize("how", ["gzip", "zstd"])
@pytest.mark.parametrize("wrong", ["right", "bomb", "other", "cut"])
def test_a_compressed_layer(tmp_path: Path, how: str, wrong: str) -> None:
    storage = layout_of(tmp_path / "images")
    publish(storage, "sd15/any:v1", CONTENT, tmp_path)
    repositories = storage.repositories
    image = image_of(repositories, "sd15/any", "v1")
    data = repositories.read_blob("sd15/any", image["layers"][0]["digest"], 1 << 20)
    data = {"bomb": data + bytes(64 << 20), "other": b"y" * len(data)}.get(wrong, data)
    packed = gzip.compress(data) if how == "gzip" else zstandard.compress(data)
    if wrong == "cut":
        packed = packed[:-9]
    image["layers"][0] |= {"digest": put_blob(repositories, "sd15/any", packed), "size": len(packed)}
    image["layers"][0]["mediaType"] += f"+{how}"
    put_image(repositories, "sd15/any", "v1", image)
    if wrong == "right":
        assert read(storage, V1, CONTENT, "unet/weights.bin") == CONTENT.files["unet/weights.bin"]
        storage.close()
        return
    with pytest.raises(Damaged):
        read(storage, V1, CONTENT, "unet/weights.bin")


def test_streams_one_behind_the_other() -> None:
    parts = [b"a" * 3_000_000, b"", b"b" * 10]
    whole = b"".join(parts)
    for how, packed in (
        ("gzip", b"".join(map(gzip.compress, parts))),
        ("zstd", b"".join(map(zstandard.compress, parts))),
        ("", whole),
    ):
        for step in (1 << 20, 7):
            slices = (memoryview(packed)[at : at + step] for at in range(0, len(packed), step))
            if step == 7 and not how:
                continue
            assert b"".join(inflate(slices, how, len(whole))) == whole  # type: ignore[arg-type]
        with pytest.raises(Damaged, match="more than"):
            list(inflate(iter([memoryview(packed)]), how, len(whole) - 1))  # type: ignore[arg-type]


def test_what_cannot_be_inflated() -> None:
    for how in ("gzip", "zstd"):
        for data in (b"nonsense", b"\x1f\x8b\x08" + bytes(20), b"\x28\xb5\x2f\xfd" + b"\xff" * 20):
            with pytest.raises(Damaged):
                list(inflate(iter([memoryview(data)]), how, 1 << 20))
    assert [compression_of(f"application/vnd.oci.image.layer.v1.tar{end}") for end in ("", "+gzip", "+zstd")] == [
        "",
        "gzip",
        "zstd",
    ]
    assert compression_of("application/vnd.docker.image.rootfs.diff.tar.gzip") == "gzip"
    with pytest.raises(StorageUnsupported, match="encrypted"):
        compression_of("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")


def test_versions_that_nobody_can_have(tmp_path: Path) -> None:
    storage = layout_of(tmp_path / "images")
    publish(storage, "sd15/any:v1", CONTENT, tmp_path)
    image = image_of(storage.repositories, "sd15/any", "v1")
    text = image["annotations"]["dev.hoist.versions"]
    for changed in ("{}", "[", text.replace("sd15/any", "../../etc"), text.replace("v1", "v1/../v2"), json.dumps([1])):
        image["annotations"]["dev.hoist.versions"] = changed
        put_image(storage.repositories, "sd15/any", "v1", image)
        assert list(storage.versions()) == []
