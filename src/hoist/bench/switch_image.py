"""What a switch to a model in a container image needs: the layer that has its bytes, and a place to pull the image to."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeGuard
from urllib.parse import urlsplit

from hoist.bench.image_tools import INSTALL
from hoist.bench.peers.base import find
from hoist.bench.podman import Podman
from hoist.config import StorageConfig
from hoist.model.image.descriptor import Descriptor
from hoist.model.manifest import FileEntry
from hoist.storage.base import Storage, Version
from hoist.storage.image.reading import ImageReader

PULLED, PODMAN = "pulled", "podman"
WHOLE = (PULLED, PODMAN)
"""The loaders that pull an image whole before they load."""


@dataclass(frozen=True, slots=True)
class BlobUrl:
    """Where a layer can be read over plain HTTP, and its size in bytes."""

    url: str
    size: int


def is_image(storage: Storage) -> TypeGuard[ImageReader]:
    """Whether versions lie in container images there."""
    return isinstance(storage, ImageReader)


def blob_path(storage: ImageReader, version: Version, entry: FileEntry, served_from: Path) -> Path:
    """The file in which docker-registry, whose data folder is `served_from`, keeps the layer of a file."""
    name = _layer(storage, version, entry).digest.partition(":")[2]
    return served_from / "docker" / "registry" / "v2" / "blobs" / "sha256" / name[:2] / name / "data"


def blob_url(storage: ImageReader, where: StorageConfig, version: Version, entry: FileEntry) -> BlobUrl | None:
    """The URL of a file's layer; None where it takes more than a plain GET."""
    host = _plain_host(where)
    if host is None:
        return None
    layer = _layer(storage, version, entry)
    return BlobUrl(f"http://{host}/v2/{storage.look_up(version)[0].repository}/blobs/{layer.digest}", layer.size)


def podman_unable(where: StorageConfig) -> str | None:
    """None where podman can pull from this storage; else why not."""
    if find("podman") is None:
        return f"not installed (podman): {INSTALL}"
    return None if urlsplit(where.url).scheme == "oci" else "pulls from registries only"


class Pulled:
    """A place for what a loader pulls, for the length of a `with` block: nothing is there before, nor afterwards.

    `told` is what a switch is told of it.
    """

    def __init__(
        self, loader: str, storage: ImageReader, where: StorageConfig, version: Version, entry: FileEntry, folder: Path
    ) -> None:
        self._folder = folder
        self._podman: Podman | None = None
        self.told: dict[str, Any] = {"folder": str(folder)}
        if loader == PODMAN:
            self._podman = Podman(folder / "podman")
            image = storage.look_up(version)[0]
            host = urlsplit(where.endpoint or where.url).netloc
            self.told |= {
                "podman": self._podman.words,
                "tls": _plain_host(where) is None,
                "image": f"{host}/{image.repository}@{image.document.digest}",
                "member": f"models/{version.name}/{version.label}/{entry.path}",
            }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._podman:
            self._podman.__exit__(kind, error, trace)
        shutil.rmtree(self._folder, ignore_errors=True)
        # Whoever comes next should not share the disk with what is still being written.
        os.sync()


def _layer(storage: ImageReader, version: Version, entry: FileEntry) -> Descriptor:
    image, held = storage.look_up(version)
    return image.layer(image.documents(held).find(entry)[0].diff_id)


def _plain_host(where: StorageConfig) -> str | None:
    """`HOST:PORT` of a registry that is reached over plain HTTP."""
    parts = urlsplit(where.endpoint or where.url)
    if where.endpoint:
        return parts.netloc if parts.scheme == "http" else None
    local = parts.scheme == "oci" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    return parts.netloc if local else None
