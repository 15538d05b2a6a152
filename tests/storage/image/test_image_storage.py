"""What an image storage writes, to the byte, and how it reads what others wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from image_making import LARGE, image_of, layout_of, open_images, put_blob, put_image, read

from hoist.errors import Conflict, HoistError, InvalidConfig, StorageNotFound, StorageUnsupported, VersionNotFound
from hoist.model.image.documents import INDEX_TYPE, MANIFEST_TYPE
from hoist.model.image.labels import VERSIONS
from hoist.model.manifest import FileEntry, Manifest, digest_of
from hoist.storage.base import Storage, Tag, Version
from hoist.testing.conformance import Content, publish
from hoist.testing.conformance.base import assert_holds, ref, sample, small

V1 = Version("sd15/any", "v1")
FILES = {
    "unet/w.safetensors": sample("unet", LARGE + 1),
    "vae.bin": sample("vae", LARGE),
    "config.json": b"{}",
    "empty": b"",
    "tokenizer/汉字.txt": b"words",
}
CONTENT = Content(FILES)


def test_the_image_of_a_version(tmp_path: Path) -> None:
    storage = layout_of(tmp_path / "images")
    publish(storage, "sd15/any:v1", CONTENT, tmp_path)
    image = image_of(storage.repositories, "sd15/any", "v1")
    notes = [layer["annotations"] for layer in image["layers"]]
    assert [note["dev.hoist.layer"] for note in notes] == ["file", "file", "files", "documents"]
    assert [note.get("dev.hoist.file") for note in notes[:2]] == [
        CONTENT.entries[path].digest for path in ("unet/w.safetensors", "vae.bin")
    ]
    assert notes[0]["org.cncf.model.filepath"] == "unet/w.safetensors"
    assert {layer["mediaType"] for layer in image["layers"]} == {"application/vnd.oci.image.layer.v1.tar"}
    config = json.loads(storage.repositories.read_blob("sd15/any", image["config"]["digest"], 1 << 20))
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in image["layers"]]
    assert (config["os"], config["architecture"], config["created"]) == ("linux", "amd64", "1970-01-01T00:00:00Z")
    assert config["config"]["Labels"][VERSIONS] == image["annotations"][VERSIONS]
    (held,) = json.loads(image["annotations"][VERSIONS])
    assert held == {
        "name": "sd15/any",
        "label": "v1",
        "digest": CONTENT.digest,
        "documents": image["layers"][-1]["digest"],
    }


def test_the_same_files_make_the_same_image(tmp_path: Path) -> None:
    one, two = layout_of(tmp_path / "one"), layout_of(tmp_path / "two")
    publish(one, "sd15/any:v1", CONTENT, tmp_path)
    backwards = Content(dict(reversed(FILES.items())))
    publish(two, "sd15/other:v1", backwards, tmp_path)
    publish(two, "sd15/any:v1", backwards, tmp_path)
    found = [storage.repositories.manifest("sd15/any", "v1").digest for storage in (one, two)]
    assert found[0] == found[1]
    # And they are these: whoever changes the format sends every model of everybody anew.
    assert found[0] == "sha256:17f2c55ce438e68f26e6c5ff93226a0e96101ed98520649b977c4421b12afbbd"


def test_a_new_version_keeps_layers(tmp_path: Path) -> None:
    storage = layout_of(tmp_path / "images")
    publish(storage, "sd15/any:v1", CONTENT, tmp_path)
    second = Content({**FILES, "vae.bin": sample("other", LARGE)})
    publication = storage.begin(Version("sd15/any", "v2"), second.digest)
    kept = [path for path, entry in second.entries.items() if publication.adopt(entry)]
    assert kept == ["unet/w.safetensors"]
    for path in FILES.keys() - set(kept):
        source = tmp_path / "source"
        source.write_bytes(second.files[path])
        publication.put_file(second.entries[path], source, lambda count: None)
        source.unlink()
    for blob in (second.config, second.table):
        publication.put_blob(blob)
    publication.commit(second.manifest)
    assert_holds(storage, "sd15/any:v2", second)
    layers = [
        [layer["digest"] for layer in image_of(storage.repositories, "sd15/any", label)["layers"]]
        for label in ("v1", "v2")
    ]
    # The small files are the same, too; the changed file and the documents are new.
    assert [digest in layers[0] for digest in layers[1]] == [True, False, True, False]
    storage.remove(V1)
    assert_holds(storage, "sd15/any:v2", second)


def test_three_hundred_files(tmp_path: Path) -> None:
    storage = layout_of(tmp_path / "images")
    content = Content(
        {f"part-{number % 7}/{number:03}.bin": sample(str(number), 3000 + number) for number in range(300)}
    )
    publish(storage, "many:v1", content, tmp_path)
    assert len(image_of(storage.repositories, "many", "v1")["layers"]) == 2
    assert_holds(storage, "many:v1", content)


def test_more_large_files_than_layers(tmp_path: Path) -> None:
    """Neighbours share a layer, which is sent when the last of them is put; who does not tell before is refused."""
    storage = layout_of(tmp_path / "images")
    source = tmp_path / "zeros"
    with source.open("wb") as file:
        file.truncate(LARGE)
    digest = digest_of(bytes(LARGE))
    entries = [FileEntry(f"{number:03}.bin", LARGE, digest) for number in range(99)]
    manifest, config = Manifest.build(entries, b"")
    told: list[int] = []
    for tell in (False, True):
        publication = storage.begin(Version("many", "v1"), manifest.digest)
        if tell:
            publication.expect(manifest.files)
        for entry in entries:
            publication.put_file(entry, source, told.append)
        publication.put_blob(config)
        publication.put_blob(b"")
        if tell:
            publication.commit(manifest)
        else:
            with pytest.raises(StorageUnsupported, match="98 large files"):
                publication.commit(manifest)
            told.clear()
    assert len(image_of(storage.repositories, "many", "v1")["layers"]) == 99
    found, read_manifest = storage.resolve(ref("many:v1"))
    image, held = storage.look_up(found)
    for path in ("000.bin", "050.bin", "098.bin"):
        placed, _ = image.documents(held).find(read_manifest.by_path[path])
        assert len(placed.files) == (2 if path == "098.bin" else 1)


def test_a_name_that_would_remove_another(tmp_path: Path) -> None:
    storage = layout_of(tmp_path / "images")
    content = Content({".wh.config.json": b"1", "config.json": b"2"})
    publication = storage.begin(V1, content.digest)
    with pytest.raises(StorageUnsupported, match="rename"):
        publication.expect(content.manifest.files)
    with pytest.raises(StorageUnsupported, match="rename"):
        publish(storage, "sd15/any:v1", content, tmp_path)
    assert list(storage.versions()) == []


def test_a_file_that_changed_since_it_was_hashed(tmp_path: Path) -> None:
    storage = layout_of(tmp_path / "images")
    publication = storage.begin(V1, CONTENT.digest)
    source = tmp_path / "source"
    source.write_bytes(b"[]")
    with pytest.raises(HoistError, match="changed"):
        publication.put_file(CONTENT.entries["config.json"], source, lambda count: None)


@pytest.fixture
def images(tmp_path: Path) -> Storage:
    """A layout with one version, and images of others beside it."""
    storage = layout_of(tmp_path / "images")
    publish(storage, "sd15/any:v1", small("one"), tmp_path)
    repositories = storage.repositories
    config = put_blob(repositories, "sd15/any", b"{}")
    descriptor = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2}
    foreign = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": descriptor, "layers": []}
    put_image(repositories, "sd15/any", "foreign", foreign)
    put_image(repositories, "library/busybox", "1", foreign)
    mine = image_of(repositories, "sd15/any", "v1")
    put_image(repositories, "sd15/any", "lies", {**mine, "annotations": {VERSIONS: "no list"}})
    put_image(repositories, "runnable", "1", mine)
    put_image(
        repositories, "sd15/any", f"sha256-{'0' * 64}.sig", {**mine, "annotations": {**mine["annotations"], "a": "b"}}
    )
    put_image(repositories, "sd15/any", "v1-modelpack", mine)
    return storage


def test_images_of_others_are_not_listed(images: Storage) -> None:
    assert list(images.versions()) == [V1]
    assert list(images.versions("library/busybox")) == []
    assert list(images.tags()) == []
    with pytest.raises(VersionNotFound):
        images.resolve(ref("library/busybox:1"))


def test_images_of_others_are_left_alone(images: Storage) -> None:
    digest = small("one").digest
    for label in ("foreign", "lies"):
        with pytest.raises(HoistError):
            images.begin(Version("sd15/any", label), digest)
        with pytest.raises(HoistError):
            images.set_tag(Tag("sd15/any", label, "v1", digest))
    with pytest.raises(Conflict):
        images.occupied(Version("sd15/any", "foreign"))
    with pytest.raises(VersionNotFound):
        images.remove(Version("sd15/any", "foreign"))
    with pytest.raises(VersionNotFound):
        images.remove_tag("sd15/any", "foreign")


def test_one_image(images: Storage, tmp_path: Path) -> None:
    url = f"oci-layout://{tmp_path}/images"
    content = small("one")
    digest = image_digest(images, "runnable", "1")
    for address in (f"{url}:runnable:1", f"{url}:runnable@{digest}"):
        with open_images(address, tmp_path) as one:
            assert list(one.versions()) == [V1]
            assert list(one.versions("other")) == []
            assert list(one.tags()) == []
            assert_holds(one, "sd15/any:v1", content)
            with pytest.raises(VersionNotFound):
                one.resolve(ref("sd15/any:v2"))
            for change in (
                lambda one=one: one.begin(V1, content.digest),
                lambda one=one: one.occupied(V1),
                lambda one=one: one.set_tag(Tag("sd15/any", "x", "v1", content.digest)),
                lambda one=one: one.remove_tag("sd15/any", "x"),
                lambda one=one: one.remove(V1),
            ):
                with pytest.raises(StorageUnsupported, match="one image"):
                    change()
    for address in (f"{url}:runnable:2", f"{url}:library/busybox:1"):
        with open_images(address, tmp_path) as one, pytest.raises(StorageNotFound):
            list(one.versions())
    for bad in (f"{url}:UPPER:1", f"{url}:a:", f"{url}:a@sha256:1"):
        with pytest.raises(InvalidConfig):
            open_images(bad, tmp_path)


def image_digest(storage: Storage, repository: str, tag: str) -> str:
    return storage.repositories.manifest(repository, tag).digest  # type: ignore[attr-defined, no-any-return]


def test_an_index_is_followed(tmp_path: Path) -> None:
    storage = layout_of(tmp_path / "images")
    publish(storage, "sd15/any:v1", small("one"), tmp_path)
    repositories = storage.repositories
    mine = repositories.manifest("sd15/any", "v1")
    config = put_blob(repositories, "sd15/any", b"{}")
    descriptor = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2}
    other = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": descriptor, "layers": []}
    digest = put_image(repositories, "sd15/any", "other", other)
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [
            {"mediaType": MANIFEST_TYPE, "digest": digest, "size": len(json.dumps(other))},
            {"mediaType": MANIFEST_TYPE, "digest": mine.digest, "size": len(mine.data)},
        ],
    }
    storage.repositories.untag("sd15/any", "v1")
    put_image(repositories, "sd15/any", "v1", index)
    assert list(storage.versions()) == [V1]
    assert_holds(storage, "sd15/any:v1", small("one"))
    storage.remove(V1)
    assert list(storage.versions()) == []


def test_a_version_that_was_published_anew_by_somebody_else(tmp_path: Path) -> None:
    """What is remembered of an image gives way when a file of another content is asked for."""
    one, two = layout_of(tmp_path / "images"), layout_of(tmp_path / "images")
    first, second = small("one"), small("two")
    publish(one, "sd15/any:v1", first, tmp_path)
    assert read(two, V1, first, "config.json") == first.files["config.json"]
    one.remove(V1)
    publish(one, "sd15/any:v1", second, tmp_path)
    assert read(two, V1, second, "config.json") == second.files["config.json"]


def test_addresses(tmp_path: Path) -> None:
    for url in (
        "oci-layout://host/path",
        "oci-layout:///",
        "oci://",
        "oci://host/UPPER",
        "oci://host/a:",
        "oci://host/:v1",
    ):
        with pytest.raises(InvalidConfig):
            open_images(url, tmp_path)
    (tmp_path / "a:b").mkdir()
    with open_images(f"oci-layout://{tmp_path}/a:b", tmp_path) as storage:
        assert list(storage.versions()) == []
    with open_images("oci://127.0.0.1:1/prefix", tmp_path) as storage:
        assert storage.kind == "image"
