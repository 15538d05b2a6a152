"""Bringing versions to the targets that lack them: the source is read once for all, small versions several at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event, Lock, Semaphore

from hoist.errors import Damaged, FileNotFound, HoistError, VersionNotFound
from hoist.model.manifest import Manifest
from hoist.model.reference import Reference
from hoist.parallel import for_each
from hoist.progress import Progress
from hoist.read.engine import Engine
from hoist.read.version import open_version
from hoist.storage.base import Storage, Version
from hoist.sync.apply import Target
from hoist.transfer.copy import Options, copy_version

_READ_AT_ONCE = 16
_BROUGHT_AT_ONCE = 8
# Of these, as many fit where one large one does.
_SMALL_VERSION = 16 << 20


def measure(source: Storage, versions: Collection[Version]) -> dict[Version, int]:
    """Bytes of each version's files, by its manifest; what is not there is left out, what cannot be read has 0.

    Raises StorageUnavailable and what else a storage may for all of them.
    """

    def read(version: Version) -> tuple[Version, int] | None:
        try:
            return version, Manifest.parse(source.read_manifest(version)).size
        except VersionNotFound:
            return None
        except Damaged:
            return version, 0

    return dict(filter(None, for_each(read, versions, _READ_AT_ONCE))) if versions else {}


class Bringer:
    """Brings versions of one source. `read_bytes` counts what was read of it, for all targets together."""

    def __init__(self, source: Storage, engine: Engine, options: Options, stop: Event) -> None:
        self.read_bytes = 0
        self._source = source
        self._engine = engine
        self._options = options
        self._stop = stop
        self._lock = Lock()
        # Each copy has the cap on bandwidth for itself.
        self._turns = _Turns(1 if options.max_bandwidth else _BROUGHT_AT_ONCE)

    def bring(
        self, versions: Sequence[Version], sizes: Mapping[Version, int], targets: Sequence[Target], progress: Progress
    ) -> None:
        """Bring each version, in this order, to those that want it; then their tags that name it are moved."""

        def one(version: Version) -> None:
            with self._turns.taken(_BROUGHT_AT_ONCE if sizes.get(version, 0) > _SMALL_VERSION else 1):
                lacking = [target for target in targets if target.wants(version)]
                if lacking and not self._stop.is_set():
                    self._bring(version, lacking, progress)

        for_each(one, versions, self._turns.most, self._stop)

    def _bring(self, version: Version, targets: Sequence[Target], progress: Progress) -> None:
        try:
            opened = open_version(self._source, Reference(version.name, version.label), self._engine)
            if opened.version != version:
                # A tag of that name by now.
                raise VersionNotFound(f"{self._source.address} has no version {version}")
            copies = copy_version(opened, [target.storage for target in targets], self._options, progress)
        except VersionNotFound:
            for target in targets:
                target.gone(version)
            return
        except HoistError as error:
            for target in targets:
                target.failed(str(version), error)
            return
        with self._lock:
            self.read_bytes += copies[0].read_bytes
        for target, copied in zip(targets, copies, strict=True):
            if isinstance(copied.error, FileNotFound) and self._is_gone(version):
                target.gone(version)
                continue
            target.came(copied)
            if not target.wants(version):
                target.move_tags([version])

    def _is_gone(self, version: Version) -> bool:
        """Whether the source has a version no more."""
        try:
            self._source.read_manifest(version)
        except VersionNotFound:
            return True
        except HoistError:
            return False
        return False


class _Turns:
    """Room for so many small things, or for one large one that takes all of it. Whoever comes first goes first."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._room = Semaphore(most)
        self._door = Lock()

    @contextmanager
    def taken(self, count: int) -> Iterator[None]:
        count = min(count, self.most)
        with self._door:
            for _ in range(count):
                self._room.acquire()
        try:
            yield
        finally:
            self._room.release(count)
