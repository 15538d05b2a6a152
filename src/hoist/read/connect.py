"""From a storage address or a location to something that can be read, by hoist.toml and the environment."""

from __future__ import annotations

from pathlib import Path

from hoist.config import Config, load_config
from hoist.model.reference import parse_location
from hoist.read.cache.host import HostCache
from hoist.read.engine import Engine
from hoist.read.version import OpenedVersion, open_version
from hoist.storage import open_storage
from hoist.storage.base import Storage


def connect(address: str, config: Config | None = None) -> tuple[Storage, Engine]:
    """Open the storage at `address` and an engine with the configured limits. The caller closes the storage.

    Raises StorageNotFound, InvalidConfig.
    """
    config = config or load_config()
    return open_storage(config.storage(address), config.environ), Engine(config.engine)


def open_location(text: str, config: Config | None = None, *, check: bool = True) -> OpenedVersion:
    """Open the version at a location; the caller closes it; `check` as in `open_version`. Raises InvalidReference, NotFound,
    Unsigned, what a storage may."""
    location = parse_location(text)
    config = config or load_config()
    storage, engine = connect(location.storage, config)
    try:
        return open_version(storage, location.reference, engine, enabled_cache(config), check=check)
    except BaseException:
        storage.close()
        raise


def host_cache(config: Config | None = None, folder: Path | None = None) -> HostCache:
    """The host cache, wherever it is configured to be, also where loads do without; `folder` wins."""
    config = config or load_config()
    place = folder or config.cache.folder or config.cache_folder / "blocks"
    return HostCache(place, config.cache.size, recheck=config.engine.recheck)


def enabled_cache(config: Config | None = None) -> HostCache | None:
    """The host cache if loads and pulls are to use it."""
    config = config or load_config()
    return host_cache(config) if config.cache.enabled else None
