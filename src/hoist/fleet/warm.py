"""Bringing a version into this host's cache before it is needed, and telling how much of it is here already."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, replace

from hoist.config import Config, load_config
from hoist.errors import HoistError
from hoist.progress import Progress
from hoist.read.connect import host_cache, open_location
from hoist.transfer.cached import keep_version


@dataclass(frozen=True, slots=True)
class Warmed:
    """What one node has of a version now: `fetched_bytes` came from the storage in this run. `error`: why it has not."""

    node: str
    files: int = 0
    size: int = 0
    fetched_bytes: int = 0
    seconds: float = 0.0
    error: str | None = None


def warm_here(location: str, progress: Progress, config: Config | None = None) -> Warmed:
    """Bring the version at a location into this host's cache, all that is not there yet.

    Of a version that lies on a disk of this host, nothing is brought. Raises LocalError if there is no room, and what a
    storage may.
    """
    began = time.monotonic()
    config = config or load_config()
    used = replace(config, cache=replace(config.cache, enabled=True))
    with open_location(location, used) as opened:
        size, files = sum({each.digest: each.size for each in opened.files.values()}.values()), len(opened.files)
        fetched = 0
        if opened.kept_in:
            kept = keep_version(opened, host_cache(config), progress, pin=False)
            files, fetched = kept.files, kept.fetched_bytes
    return Warmed(socket.gethostname(), files, size, fetched, time.monotonic() - began)


def try_warm(location: str, config: Config | None = None) -> Warmed:
    """As `warm_here`, with what goes wrong told in the value: for a node among others."""
    try:
        return warm_here(location, Progress(), config)
    except HoistError as error:
        return Warmed(socket.gethostname(), error=str(error))


def held_share(location: str, config: Config | None = None) -> float:
    """How much of a version's bytes this host's cache holds, from 0 to 1; 1 for what lies on a disk of this host.

    Raises what a storage may.
    """
    config = config or load_config()
    used = replace(config, cache=replace(config.cache, enabled=True))
    with open_location(location, used) as opened:
        if not opened.kept_in:
            return 1.0
        held = {entry.digest: entry.held_bytes for entry in host_cache(config).entries()}
        sizes = {entry.digest: entry.size for entry in opened.files.values()}
    size = sum(sizes.values())
    return sum(min(size, held.get(digest, 0)) for digest, size in sizes.items()) / size if size else 1.0
