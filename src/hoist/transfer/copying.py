"""Copying several versions to several storages by their addresses: `hoist copy`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from hoist.config import Config
from hoist.errors import HoistError, UsageError
from hoist.model.reference import Location, check_label, looks_like_location, parse_location
from hoist.progress import Progress
from hoist.read.connect import connect
from hoist.read.version import OpenedVersion, open_version
from hoist.storage.base import Storage
from hoist.transfer.copy import Copied, Options, copy_version
from hoist.transfer.copy_plan import look_ahead


def copy_all(
    locations: Sequence[str],
    storages: Sequence[str],
    *,
    tags: Sequence[str],
    replace_unfinished: bool,
    dry_run: bool,
    progress: Progress,
    config: Config,
) -> list[Copied]:
    """See `hoist.verbs.copy`. Locations that name one version of one storage are copied once."""
    where = [parse_location(text) for text in dict.fromkeys(locations)]
    _check(where, storages, tags)
    results: list[Copied] = []
    with ExitStack() as stack:
        # All before anything moves: a version that is missing is told at once.
        sources = [stack.enter_context(_open(location, config)) for location in where]
        targets = {address: connect_target(address, config, stack) for address in dict.fromkeys(storages)}
        up = [target for target in targets.values() if isinstance(target, Storage)]
        for location, opened in zip(where, sources, strict=True):
            if dry_run:
                found = [outlook(opened, target, config) for target in up]
            else:
                along = _tags(location, opened, tags)
                options = Options.of(config.engine, along, replace_unfinished=replace_unfinished)
                found = copy_version(opened, up, options, progress)
            those = iter(found)
            results += [
                _failed(opened, address, target, dry_run) if isinstance(target, HoistError) else next(those)
                for address, target in targets.items()
            ]
    return results


def _open(location: Location, config: Config) -> OpenedVersion:
    """A version to copy, past the host cache: what is only passed on would push out what is used."""
    source, engine = connect(location.storage, config)
    try:
        return open_version(source, location.reference, engine)
    except BaseException:
        source.close()
        raise


def connect_target(address: str, config: Config, stack: ExitStack) -> Storage | HoistError:
    """A target, closed by `stack`, or why it cannot be had; what is no storage at all is raised as UsageError."""
    try:
        return stack.enter_context(connect(address, config)[0])
    except UsageError:
        raise
    except HoistError as error:
        return error


def _tags(location: Location, opened: OpenedVersion, tags: Sequence[str]) -> list[str]:
    """Those that were asked for, and the one that the location names."""
    named = location.reference.label
    along = [named] if named and named != opened.version.label else []
    return [*dict.fromkeys([*tags, *along])]


def _check(where: Sequence[Location], storages: Sequence[str], tags: Sequence[str]) -> None:
    """Raise UsageError for what has no meaning."""
    if not where:
        raise UsageError("say what to copy, as STORAGE//NAME:VERSION")
    if not storages:
        raise UsageError("say where to copy it to: a storage")
    for storage in storages:
        if looks_like_location(storage):
            raise UsageError(f"{storage} is a location: a copy goes to a storage, under the version's own name")
    for tag in tags:
        check_label(tag)
    names = [location.reference.name for location in where]
    if tags and len(set(names)) != len(names):
        raise UsageError("--tag with two versions of one model: a tag names one; copy them one by one")


def outlook(opened: OpenedVersion, target: Storage, config: Config) -> Copied:
    """What a copy to a target would do; why it would be refused is its `error`."""
    send = copied = 0
    already = False
    error: HoistError | None = None
    try:
        found = look_ahead(opened, target, config.engine.uploads)
        send, copied, already = found.send_bytes, found.copy_bytes, found.already
    except HoistError as refused:
        error = refused
    plain = _failed(opened, target.address, error, dry_run=True)
    return replace(plain, sent_bytes=send, copied_bytes=copied, already=already)


def _failed(opened: OpenedVersion, address: str, error: HoistError | None, dry_run: bool) -> Copied:
    manifest = opened.manifest
    return Copied(
        source=f"{opened.storage.address}//{opened.version}",
        storage=address,
        version=opened.version,
        digest=manifest.digest,
        files=len(manifest.files),
        size=manifest.size,
        error=error,
        dry_run=dry_run,
    )
