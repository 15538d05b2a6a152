"""The storages, all at once, each with a limit of its own: one that hangs does not keep the others' findings back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from threading import Thread

from hoist.checkup.report import Finding, Group
from hoist.checkup.signers import check_signers
from hoist.config import Config, StorageConfig
from hoist.errors import HoistError
from hoist.storage import is_bucket, open_storage
from hoist.storage.base import Storage
from hoist.storage.tree import TreeStorage

_RETRY_SECONDS = 2.0


@dataclass(slots=True)
class Check:
    """One storage's checkup, under way in a thread of its own. `findings` grows until the thread ends."""

    group: Group
    thread: Thread
    findings: list[Finding] = field(default_factory=list)

    def result(self, until: float) -> list[Finding]:
        """What was found by `until` on the monotonic clock, and that it is not all, if so."""
        self.thread.join(max(0.0, until - time.monotonic()))
        late = self.thread.is_alive()
        found = list(self.findings)
        if late:
            after = f", after {found[-1].name!r}" if found else ""
            mend = "look whether the storage hangs (a stale mount, a server that is silent), or give --limit more"
            found.append(self.group.failed("time", f"not done in time{after}", mend))
        return found


def begin_storages(config: Config, addresses: Sequence[str], *, read_only: bool) -> list[Check]:
    """Start a check of each storage."""
    return [_begin(config, address, read_only=read_only) for address in addresses]


def _begin(config: Config, address: str, *, read_only: bool) -> Check:
    group = Group(f"storage {address}")
    found: list[Finding] = []

    def run() -> None:
        try:
            for finding in _findings(config, address, group, read_only=read_only):
                found.append(finding)
        except HoistError as error:
            found.append(group.failed("storage", str(error), "see the message"))
        except Exception as error:  # noqa: BLE001 a checkup tells of every other storage all the same
            what = f"{type(error).__name__}: {error}"
            found.append(group.failed("storage", f"the checkup itself failed: {what}", "please report it"))

    # A daemon, as nothing can end a thread that hangs in a dead mount: it must not keep Python from ending.
    check = Check(group, Thread(target=run, name="hoist-doctor", daemon=True), found)
    check.thread.start()
    return check


def _findings(config: Config, address: str, group: Group, *, read_only: bool) -> Iterator[Finding]:
    try:
        # A registry's client repeats what is passing; a checkup shows it.
        chosen = replace(config.storage(address), retry_seconds=_RETRY_SECONDS)
        storage = open_storage(chosen, config.environ)
    except HoistError as error:
        yield group.failed("configuration", str(error), "mend hoist.toml or the environment; see docs/storages.md")
        return
    with storage:
        if storage.required_signers:
            yield from check_signers(storage.required_signers, group)
        yield from _of_kind(storage, chosen, group, read_only=read_only)


def _of_kind(storage: Storage, chosen: StorageConfig, group: Group, *, read_only: bool) -> Iterator[Finding]:
    if chosen.members:
        from hoist.checkup.members import check_members
        from hoist.storage.any.storage import AnyStorage

        assert isinstance(storage, AnyStorage)
        yield from check_members(storage, group)
        return
    from hoist.storage.directory import DirectoryObjects

    objects = storage.objects if isinstance(storage, TreeStorage) else None
    if isinstance(objects, DirectoryObjects):
        from hoist.checkup.directory import DirectoryCheck

        yield from DirectoryCheck(objects.root, group, read_only).run()
        return
    if is_bucket(chosen):
        from hoist.checkup.bucket import BucketCheck
        from hoist.storage.bucket import BucketObjects

        assert isinstance(objects, BucketObjects)
        yield from BucketCheck(objects, chosen, group, read_only).run()
        return
    if chosen.url.startswith("nfs:"):
        from hoist.checkup.nfs import NfsCheck
        from hoist.storage.nfs.objects import NfsObjects

        assert isinstance(objects, NfsObjects)
        yield from NfsCheck(objects, group, read_only).run()
        return
    if chosen.url.startswith("oci://"):
        from hoist.checkup.registry import RegistryCheck
        from hoist.storage.image.reading import ImageReader
        from hoist.storage.oci.registry import Registry

        assert isinstance(storage, ImageReader)
        assert isinstance(storage.repositories, Registry)
        yield from RegistryCheck(storage, storage.repositories, chosen, group, read_only).run()
        return
    next(storage.versions(), None)
    yield group.ok("storage", f"kind {storage.kind}, can be listed")
