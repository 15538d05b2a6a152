"""One storage as a mount sees it: what it lists, kept for a short while, and its versions, opened once."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

from hoist.errors import HoistError
from hoist.model.manifest import Manifest
from hoist.model.reference import Reference
from hoist.mount.naming import UNLISTED, ByName, find_chosen, list_all
from hoist.mount.tree import Catalogue, Named, Tree, VersionRoot, contents
from hoist.mount.workers import Shared, Workers
from hoist.read.cache.host import HostCache
from hoist.read.engine import Engine
from hoist.read.signed import check_signed
from hoist.read.source import Source
from hoist.read.version import OpenedVersion
from hoist.storage.base import Storage

_LOG = logging.getLogger(__name__)
_MOST_OPEN = 1024
# After a listing has failed, what was known is shown for at least so long before the storage is asked again.
_PAUSE_SECONDS = 2.0
# How long somebody who could be shown what was known waits for a new listing.
_PATIENCE_SECONDS = 5.0


class NeedsStorage(Exception):
    """The storage would have to be asked, and the caller cannot wait for that."""


@dataclass(frozen=True)
class Shelved:
    """A version and the tree inside it."""

    opened: OpenedVersion
    root: VersionRoot
    tree: Tree


class Shelf:
    """A storage under a mount. Several threads may use it; none but those that say `patient` ever wait for the storage.

    What was listed once stays known while the storage is away. With `references` only those are shown.
    """

    def __init__(
        self,
        name: str,
        storage: Storage,
        engine: Engine,
        refresh_seconds: float,
        cache: HostCache | None = None,
        references: Sequence[Reference] = (),
    ) -> None:
        self.name = name
        self.unlisted = False
        """Whether the storage may not be listed, so that each name has to be asked for with `find`."""
        self.storage = storage
        self.engine = engine
        self._refresh_seconds = refresh_seconds
        self._cache = cache
        self._references = references
        self._by_name = ByName(storage, refresh_seconds)
        self._known: Catalogue | None = None
        self._asked = float("-inf")
        self._asking: Shared[Catalogue] | None = None
        self._workers = Workers(f"hoist-list-{name}", 2)
        self._lock = Lock()
        self._open: OrderedDict[VersionRoot, Shelved] = OrderedDict()

    def catalogue(self, *, patient: bool) -> Catalogue:
        """The models, versions and tags, at most as old as configured. Raises NeedsStorage, and what a storage may."""
        known = self._known
        if known is not None and (self.unlisted or time.monotonic() - self._asked < self._refresh_seconds):
            return self._by_name.catalogue() if self.unlisted else known
        if not patient:
            raise NeedsStorage
        with self._lock:
            asking = self._asking
            if asking is None or not asking.running:
                asking = self._asking = Shared(self._ask)
                self._workers.submit(asking.run)
        if known is None:
            return asking.wait()
        try:
            return asking.wait(_PATIENCE_SECONDS)
        except TimeoutError:
            return known

    def find(self, path: str, name: str, *, patient: bool) -> Named | None:
        """What a name above all versions is, in a storage that is `unlisted`. Raises NeedsStorage, what a storage may."""
        if not patient and not self._by_name.is_known(path, name):
            raise NeedsStorage
        return self._by_name.find(path, name)

    def version(self, root: VersionRoot, *, patient: bool) -> Shelved:
        """A version's files. Raises NeedsStorage, VersionNotFound, InvalidManifest, Unsigned, and what a storage may."""
        with self._lock:
            found = self._open.get(root)
            if found is not None:
                self._open.move_to_end(root)
                return found
        if not patient:
            raise NeedsStorage
        manifest = Manifest.parse(self.storage.read_manifest(root.version))
        check_signed(self.storage, root.version, manifest)
        opened = OpenedVersion(self.storage, root.version, manifest, self.engine, self._cache)
        found = Shelved(opened, root, contents(manifest.files))
        with self._lock:
            found = self._open.setdefault(root, found)
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        return found

    def source(self, shelved: Shelved, path: str, *, patient: bool) -> Source:
        """A file of a version, to be read. Raises NeedsStorage, InvalidManifest, and what a storage may."""
        # The block table is read at its first use.
        if not patient and "table" not in vars(shelved.opened):
            raise NeedsStorage
        return shelved.opened.source(path)

    def doubt(self, root: VersionRoot) -> None:
        """Something of this version was not what its manifest says: read the manifest again, and the listing too."""
        with self._lock:
            self._open.pop(root, None)
        self._asked = float("-inf")

    def usage(self) -> tuple[int, int]:
        """Bytes and files of the versions that were opened so far."""
        with self._lock:
            manifests = [each.opened.manifest for each in self._open.values()]
        return sum(each.size for each in manifests), sum(len(each.files) for each in manifests)

    def _ask(self) -> Catalogue:
        try:
            found = self._list()
        except UNLISTED as error:
            if self._known is not None or self._references:
                return self._last_known(error)
            _LOG.warning("%s may not be listed, so its versions are found by their names alone: %s", self.name, error)
            self.unlisted = True
            found = Catalogue()
        except HoistError as error:
            return self._last_known(error)
        self._known, self._asked = found, time.monotonic()
        self._drop_gone(found)
        return found

    def _list(self) -> Catalogue:
        if self._references:
            return find_chosen(self.storage, self._references, strict=self._known is None)
        return list_all(self.storage)

    def _last_known(self, error: HoistError) -> Catalogue:
        if self._known is None:
            raise error
        _LOG.warning("%s cannot be listed, showing what was known: %s", self.name, error)
        self._asked = time.monotonic() - self._refresh_seconds + max(_PAUSE_SECONDS, self._refresh_seconds / 2)
        return self._known

    def _drop_gone(self, found: Catalogue) -> None:
        there = set(found.versions)
        with self._lock:
            for gone in [root for root in self._open if root not in there]:
                del self._open[gone]
