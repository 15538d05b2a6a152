"""What others than its owner may do with a storage, by its kind."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from hoist.audit.finding import Finding
from hoist.config import StorageConfig
from hoist.errors import HoistError
from hoist.storage import is_bucket, layout
from hoist.storage.base import Storage, Version
from hoist.storage.image.reading import ImageReader
from hoist.storage.image.storage import ImageStorage
from hoist.storage.oci.layout import LayoutFolder
from hoist.storage.oci.registry import Registry
from hoist.storage.posix import os_error
from hoist.storage.tree import TreeStorage
from hoist.storage.wrap import Wrapper


def check_protection(
    storage: Storage, config: StorageConfig, environ: Mapping[str, str], versions: Iterable[Version]
) -> Iterator[Finding]:
    """All findings about a storage that holds `versions`. Raises StorageUnavailable, LocalError."""
    storage = _unwrapped(storage)
    root = folder_of(storage)
    if root is not None:
        from hoist.audit.directory import check_directory

        try:
            yield from check_directory(root, storage.address, read_only=isinstance(storage, TreeStorage))
        except OSError as error:
            raise os_error(error, storage.address, f"the permissions of {root}") from None
    elif isinstance(storage, TreeStorage) and is_bucket(config):
        from hoist.audit.bucket import BucketProtection
        from hoist.storage.bucket import BucketObjects

        assert isinstance(storage.objects, BucketObjects)
        yield from BucketProtection(storage.objects, config, environ, _some_keys(storage, versions)).run()
    elif isinstance(storage, ImageStorage) and isinstance(storage.repositories, Registry):
        from hoist.audit.registry import check_registry

        for version in islice(versions, 1):
            yield from check_registry(config, environ, storage.repository_of(version.name))
    elif isinstance(storage, TreeStorage) and config.url.startswith("nfs:"):
        yield from _share(storage, config)


def _share(storage: TreeStorage, config: StorageConfig) -> Iterator[Finding]:
    """The folder of an NFS server; who may mount it is the server's to say."""
    from hoist.storage.nfs.objects import NfsObjects

    assert isinstance(storage.objects, NfsObjects)
    for key in ("", ".hoist"):
        mode = storage.objects.mode(key)
        if mode & stat.S_IWOTH:
            detail = f"everybody who may mount it may write {key or 'it'} ({stat.filemode(mode)})"
            where = f"{config.url.rstrip('/')}/{key}"
            yield Finding("unprotected", "error", storage.address, where, detail, "chmod o-w it on the server")


def _unwrapped(storage: Storage) -> Storage:
    while isinstance(storage, Wrapper):
        storage = storage.inner
    return storage


def folder_of(storage: Storage) -> Path | None:
    """The folder of this machine that a storage is; None if it is none."""
    from hoist.storage.directory import DirectoryObjects

    storage = _unwrapped(storage)
    if isinstance(storage, TreeStorage):
        return storage.objects.root if isinstance(storage.objects, DirectoryObjects) else None
    if isinstance(storage, ImageReader) and isinstance(storage.repositories, LayoutFolder):
        return storage.repositories.root
    return None


def _some_keys(storage: TreeStorage, versions: Iterable[Version]) -> tuple[str, ...]:
    """Of a version that is there, its manifest and a file: either may be public by itself."""
    from hoist.model.manifest import Manifest

    for version in versions:
        try:
            manifest = Manifest.parse(storage.read_manifest(version))
        except HoistError:
            continue
        return layout.manifest_key(version), layout.file_key(version, manifest.files[0].path)
    return ()
