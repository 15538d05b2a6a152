"""Copying several versions to several storages by their addresses: `hoist copy`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

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
    limits = config.engine
    results: list[Copied] = []
    with ExitStack() as stack:
        targets = [stack.enter_context(connect(address, config)[0]) for address in dict.fromkeys(storages)]
        for location in where:
            source, engine = connect(location.storage, config)
            with source:
                # Past the host cache: what is only passed on would push out what is used.
                opened = open_version(source, location.reference, engine)
                if dry_run:
                    results += [_outlook(opened, target, config) for target in targets]
                    continue
                named = location.reference.label
                options = Options(
                    [*dict.fromkeys([*tags, *([named] if named and named != opened.version.label else [])])],
                    replace_unfinished,
                    limits.uploads,
                    limits.retry_seconds,
                    limits.max_bandwidth,
                )
                results += copy_version(opened, targets, options, progress)
    return results


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


def _outlook(opened: OpenedVersion, target: Storage, config: Config) -> Copied:
    manifest = opened.manifest
    send = copied = 0
    already, error = False, None
    try:
        found = look_ahead(opened, target, config.engine.uploads)
        send, copied, already = found.send_bytes, found.copy_bytes, found.already
    except HoistError as refused:
        error = refused
    return Copied(
        source=f"{opened.storage.address}//{opened.version}",
        storage=target.address,
        version=opened.version,
        digest=manifest.digest,
        files=len(manifest.files),
        size=manifest.size,
        sent_bytes=send,
        copied_bytes=copied,
        already=already,
        error=error,
        dry_run=True,
    )
