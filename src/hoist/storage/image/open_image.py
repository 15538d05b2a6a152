"""Opens registries (oci://), OCI image-layout folders (oci-layout://) and archives of one (oci-archive://)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hoist.config import StorageConfig
from hoist.errors import InvalidConfig
from hoist.model.reference import is_label
from hoist.settings import local_path
from hoist.storage.base import Storage
from hoist.storage.image.single import SingleImage
from hoist.storage.image.storage import ImageStorage
from hoist.storage.oci.archive import LayoutArchive
from hoist.storage.oci.layout import LayoutFolder
from hoist.storage.oci.open_registry import open_registry
from hoist.storage.oci.repositories import Repositories

_PREFIX = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_IMAGE = re.compile(
    r"(?P<repository>[^:@]*)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))"
)


def open_storage(config: StorageConfig, kind: str, environ: Mapping[str, str]) -> Storage:
    """The storage at the config's URL; with `REPOSITORY:TAG` or `REPOSITORY@sha256:DIGEST` at its end one image."""
    repositories: Repositories
    if config.scheme == "oci":
        repositories, path = open_registry(config, environ, retry_seconds=config.retry_seconds)
        if ":" in path or "@" in path:
            return SingleImage(repositories, *split_image(path, config.address), kind)
        if path and not _PREFIX.fullmatch(path):
            raise InvalidConfig(
                f"storage {config.address!r}: {path!r} is no prefix of repositories: use lower-case names"
            )
        return ImageStorage(repositories, path, kind)
    folder, image = _split(_path(config))
    repositories = (LayoutArchive if config.scheme == "oci-archive" else LayoutFolder)(folder, config.address)
    if image:
        return SingleImage(repositories, *_split_local(image, config.address), kind)
    return ImageStorage(repositories, "", kind)


def split_image(text: str, address: str) -> tuple[str, str]:
    """`REPOSITORY:TAG` or `REPOSITORY@sha256:DIGEST` as the repository and the tag or digest. Raises InvalidConfig."""
    found = _IMAGE.fullmatch(text)
    if not found or not _PREFIX.fullmatch(found["repository"]):
        raise InvalidConfig(
            f"storage {address!r}: {text!r} is no image: write REPOSITORY:TAG or REPOSITORY@sha256:DIGEST"
        )
    return found["repository"], found["tag"] or found["digest"]


def _split_local(text: str, address: str) -> tuple[str, str]:
    """As `split_image`; other tools write a tag alone into a layout."""
    return ("", text) if is_label(text) else split_image(text, address)


def _path(config: StorageConfig) -> Path:
    parts = urlsplit(config.url)
    if parts.netloc not in ("", "localhost") or not parts.path.strip("/"):
        raise InvalidConfig(
            f"storage {config.address!r}: {config.url} names a path of this machine, as in {parts.scheme}:///srv/images"
        )
    return local_path(unquote(parts.path), f"storage {config.address!r}").absolute()


def _split(path: Path) -> tuple[Path, str]:
    """A path, and the image in it that is named behind a colon, as skopeo does; a path that is there is a path."""
    head, colon, image = str(path).partition(":")
    return (Path(head), image) if colon and not path.exists() else (path, "")
