"""The host cache: what it holds, what it keeps, how much it may hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hoist.config import Config, load_config, parse_size
from hoist.errors import Conflict, InvalidConfig
from hoist.model.reference import looks_like_location
from hoist.progress import Progress
from hoist.read.cache.entries import CacheEntry, CacheUsage, find_entries
from hoist.read.cache.host import HostCache
from hoist.read.connect import host_cache as find_cache
from hoist.read.connect import open_location
from hoist.transfer.cached import CacheVerified, Pinned, pin_version, verify_cache


def host_cache(config: Config | None = None) -> HostCache:
    """The host cache as it is configured: `.entries()`, `.usage()`, `.trim()`, and what else it can do by itself."""
    return find_cache(config)


def cache_pin(target: str, *, progress: Progress | None = None, config: Config | None = None) -> Pinned:
    """Bring the version at a location whole into the host cache, and never evict it; or pin what the cache has of a
    file, a version without its storage, or a digest.

    Raises FileNotFound, UsageError, LocalError, and what a storage may.
    """
    config = config or load_config()
    cache = find_cache(config)
    if not looks_like_location(target):
        found = find_entries(cache.entries(), target)
        for entry in found:
            cache.pin(entry.name)
        return Pinned(len(found), sum(entry.size for entry in found), 0, 0.0)
    used = replace(config, cache=replace(config.cache, enabled=True))
    with open_location(target, used) as opened:
        return pin_version(opened, cache, progress or Progress())


def cache_unpin(target: str, *, config: Config | None = None) -> Sequence[CacheEntry]:
    """Let what was pinned be evicted again; the entries that the target means. Raises FileNotFound, LocalError."""
    cache = find_cache(config)
    found = find_entries(cache.entries(), target)
    for entry in found:
        cache.unpin(entry.name)
    return found


def cache_drop(target: str | None = None, *, force: bool = False, config: Config | None = None) -> Sequence[CacheEntry]:
    """Remove what the target means from the host cache, or everything; pinned files too. The entries removed.

    `force` removes what is in use; its users keep it until they let go. Raises FileNotFound, Conflict, LocalError.
    """
    cache = find_cache(config)
    entries = cache.entries()
    found = entries if target is None else find_entries(entries, target)
    used = [entry for entry in found if not cache.drop(entry.name, force=force)]
    if used:
        names = ", ".join(next(iter(entry.seen_as), entry.digest) for entry in used[:3])
        raise Conflict(f"{len(used)} files are in use and stay in the host cache: {names}; --force drops them too")
    cache.trim()
    return found


def cache_verify(
    target: str | None = None, *, progress: Progress | None = None, config: Config | None = None
) -> CacheVerified:
    """Hash every block in the host cache, or what it has of the target; damaged blocks are dropped.

    Raises FileNotFound, LocalError.
    """
    cache = find_cache(config)
    entries = cache.entries()
    found = entries if target is None else find_entries(entries, target)
    return verify_cache(cache, found, progress or Progress())


def cache_limit(limit: int | str | None = None, *, config: Config | None = None) -> CacheUsage:
    """Set how many bytes the host cache may hold (`200GiB`; `default`: half of what its disk has for it), and evict what
    is over it; without an argument only look. Raises InvalidConfig, LocalError."""
    cache = find_cache(config)
    if limit is not None:
        if cache.usage().limit_source == "configuration":
            raise InvalidConfig("the cache's limit stands in HOIST_CACHE_SIZE or under [cache]: change it there")
        cache.set_limit(None if limit == "default" else parse_size(limit))
    return cache.usage()
