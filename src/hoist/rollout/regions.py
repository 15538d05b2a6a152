"""The storages between which a tag is kept, and bringing a version from one to another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from hoist.config import Config
from hoist.errors import Conflict, HoistError, UsageError, VersionNotFound
from hoist.model.manifest import digest_of
from hoist.model.reference import Reference, looks_like_location
from hoist.progress import Progress
from hoist.read.connect import connect
from hoist.read.engine import Engine
from hoist.read.version import OpenedVersion, open_version
from hoist.storage.base import Storage, Version
from hoist.transfer.copy import Copied, Options, copy_version


@dataclass(frozen=True)
class Region:
    """A storage by the name that the user gave it."""

    address: str
    storage: Storage
    engine: Engine

    def has(self, version: Version, digest: str) -> bool:
        """Whether the version is there. Raises Conflict if it is there with other content."""
        try:
            found = digest_of(self.storage.read_manifest(version))
        except VersionNotFound:
            return False
        if found != digest:
            raise Conflict(f"{self.address} has {version} with other content ({found}): a version never changes")
        return True

    def open(self, reference: Reference) -> OpenedVersion:
        """A version there, past the host cache. Who closes it closes the region's storage."""
        return open_version(self.storage, reference, self.engine)


def split_regions(given: Sequence[str]) -> tuple[str, ...]:
    """The regions of an option that may be repeated, and holds one or several, with commas between. Raises UsageError."""
    found = dict.fromkeys(part.strip() for text in given for part in text.split(",") if part.strip())
    for region in found:
        if looks_like_location(region):
            raise UsageError(f"{region} is a location: a region is a storage, such as a name from hoist.toml")
    return tuple(found)


def open_region(address: str, config: Config) -> Region:
    """A region; the caller closes its storage. Raises StorageNotFound, InvalidConfig, LocalError."""
    storage, engine = connect(address, config)
    return Region(address, storage, engine)


def find_version(
    reference: Reference, source: str, regions: Sequence[Region], config: Config, stack: ExitStack
) -> OpenedVersion:
    """A version, opened in the storage that it comes from: `source`, or the first region that has it. What is opened for it
    is closed by `stack`. Raises VersionNotFound, and what a storage may."""
    addresses = [region.address for region in regions]
    if source and source not in addresses:
        other = open_region(source, config)
        stack.callback(other.storage.close)
        return other.open(reference)
    for region in regions:
        if source in ("", region.address):
            try:
                return region.open(reference)
            except VersionNotFound:
                if source:
                    raise
    raise VersionNotFound(
        f"none of {', '.join(addresses)} has {reference}: publish it to one of them, or say with --from which storage has it"
    )


def bring(opened: OpenedVersion, regions: Sequence[Region], config: Config, progress: Progress) -> list[Copied]:
    """Copy an opened version to regions; what goes wrong is in the results."""
    return copy_version(opened, [region.storage for region in regions], Options.of(config.engine), progress)


def bring_back(version: Version, digest: str, region: Region, others: Iterable[str], config: Config) -> None:
    """Copy a version that has gone from a region there again, from the first of the others that has it.

    Raises VersionNotFound if none has it, and what the region's storage may.
    """
    asked: list[str] = []
    failed: HoistError | None = None
    for address in others:
        if address == region.address:
            continue
        asked.append(address)
        # One that is down or has another version of that label is no source.
        with suppress(HoistError):
            source = open_region(address, config)
            with source.storage:
                if not source.has(version, digest):
                    continue
                (copied,) = bring(source.open(Reference(version.name, version.label)), [region], config, Progress())
            if copied.error is None:
                return
            failed = copied.error
    if failed is not None:
        raise failed
    there = f", nor has {' or '.join(asked)}" if asked else ""
    raise VersionNotFound(
        f"{region.address} has no {version} of {digest} any more{there}: name another version with --to"
    )
