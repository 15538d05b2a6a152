"""A mount from its start to its end: storages opened, mounted, served, unmounted in bounded time."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from hoist.config import Config
from hoist.errors import Conflict, HoistError, InvalidReference, LocalError, StorageUnavailable, UsageError
from hoist.expose import MetricsServer
from hoist.model.reference import Reference, parse_location, split_location
from hoist.mount.device import KIND, Device, file_system_of, mounted_kind, open_device, unmount
from hoist.mount.filesystem import FileSystem
from hoist.mount.live import LiveMounts
from hoist.mount.metered import Metered
from hoist.mount.metrics import Metrics
from hoist.mount.openings import Contents
from hoist.mount.options import MountOptions
from hoist.mount.prefetch import Fetcher
from hoist.mount.session import Session
from hoist.mount.shelf import Shelf
from hoist.mount.stores import BlockMemory
from hoist.read.cache.host import HostCache
from hoist.read.connect import host_cache
from hoist.read.engine import Engine
from hoist.read.trust import TrustedFiles
from hoist.storage import open_storage
from hoist.storage.base import Storage

_LOG = logging.getLogger(__name__)
_READY_SECONDS = 10.0
_END_SECONDS = 3.0
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class MountPlan:
    """What to mount (storages, or locations of single versions), and where: a folder, or `/dev/fd/N` for a device that is
    mounted already."""

    storages: tuple[str, ...]
    point: str
    options: MountOptions


def serve(plan: MountPlan, config: Config, ready: Callable[[], None], stop: Event) -> None:
    """Mount and serve until it is unmounted, or `stop` is set; `ready` is called when it can be read.

    Raises StorageNotFound, PermissionDenied, Conflict, LocalError, StorageUnsupported, UsageError.
    """
    options = plan.options
    metrics = Metrics()
    limits = replace(config.engine, retry_seconds=min(config.engine.retry_seconds, options.timeout_seconds))
    config = replace(config, engine=limits)
    with ExitStack() as stack:
        opened = [
            (address, stack.enter_context(open_storage(config.storage(address), config.environ)), references)
            for address, references in places_of(plan.storages)
        ]
        cache = mount_cache(config, options)
        shelves = _shelves(opened, Engine(limits), metrics, options, cache)
        memory = BlockMemory(options.memory_bytes)
        metrics.gauge("block_memory_bytes", lambda: float(memory.held_bytes))
        metrics.gauge("evictions_total", lambda: float(memory.evictions))
        metrics.gauge("first_byte_seconds", lambda: _first_byte(shelves.values()))
        fetcher = Fetcher(limits, options.timeout_seconds)
        stack.callback(fetcher.close)
        trusted = TrustedFiles(limits.trusted) if limits.trusted else None
        contents = Contents(options, fetcher, memory, metrics, trusted, cache)
        files = FileSystem(shelves, contents, options, levels=len(shelves) > 1)
        _look(shelves.values())
        port = None
        if options.metrics_port is not None:
            server = MetricsServer(metrics.text, options.metrics_port)
            stack.callback(server.close)
            port = server.port
        device = open_device(plan.point, ",".join(plan.storages), allow_other=options.allow_other)
        session = Session(device, files, metrics, stack_depth=_depth(options, cache))
        contents.on_renewed = session.notify
        contents.give = session.give
        stack.callback(_finish, device, session)
        session.start(options.threads)
        if not session.ready.wait(_READY_SECONDS):
            raise LocalError(
                f"the kernel does not greet the mount at {plan.point}: is the descriptor a mounted /dev/fuse?"
            )
        if session.passthrough:
            contents.backings = device
        device.read_ahead(options.read_ahead_bytes)
        note = LiveMounts(config.runtime_folder).note(
            str(device.point or ""), plan.storages, port, str(options.log_file or "")
        )
        if note:
            stack.callback(note.unlink, missing_ok=True)
        _LOG.info("%s is mounted at %s", ", ".join(plan.storages), plan.point)
        ready()
        while not session.ended.wait(0.1) and not stop.is_set():
            continue
        _LOG.info("%s ends", plan.point)


def shelf_name(address: str) -> str:
    """A storage's folder in a mount of several: its configured name, or what a URL or path has left as one."""
    return _UNSAFE.sub("-", address).strip("-.") or "storage"


def places_of(texts: Sequence[str]) -> list[tuple[str, Sequence[Reference]]]:
    """The storages that are named, each with the references of the versions to show; none of them: all it has.

    Raises InvalidReference.
    """
    found: list[tuple[str, list[Reference]]] = []
    for text in texts:
        try:
            split_location(text)
        except InvalidReference:
            found.append((text, []))
            continue
        if Path(text).is_dir():
            # `/srv//models` is a path too.
            found.append((text, []))
            continue
        location = parse_location(text)
        known = next((references for address, references in found if address == location.storage), None)
        if known is None:
            found.append((location.storage, [location.reference]))
        elif known:
            known.append(location.reference)
    wholes = {address for address, references in found if not references}
    return [(address, references) for address, references in found if not references or address not in wholes]


def _shelves(
    opened: Sequence[tuple[str, Storage, Sequence[Reference]]],
    engine: Engine,
    metrics: Metrics,
    options: MountOptions,
    cache: HostCache | None,
) -> dict[str, Shelf]:
    shelves: dict[str, Shelf] = {}
    for address, storage, references in opened:
        name = shelf_name(address)
        if name in shelves:
            raise UsageError(f"two storages would be called {name!r} in the mount: give one another name in hoist.toml")
        metered = Metered(storage, metrics)
        shelves[name] = Shelf(name, metered, engine, options.refresh_seconds, cache, references)
    return shelves


def mount_cache(config: Config, options: MountOptions) -> HostCache | None:
    """The host cache, which a mount uses unless it is told not to: by its options, or else as everything is."""
    used = not config.cache.refused if options.cache is None else options.cache
    if not used:
        return None
    limit = options.cache_bytes
    return host_cache(config if limit is None else replace(config, cache=replace(config.cache, size=limit)))


def _look(shelves: Iterable[Shelf]) -> None:
    """A first listing, so that a wrong name fails here; a storage that is only away may come back."""
    for shelf in shelves:
        try:
            shelf.catalogue(patient=True)
        except StorageUnavailable as error:
            _LOG.warning("%s is not there yet: %s", shelf.name, error)


def _depth(options: MountOptions, cache: HostCache | None) -> int:
    """How deep a file system that the kernel reads by itself may lie on others: an overlay lies on one."""
    if not options.passthrough:
        return 0
    return 2 if cache and file_system_of(cache.folder) == "overlay" else 1


def _first_byte(shelves: Iterable[Shelf]) -> float | None:
    """That of the slowest storage."""
    known = [shelf.storage.first_byte_seconds() for shelf in shelves]
    return max((seconds for seconds in known if seconds is not None), default=None)


def _finish(device: Device, session: Session) -> None:
    """Unmount; what is in use goes on until this process ends, a moment later."""
    if device.point is None or session.ended.is_set():
        return
    try:
        unmount(device.point)
    except Conflict:
        _LOG.warning("%s is in use: what is open ends now", device.point)
        with suppress(HoistError):
            unmount(device.point, lazy=True)
        until = time.monotonic() + _END_SECONDS / 3
        while session.waiting and time.monotonic() < until:
            time.sleep(0.02)
        return
    except HoistError as error:
        _LOG.warning("%s", error)
        return
    session.ended.wait(_END_SECONDS)


def forget_point(point: Path, *, lazy: bool, config: Config) -> None:
    """`hoist umount`: unmount, and see the daemon end. Raises Conflict, LocalError."""
    live = LiveMounts(config.runtime_folder)
    mount = live.of(point)
    if mounted_kind(point) != KIND:
        raise LocalError(f"{point} is no mount of Hoist: hoist mount --status shows those of this user")
    unmount(point, lazy=lazy)
    if mount is not None and not lazy and not live.await_end(mount, _END_SECONDS):
        raise LocalError(f"{point} is unmounted, but its daemon (process {mount.pid}) does not end: kill it")
