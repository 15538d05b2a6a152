"""Opened versions: damaged cards are typed errors, names that are not there come with the nearest."""

from __future__ import annotations

import json

import pytest

from hoist.errors import FileNotFound, HoistError, InvalidManifest, VersionNotFound
from hoist.model.reference import parse_reference
from hoist.read.connect import open_location
from hoist.read.version import OpenedVersion
from hoist.storage import layout
from hoist.storage.base import Tag, Version
from hoist.storage.tree import TreeStorage
from makers import V1, memory_storage, noise, opened, put_tag, put_version

FILES = {"config.json": b"{}", "unet/model.safetensors": noise(3000), "vae/model.bin": noise(1000, 1)}
VERSION = Version("m/one", "v1")


@pytest.fixture
def storage() -> TreeStorage:
    found = memory_storage()
    put_version(found, FILES, 512)
    return found


def test_files_are_read(storage: TreeStorage) -> None:
    with opened(storage) as version:
        assert {path: version.read(path) for path in version.files} == FILES
        assert version.entry("config.json").size == 2


def test_an_unknown_file_names_the_nearest(storage: TreeStorage) -> None:
    with pytest.raises(FileNotFound, match=r"no file 'vae/model.bim'; it has vae/model.bin"):
        opened(storage).entry("vae/model.bim")


def test_by_tag_and_by_digest(storage: TreeStorage) -> None:
    digest = opened(storage).manifest.digest
    storage.set_tag(Tag("m/one", "stable", "v1", digest))
    for text in ("m/one:stable", f"m/one@{digest}"):
        assert opened(storage, parse_reference(text)).version == VERSION
    for text in ("m/one:v2", "m/two:v1", "m/one@sha256:" + "0" * 64):
        with pytest.raises(VersionNotFound):
            opened(storage, parse_reference(text))


def test_a_tag_whose_version_was_published_anew_is_refused(storage: TreeStorage) -> None:
    put_tag(storage, "m/one", "stable", "v1")
    with pytest.raises(VersionNotFound, match="points at"):
        opened(storage, parse_reference("m/one:stable"))


def _use(storage: TreeStorage) -> OpenedVersion:
    version = opened(storage)
    for path in version.files:
        version.read(path)
    return version


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff" * 40, b"null"])
def test_a_damaged_manifest(storage: TreeStorage, data: bytes) -> None:
    storage.objects.put(layout.manifest_key(VERSION), data)
    with pytest.raises(InvalidManifest):
        _use(storage)


@pytest.mark.parametrize("at", [0, 9, 60, -1])
def test_a_flipped_block_table(storage: TreeStorage, at: int) -> None:
    key = layout.blob_key(VERSION, opened(storage).manifest.blocks.digest)
    data = bytearray(storage.objects.get(key).data)
    data[at] ^= 1
    storage.objects.put(key, bytes(data))
    with pytest.raises(InvalidManifest, match=r"the block table of m/one:v1 in memory:// is damaged"):
        _use(storage)


def test_a_truncated_or_missing_block_table(storage: TreeStorage) -> None:
    key = layout.blob_key(VERSION, opened(storage).manifest.blocks.digest)
    storage.objects.put(key, storage.objects.get(key).data[:-1])
    with pytest.raises(InvalidManifest):
        _use(storage)
    storage.objects.delete([key])
    with pytest.raises(FileNotFound):
        _use(storage)


def test_a_manifest_that_lies_about_a_size(storage: TreeStorage) -> None:
    key = layout.manifest_key(VERSION)
    document = json.loads(storage.objects.get(key).data)
    document["layers"][0]["size"] += 1
    storage.objects.put(key, json.dumps(document).encode())
    with pytest.raises(InvalidManifest, match="does not match the manifest"):
        _use(storage)


def test_every_flip_in_the_card_is_a_typed_error_or_harmless(storage: TreeStorage) -> None:
    keys = [layout.manifest_key(VERSION), layout.blob_key(VERSION, opened(storage).manifest.blocks.digest)]
    for key in keys:
        whole = storage.objects.get(key).data
        for at in range(0, len(whole), 7):
            storage.objects.put(key, whole[:at] + bytes([whole[at] ^ 8]) + whole[at + 1 :])
            try:
                version = _use(storage)
            except HoistError:
                continue
            assert key == keys[0]
            assert {version.read(path) for path in version.files} <= set(FILES.values())
        storage.objects.put(key, whole)


def test_a_location_that_is_not_there_closes_the_storage(tmp_path: object) -> None:
    with pytest.raises(VersionNotFound):
        open_location(f"{tmp_path}//{V1}")
