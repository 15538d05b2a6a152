"""Copying a version to other storages: read once, verified, and in each target published like any version, manifest last.

What a target has stays; what it holds in another version is copied inside it; the rest is read from the source in pieces
that all targets share. A target that fails fails alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Lock, Semaphore
from typing import Self

from hoist.config import EngineConfig
from hoist.errors import HoistError
from hoist.model.manifest import FileEntry
from hoist.model.packs import PACK_BELOW, Pack, lay_out
from hoist.pace import Pace
from hoist.parallel import for_each
from hoist.progress import Progress
from hoist.read.version import OpenedVersion
from hoist.storage.base import Storage, Version
from hoist.storage.image.passing import passing
from hoist.transfer.copy_small import SmallFiles, batches_of, is_small
from hoist.transfer.copy_target import FileOnItsWay, Target, TargetOptions
from hoist.transfer.feed import Feed, pieces_of

_PREPARED = 4
_FILES_AT_ONCE = 12
_TARGETS_AT_ONCE = 16
# Each may hold a pack in memory.
_BATCH_TARGETS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of one version in one target: bytes sent, bytes that an earlier run had sent, bytes copied inside it.

    `error` says why it is not there; nothing of it is visible then. `read_bytes` were read of the source, for all targets of
    the run together; `signatures` came along. A dry run says what would be moved, as far as can be seen without moving it.
    """

    source: str
    storage: str
    version: Version
    digest: str
    files: int
    size: int
    sent_bytes: int = 0
    resumed_bytes: int = 0
    copied_bytes: int = 0
    read_bytes: int = 0
    seconds: float = 0.0
    already: bool = False
    exclusive: bool = True
    tags: tuple[str, ...] = ()
    packs: int = 0
    pack_bytes: int = 0
    signatures: int = 0
    error: HoistError | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """How to copy: tags to set in each target, last; and as for a publish. `max_bandwidth` is for each direction."""

    tags: Sequence[str] = ()
    replace_unfinished: bool = False
    uploads: Path | None = None
    retry_seconds: float = 60.0
    max_bandwidth: int | None = None

    @classmethod
    def of(cls, limits: EngineConfig, tags: Sequence[str] = (), *, replace_unfinished: bool = False) -> Self:
        """As the engine is configured."""
        return cls(tags, replace_unfinished, limits.uploads, limits.retry_seconds, limits.max_bandwidth)


def copy_version(
    opened: OpenedVersion, storages: Sequence[Storage], options: Options, progress: Progress
) -> list[Copied]:
    """Copy an opened version to each storage, under its name and label. Running it again goes on, or finds it done.

    Raises what reading the source's documents may; what goes wrong with a target is in its result, and if the source is
    damaged, in all.
    """
    began = time.monotonic()
    cap = options.max_bandwidth
    each = TargetOptions(options.replace_unfinished, options.uploads, options.retry_seconds, Pace(cap) if cap else None)
    targets = [Target(storage, opened.version, each, progress) for storage in storages]
    run = _Copy(opened, targets, options, progress)
    try:
        run.run()
    finally:
        for target in targets:
            target.close()
    seconds = time.monotonic() - began
    return [_copied(opened, target, run.read_bytes, seconds) for target in targets]


class _StopAll(Event):
    """Ends the reading, and with it what every target does."""

    def __init__(self, targets: Sequence[Target]) -> None:
        super().__init__()
        self._targets = targets

    def set(self) -> None:
        super().set()
        for target in self._targets:
            target.stop.set()


class _Copy:
    """One copy under way."""

    def __init__(self, opened: OpenedVersion, targets: Sequence[Target], options: Options, progress: Progress) -> None:
        self.opened = opened
        self.targets = targets
        self.options = options
        self.progress = progress
        self.read_bytes = 0
        self._stop = _StopAll(targets)

    def run(self) -> None:
        opened, manifest = self.opened, self.opened.manifest
        table = opened.table.to_bytes()
        config = opened.storage.read_blob(opened.version, manifest.config.digest, manifest.config.size)
        signatures = opened.storage.signatures(opened.version)
        self._each(lambda target: target.look(manifest))
        self._choose_passing()
        self._each(lambda target: target.begin(manifest))
        begun = sum(target.live for target in self.targets)
        self.progress.begin(f"copying {opened.version}", manifest.size * begun)
        with Feed(opened.engine, self._stop) as feed:
            try:
                self._pass_on()
                self._small(feed)
                self._large(feed)
                self._each(lambda target: target.finish(manifest, (config, table), signatures, self.options.tags))
            finally:
                self.read_bytes += feed.read_bytes
        self.progress.end()

    def _live(self) -> list[Target]:
        return [target for target in self.targets if target.live and not target.passing]

    def _each(self, action: Callable[[Target], None]) -> None:
        for_each(lambda target: target.trying(partial(action, target)), self.targets, _TARGETS_AT_ONCE, self._stop)

    def _choose_passing(self) -> None:
        """Images go as they are where nothing has to move for it, or where nobody else reads the source."""
        opened = self.opened
        lacking = [target for target in self.targets if target.live]
        for target in lacking:
            found = passing(opened.storage, target.storage, opened.version, opened.manifest.digest)
            if found is not None and (found.near or len(lacking) == 1):
                target.passing = found

    def _pass_on(self) -> None:
        for target in self.targets:
            if target.passing and target.live:
                target.trying(target.pass_on)
                self.read_bytes += 0 if target.passing.near else target.moved["sent"]

    def _small(self, feed: Feed) -> None:
        """Small files, some at a time, for all targets; with their packs where those are kept."""
        targets = self._live()
        manifest = self.opened.manifest
        packing = [target for target in targets if target.storage.traits.packs]
        index = lay_out(manifest, PACK_BELOW if packing else 0)
        for pack, files in batches_of(manifest.files, index):
            small = SmallFiles(self.opened, files, feed)
            self._batch([target for target in targets if target.live], pack, files, small)
        if index.packs:
            for target in packing:
                target.trying(partial(target.end_packs, index))

    def _batch(
        self, targets: Sequence[Target], pack: Pack | None, files: Sequence[FileEntry], small: SmallFiles
    ) -> None:
        def bring(target: Target) -> None:
            if pack is not None and target.storage.traits.packs:
                target.trying(lambda: target.bring_pack(pack, small.content))
            else:
                target.trying(lambda: target.bring_small(files, small.content))

        for_each(bring, targets, _BATCH_TARGETS_AT_ONCE, self._stop)

    def _large(self, feed: Feed) -> None:
        """Large files in order: each is looked at a little ahead, and sent to all targets that want something of it."""
        slots = Semaphore(_FILES_AT_ONCE)
        ahead: deque[tuple[FileEntry, Future[list[tuple[Target, FileOnItsWay]]]]] = deque()
        with ThreadPoolExecutor(_PREPARED, "hoist-prepare") as preparers:
            try:
                for entry in self.opened.manifest.files:
                    if is_small(entry):
                        continue
                    if len(ahead) >= _PREPARED:
                        self._start(feed, *ahead.popleft(), slots)
                    slots.acquire()
                    ahead.append((entry, preparers.submit(self._prepare, entry)))
                while ahead:
                    self._start(feed, *ahead.popleft(), slots)
            except BaseException:
                self._stop.set()
                preparers.shutdown(wait=False, cancel_futures=True)
                raise

    def _prepare(self, entry: FileEntry) -> list[tuple[Target, FileOnItsWay]]:
        source = self.opened.source(entry.path)
        wanted: list[tuple[Target, FileOnItsWay]] = []
        lock = Lock()

        def prepare(target: Target) -> None:
            file = target.prepare(source, entry)
            if file is not None:
                with lock:
                    wanted.append((target, file))

        targets = self._live()
        if targets:
            for_each(lambda target: target.trying(partial(prepare, target)), targets, len(targets), self._stop)
        return wanted

    def _start(
        self,
        feed: Feed,
        entry: FileEntry,
        prepared: Future[list[tuple[Target, FileOnItsWay]]],
        slots: Semaphore,
    ) -> None:
        wanted = prepared.result()
        if not wanted:
            slots.release()
            return
        source = self.opened.source(entry.path)
        pieces = pieces_of(source, [span for _, file in wanted for span in file.spans])
        left = len(wanted)
        lock = Lock()

        def done() -> None:
            nonlocal left
            with lock:
                left -= 1
                last = not left
            if last:
                slots.release()

        for target, file in wanted:
            target.start(file, feed, pieces, done)
        feed.add(pieces)


def _copied(opened: OpenedVersion, target: Target, read_bytes: int, seconds: float) -> Copied:
    manifest, moved = opened.manifest, target.moved
    exclusive = True
    if target.error is None and not target.already:
        exclusive = target.storage.exclusive()
    return Copied(
        source=f"{opened.storage.address}//{opened.version}",
        storage=target.storage.address,
        version=opened.version,
        digest=manifest.digest,
        files=len(manifest.files),
        size=manifest.size,
        sent_bytes=moved["sent"],
        resumed_bytes=moved["resumed"],
        copied_bytes=moved["copied"],
        read_bytes=read_bytes,
        seconds=seconds,
        already=target.already,
        exclusive=exclusive,
        tags=target.tags,
        packs=target.packs,
        pack_bytes=target.pack_bytes,
        signatures=target.signatures,
        error=target.error,
    )
