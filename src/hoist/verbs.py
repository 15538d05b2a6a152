"""The verbs: what the command line calls and what `import hoist` gives, in the same words.

Each takes addresses and locations as texts, finds the storage by hoist.toml and the environment, does one thing, and
closes what it opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hoist.config import Config, load_config, parse_size
from hoist.errors import Conflict, InvalidConfig, UsageError
from hoist.model.reference import check_label, check_name, looks_like_location, parse_location
from hoist.progress import Progress
from hoist.read.cache.entries import CacheEntry, CacheUsage, find_entries
from hoist.read.cache.host import HostCache
from hoist.read.connect import connect, open_location
from hoist.read.connect import host_cache as find_cache
from hoist.read.listing import Listed, list_versions
from hoist.read.version import OpenedVersion
from hoist.signing.signer import open_signer
from hoist.storage.base import Tag, Version
from hoist.transfer.cached import CacheVerified, Pinned, pin_version, verify_cache
from hoist.transfer.collect import GRACE_SECONDS, Collected, collect_storage
from hoist.transfer.publish import Options, Published, publish_version
from hoist.transfer.pull import Pulled, pull_version
from hoist.transfer.verify import Verified, verify_version

if TYPE_CHECKING:
    from threading import Event

    from hoist.fleet.base import Running
    from hoist.fleet.warm import Warmed
    from hoist.rollout.history import History
    from hoist.rollout.outcome import RegionBack, RolledOut
    from hoist.rollout.told import Told
    from hoist.status.run import Options as StatusOptions
    from hoist.status.state import Status
    from hoist.sync.result import SyncResult
    from hoist.tensors.inspect import Inspection
    from hoist.transfer.copy import Copied
    from hoist.transfer.sign import Signed


def publish(
    source: str | Path,
    location: str,
    *,
    tags: Sequence[str] = (),
    exclude: Sequence[str] = (),
    replace_unfinished: bool = False,
    checked: bool = True,
    pack_below: int | None = None,
    sign: str | Path | None = None,
    progress: Progress | None = None,
    config: Config | None = None,
) -> Published:
    """Publish a file or folder as an immutable version; running it again resumes, or finds it done.

    `tags` are set afterwards; `exclude` are patterns of files to leave out; `replace_unfinished` takes over a label that
    a dead publish of other content holds; `checked=False` publishes a `.safetensors` file that is none; files below
    `pack_below` bytes are also laid into packs (0: none; default: below 256 KiB, in buckets); `sign` as the key of `sign`.
    Raises InvalidReference, UsageError, FileNotFound, InvalidFile, LocalError, Conflict, and what a storage may.
    """
    where = parse_location(location)
    labels = [check_label(tag) for tag in tags]
    config = config or load_config()
    signer = open_signer(str(sign), config.environ) if sign is not None else None
    storage, engine = connect(where.storage, config)
    limits = engine.config
    options = Options(
        labels,
        exclude,
        replace_unfinished,
        checked,
        uploads=limits.uploads,
        retry_seconds=limits.retry_seconds,
        max_bandwidth=limits.max_bandwidth,
        pack_below=pack_below,
        signer=signer,
    )
    with storage:
        return publish_version(Path(source), storage, where.reference, options, progress or Progress())


def list(
    storage: str, name: str = "", *, signed_by: Sequence[str | Path] = (), config: Config | None = None
) -> Sequence[Listed]:
    """The versions in a storage, or of one model in it; of each who of `signed_by` has signed it (as `verify` has them).

    Raises StorageNotFound, and what a storage may.
    """
    opened, _ = connect(storage, config)
    with opened:
        return list_versions(opened, check_name(name) if name else "", [str(each) for each in signed_by])


def open(location: str, *, config: Config | None = None) -> OpenedVersion:
    """Open a version for its files by name: `.files`, `.open(path)`, `.read(path)`. Close it, or use `with`.

    Raises InvalidReference, NotFound, and what a storage may.
    """
    return open_location(location, config)


def inspect(location: str, *, shared: bool = True, config: Config | None = None) -> Inspection:
    """Files, tensors, tags, and who shares blocks with this version. Raises NotFound, InvalidManifest."""
    from hoist.tensors.inspect import inspect_version

    with open_location(location, config) as opened:
        return inspect_version(opened, shared=shared)


def verify(
    location: str,
    *,
    signed_by: Sequence[str | Path] = (),
    progress: Progress | None = None,
    config: Config | None = None,
) -> Verified:
    """Read a version back and check every block; damage is in the result.

    With `signed_by` (paths of public keys, or IDENTITY@ISSUER) one of them has to have signed it. Raises NotFound, Unsigned,
    InvalidManifest.
    """
    with open_location(location, config) as opened:
        wanted = [[str(each) for each in signed_by]] if signed_by else opened.storage.required_signers
        return verify_version(opened, progress or Progress(), wanted)


def sign(location: str, key: str | Path, *, config: Config | None = None) -> Signed:
    """Sign a version that is in a storage, by the private key in this file (its password in HOIST_SIGN_PASSWORD), or by
    `sigstore`; a version that this key has signed is left alone.

    Raises InvalidConfig for a key that cannot be used, NotFound, LocalError without model-signing, and what a storage may.
    """
    from hoist.transfer.sign import sign_version

    config = config or load_config()
    signer = open_signer(str(key), config.environ)
    with open_location(location, config, check=False) as opened:
        return sign_version(opened.storage, opened.version, opened.manifest, signer)


def signature(location: str, *, signed_by: Sequence[str | Path] = (), config: Config | None = None) -> bytes:
    """A version's signature, a Sigstore bundle of OpenSSF model-signing: the one that it has, or one that is good by one of
    `signed_by`. Raises Unsigned, UsageError if there are several, NotFound, and what a storage may."""
    from hoist.transfer.sign import find_signature

    with open_location(location, config, check=False) as opened:
        return find_signature(opened.storage, opened.version, opened.manifest, [str(each) for each in signed_by])


def pull(
    location: str,
    folder: str | Path,
    *,
    include: Sequence[str] = (),
    force: bool = False,
    progress: Progress | None = None,
    config: Config | None = None,
) -> Pulled:
    """Bring a version's files to a folder, verified; running it again resumes.

    `include` are patterns of files to bring; `force` replaces files of other content. Raises Conflict, NotFound,
    LocalError, DamagedBlock, and what a storage may.
    """
    with open_location(location, config) as opened:
        return pull_version(opened, Path(folder), progress or Progress(), include=include, force=force)


def copy(
    locations: str | Sequence[str],
    storages: str | Sequence[str],
    *,
    tags: Sequence[str] = (),
    replace_unfinished: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    config: Config | None = None,
) -> Sequence[Copied]:
    """Copy versions to other storages of any kind, with the same digests; running it again goes on, or finds them there.

    `tags` are set in each target, last; so is the tag that a location names. `dry_run` only says what would move. A result
    for each version and target, in order: what went wrong there is its `error`, and holds nobody else back. Raises
    InvalidReference, UsageError, and for a version that cannot be opened NotFound, InvalidManifest, and what a storage may.
    """
    from hoist.transfer.copying import copy_all

    return copy_all(
        [locations] if isinstance(locations, str) else locations,
        [storages] if isinstance(storages, str) else storages,
        tags=tags,
        replace_unfinished=replace_unfinished,
        dry_run=dry_run,
        progress=progress or Progress(),
        config=config or load_config(),
    )


def status(*names: str, options: StatusOptions | None = None, config: Config | None = None) -> Status:
    """How storages are: `.storages` with what is in each, how far it is behind, what is read from it now, what goes wrong.

    `names` are plans, files with one, and storages; without any, all that are configured. What a storage raises is among its
    `problems`. One that hangs is given up after a time, and its thread left behind: Python's own end may wait for that.
    Raises InvalidConfig, UsageError.
    """
    from hoist.status.run import look_once

    return look_once(*names, options=options, config=config)


def rollout(
    reference: str,
    *,
    tag: str,
    regions: Sequence[str] = (),
    plan: str = "",
    source: str = "",
    check: str | None = None,
    check_timeout: float = 300.0,
    wait: float = 0.0,
    on_failure: str = "rollback",
    dry_run: bool = False,
    told: Told | None = None,
    stop: Event | None = None,
    progress: Progress | None = None,
    config: Config | None = None,
) -> RolledOut:
    """Bring a version (`NAME:VERSION`) to every region (a storage), then move `tag` to it in one region after the other.

    Regions and source are those of a sync plan where they are not given; without a source the version comes from the first
    region that has it. After each move the shell command `check` is run, for `check_timeout` seconds at most, with
    HOIST_ROLLOUT_REGION, _LOCATION, _NAME, _VERSION, _DIGEST, _TAG and _PREVIOUS in its environment; `wait` seconds pass
    between two regions. If it fails, somebody else moves the tag, or `stop` is set, all regions that were moved go back to
    what stood there (`on_failure="stop"`: they stay), and the result's `error` says why. Running it again goes on.
    Raises InvalidReference, UsageError, NotFound, Conflict, and what a storage may, before any tag has moved.
    """
    from hoist.rollout.verb import start_rollout

    return start_rollout(
        reference,
        tag=tag,
        regions=regions,
        plan=plan,
        source=source,
        check=check,
        check_timeout=check_timeout,
        wait=wait,
        on_failure=on_failure,
        dry_run=dry_run,
        told=told,
        stop=stop,
        progress=progress or Progress(),
        config=config or load_config(),
    )


def rollback(
    name: str,
    *,
    tag: str,
    regions: Sequence[str],
    to: str | None = None,
    told: Told | None = None,
    config: Config | None = None,
) -> Sequence[RegionBack]:
    """Let a model's tag name again, in each region, what it named before, or the version `to`.

    Going back again goes further back, and never to what was gone back from. A version that has gone from a region is
    brought back from another one first. A result for each region, in order: what went wrong there is its `error`,
    and holds nobody else back. Raises InvalidReference, UsageError.
    """
    from hoist.rollout.verb import start_rollback

    return start_rollback(name, tag=tag, regions=regions, to=to, told=told, config=config or load_config())


def history(locations: str | Sequence[str], *, config: Config | None = None) -> Sequence[History]:
    """How tags came to name what they name: of `STORAGE//NAME:TAG`, or all those of `STORAGE//NAME`; who moved them, when
    and from what. A result for each location, with its `error`. Raises InvalidReference, UsageError."""
    from hoist.rollout.history import read_histories

    asked = [locations] if isinstance(locations, str) else locations
    return read_histories(asked, config or load_config())


def sync(
    plan: str = "", *, dry_run: bool = False, progress: Progress | None = None, config: Config | None = None
) -> SyncResult:
    """Bring the targets of a plan into step with its source: `plan` is the NAME of a `[sync.NAME]` in hoist.toml, a file
    that has one, or empty where there is only one; `dry_run` only says what differs.

    A result for each target, in order: what went wrong there is among its `problems`, and holds nobody else back. Raises
    UsageError, InvalidConfig, and what the source raises when it is looked at.
    """
    from hoist.sync.find import find_plan
    from hoist.sync.run import run_plan

    found, config = find_plan(plan, config or load_config())
    return run_plan(found, config, dry_run=dry_run, progress=progress)


def tag(location: str, tag: str, *, note: str = "", config: Config | None = None) -> Tag:
    """Give the version at `location` another, movable name; `note` says why, for its history. Raises Conflict, NotFound."""
    check_label(tag)
    with open_location(location, config) as opened:
        made = Tag(opened.version.name, tag, opened.version.label, opened.manifest.digest)
        opened.storage.set_tag(made, note=note)
        return made


def remove(location: str, *, force: bool = False, config: Config | None = None) -> Version | Tag:
    """Remove a version, or only the tag if the location names one. A version that has tags needs `force`, which
    removes them too. Raises VersionNotFound, Conflict."""
    from hoist.transfer.remove import remove_reference

    where = parse_location(location)
    storage, _ = connect(where.storage, config)
    with storage:
        return remove_reference(storage, where.reference, force=force)


def collect(
    storage: str, *, grace_seconds: float = GRACE_SECONDS, delete: bool = False, config: Config | None = None
) -> Collected:
    """What killed publishes and removals have left in a storage, and nothing has touched for `grace_seconds`; deleted
    only with `delete`. Raises StorageNotFound, StorageUnsupported, and what a storage may."""
    opened, _ = connect(storage, config)
    with opened:
        return collect_storage(opened, grace_seconds=grace_seconds, delete=delete)


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


def start_fleet(
    location: str,
    instances: int,
    *,
    function: str | None = None,
    files: Sequence[str] = (),
    device: str = "cpu",
    deadline_seconds: float = 120.0,
    ray: str | None = None,
    spawn: bool = False,
    config: Config | None = None,
) -> Running:
    """Start instances that load a version, on this host or on a Ray cluster: `.wait()` for them, `.close()` ends them.

    Each calls `function` (`MODULE:FUNCTION`) with a `hoist.fleet.model.Model`, or only loads; `ray` is a cluster's address,
    or `auto`; `spawn` gives each on this host an interpreter of its own. What goes wrong with an instance is told of
    that instance. Raises InvalidReference, UsageError, LocalError.
    """
    from hoist.fleet.instance import Task
    from hoist.fleet.select import OwnedRunning, open_fleet

    task = Task(location, function, tuple(files), device)
    fleet = open_fleet(ray, spawn=spawn, config=config)
    try:
        return OwnedRunning(fleet, fleet.start(task, instances, deadline_seconds=deadline_seconds))
    except BaseException:
        fleet.close()
        raise


def warm(
    location: str,
    *,
    ray: str | None = None,
    nodes: Sequence[str] | None = None,
    progress: Progress | None = None,
    config: Config | None = None,
) -> Sequence[Warmed]:
    """Bring a version into this host's cache, or into those of the nodes of a Ray cluster (all, or those named by address
    or id); running it again brings only what is missing.

    What goes wrong on a node of a cluster is told of that node. Raises UsageError, LocalError, and what a storage may.
    """
    if ray is None:
        if nodes:
            raise UsageError(
                "nodes are those of a Ray cluster: say which (--ray); elsewhere run hoist warm on each host"
            )
        from hoist.fleet.warm import warm_here

        return [warm_here(location, progress or Progress(), config)]
    parse_location(location)
    from hoist.fleet.ray import RayFleet

    with RayFleet(ray) as fleet:
        return fleet.warm(location, nodes)


__all__ = [
    "cache_drop",
    "cache_limit",
    "cache_pin",
    "cache_unpin",
    "cache_verify",
    "collect",
    "copy",
    "history",
    "host_cache",
    "inspect",
    "list",
    "open",
    "publish",
    "pull",
    "remove",
    "rollback",
    "rollout",
    "sign",
    "signature",
    "start_fleet",
    "status",
    "sync",
    "tag",
    "verify",
    "warm",
]
