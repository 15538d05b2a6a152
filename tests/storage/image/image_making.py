"""What the tests of image storages make: layouts with versions in them, and images that lie."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hoist.config import StorageConfig
from hoist.model.manifest import digest_of
from hoist.storage import open_storage
from hoist.storage.base import Storage, StoredFile, Version
from hoist.storage.image.storage import ImageStorage
from hoist.storage.oci.layout import LayoutFolder
from hoist.storage.oci.repositories import Repositories
from hoist.testing.conformance import Content

LARGE = 4 << 20


def open_images(url: str, home: Path) -> Storage:
    """The storage at a URL, for a user with that home."""
    return open_storage(StorageConfig("images", url), {"HOME": str(home)})


def layout_of(folder: Path) -> ImageStorage:
    """A storage over the layout in a folder."""
    folder.mkdir(exist_ok=True)
    return ImageStorage(LayoutFolder(folder, str(folder)), "", "image")


def image_of(repositories: Repositories, repository: str, tag: str) -> dict[str, Any]:
    """The manifest under a tag, as JSON."""
    found = json.loads(repositories.manifest(repository, tag).data)
    assert isinstance(found, dict)
    return found


def put_blob(repositories: Repositories, repository: str, data: bytes) -> str:
    """Store some bytes; their digest."""

    def chunks(offset: int) -> Iterator[memoryview]:
        yield memoryview(data)[offset:]

    return repositories.put_blob(repository, digest_of(data), len(data), chunks, lambda count: None)


def put_image(repositories: Repositories, repository: str, tag: str, image: Mapping[str, Any]) -> str:
    """Store a manifest under a tag; its digest."""
    data = json.dumps(image).encode()
    repositories.put_manifest(repository, tag, data, str(image["mediaType"]))
    return digest_of(data)


def replaced_layer(
    repositories: Repositories, repository: str, tag: str, number: int, change: Callable[[bytes], bytes]
) -> None:
    """Give the image under a tag another layer, with digests that are right, so that everything but its content is."""
    image = image_of(repositories, repository, tag)
    old = image["layers"][number]
    data = change(repositories.read_blob(repository, old["digest"], 1 << 30))
    new = put_blob(repositories, repository, data)
    text = json.dumps(image).replace(old["digest"], new)
    image = json.loads(text)
    image["layers"][number]["size"] = len(data)
    config = repositories.read_blob(repository, image["config"]["digest"], 1 << 30).replace(
        old["digest"].encode(), new.encode()
    )
    image["config"] |= {"digest": put_blob(repositories, repository, config), "size": len(config)}
    put_image(repositories, repository, tag, image)


def read(storage: Storage, version: Version, content: Content, path: str) -> bytes:
    """A file of a version."""
    entry = content.entries[path]
    data = bytearray(entry.size)
    storage.read_into(StoredFile(version, entry), 0, memoryview(data))
    return bytes(data)
