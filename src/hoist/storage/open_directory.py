"""Opens a path or a file:// URL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hoist.config import StorageConfig, local_path
from hoist.errors import InvalidConfig
from hoist.storage.base import Storage, Traits
from hoist.storage.directory import DirectoryObjects
from hoist.storage.tree import TreeStorage

# A deep queue of large reads is what fills a disk or an NFS mount; see docs/performance.md.
TRAITS = Traits(request_bytes=8 << 20, connections=8)


def open_storage(config: StorageConfig, kind: str, environ: Mapping[str, str]) -> Storage:
    """The directory at the config's path. It must be there at its first use: a mount that is missing is not made up for."""
    return TreeStorage(DirectoryObjects(root_of(config), config.address, TRAITS), kind)


def root_of(config: StorageConfig) -> Path:
    """The absolute path that a directory's config names; nothing is asked of the disk. Raises InvalidConfig."""
    path = config.url
    if path.startswith("file:"):
        parts = urlsplit(path)
        if parts.netloc not in ("", "localhost"):
            raise InvalidConfig(f"{config.url}: a file URL names a path of this machine, as in file:///srv/models")
        path = unquote(parts.path)
    root = local_path(path, f"storage {config.address!r}").absolute()
    if root == Path(root.anchor):
        raise InvalidConfig(f"storage {config.address!r}: the root folder cannot be a storage")
    return root
