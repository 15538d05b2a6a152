"""The contents of open files, one for each digest whoever opens it, and whether the kernel reads them by itself.

The kernel has no node that is open through its page cache and past it at once. So how a file is opened is chosen for each
node; and a file that becomes whole while it is open gets a new node, which the next one to open it can be given whole.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import RLock
from typing import Protocol

from hoist.errors import Damaged, NotFound
from hoist.model.manifest import FileEntry
from hoist.mount.content import Content, WholeFile
from hoist.mount.metrics import Metrics
from hoist.mount.nodes import Node
from hoist.mount.options import MountOptions
from hoist.mount.packed import PackedStore, Packs
from hoist.mount.prefetch import Fetcher
from hoist.mount.shelf import Shelf, Shelved
from hoist.mount.stores import BlockMemory, Buffers, CachedStore, LocalStore, MemoryStore, Store, whole_key
from hoist.mount.tree import file_place, number_of
from hoist.read.cache.host import HostCache
from hoist.read.source import Source
from hoist.read.trust import TrustedFiles
from hoist.read.version import OpenedVersion

_LOG = logging.getLogger(__name__)
# Smaller files come with one request: nothing to prefetch, and not worth a file in a cache.
SMALL_BYTES = 256 << 10
_PREFETCH_FROM_BYTES = 1 << 20
# Of the memory, what the prefetch of one file may fill ahead of its reader.
_WINDOW_PART = 3
_MOST_PACKED = 64


class Backings(Protocol):
    """What lets the kernel read a file by itself; see Device."""

    def open_backing(self, fd: int) -> int | None:
        """Its number, or None if the kernel refuses."""

    def close_backing(self, number: int) -> None:
        """It is not needed any more."""


@dataclass(eq=False, slots=True)
class _Open:
    """A content, and the nodes that have it open: how often, through the page cache."""

    content: Content
    nodes: dict[Node, int]
    opens: int = 0
    backing: int = 0
    refused: bool = False


class Contents:
    """All open files. `on_renewed(parent, name)` is told of names whose file has another node from now on; `give` puts a
    small file's bytes into the kernel's page cache, by the number of a node that is `known` to the kernel.
    """

    def __init__(
        self,
        options: MountOptions,
        fetcher: Fetcher,
        memory: BlockMemory,
        metrics: Metrics,
        trusted: TrustedFiles | None = None,
        cache: HostCache | None = None,
    ) -> None:
        self.fetcher = fetcher
        self.backings: Backings | None = None
        self.on_renewed: Callable[[int, str], None] = lambda parent, name: None
        self.give: Callable[[int, memoryview], None] | None = None
        self.known: Callable[[int], Node | None] = lambda number: None
        self._options = options
        self._memory = memory
        self._metrics = metrics
        self._trusted = trusted
        self._cache = cache
        self._lock = RLock()
        self._open: dict[str, _Open] = {}
        self._renewed: set[str] = set()
        self._whole: set[str] = set()
        self._buffers = Buffers()
        self._packs: OrderedDict[int, Packs] = OrderedDict()

    def is_renewed(self, digest: str) -> bool:
        """Whether the file has become whole under open handles, so that it has another node now."""
        return digest in self._renewed

    def may_renew(self, entry: FileEntry) -> bool:
        """Whether the file may get another node."""
        return self.backings is not None and entry.size >= SMALL_BYTES and entry.digest not in self._whole

    def open(self, node: Node, *, patient: bool) -> tuple[Content | WholeFile, int]:
        """The content of a file's node, and its backing, 0 for none. Raises NeedsStorage, and what a storage may."""
        entry = node.named
        assert isinstance(entry, FileEntry)
        assert node.shelf is not None
        assert node.shelved is not None
        whole = self._memory.get(whole_key(entry.digest)) if entry.size < SMALL_BYTES else None
        if whole is not None:
            with self._lock:
                unused = not node.cached
                node.cached += 1
            if unused:
                # While others have it open, a page may wait for an answer that this very thread would have to give.
                self._give(node, whole)
            return WholeFile(whole), 0
        # The storage may be asked for the block table: not with the lock held.
        source = None
        if entry.digest not in self._open:
            source = node.shelf.source(node.shelved, node.path, patient=patient)
        with self._lock:
            opened = self._open.get(entry.digest)
            if opened is None:
                # It may have been closed since it was looked for: then its table is known.
                source = source or node.shelf.source(node.shelved, node.path, patient=False)
                opened = self._open[entry.digest] = self._begin(source, node.shelf, node.shelved)
            opened.opens += 1
            backing = self._backing(opened, node)
            if backing:
                self._metrics.count("passthrough_opens")
                return opened.content, backing
            node.cached += 1
            first = not opened.nodes
            opened.nodes[node] = opened.nodes.get(node, 0) + 1
        content = opened.content
        if first and self._options.prefetch and content.size >= _PREFETCH_FROM_BYTES and not content.complete:
            self.fetcher.follow(content)
        return content, 0

    def release(self, node: Node, content: Content | WholeFile, backing: int) -> None:
        """One handle is closed."""
        with self._lock:
            if isinstance(content, WholeFile):
                node.cached -= 1
                return
            opened = self._open[content.blocks.file_digest]
            opened.opens -= 1
            if not backing:
                node.cached -= 1
                opened.nodes[node] -= 1
                if not opened.nodes[node]:
                    del opened.nodes[node]
            if not opened.nodes:
                self.fetcher.unfollow(content)
            self._end(opened)

    def _begin(self, source: Source, shelf: Shelf, shelved: Shelved) -> _Open:
        content = Content(
            source,
            self._store(source, shelf, shelved.opened),
            self._metrics,
            max(16 << 20, self._options.memory_bytes // _WINDOW_PART),
        )
        opened = _Open(content, {})

        def failed(error: BaseException) -> None:
            _LOG.warning("%s: %s", source.name, error)
            if isinstance(error, Damaged | NotFound):
                shelf.doubt(shelved.root)

        def idle() -> None:
            with self._lock:
                self._end(opened)

        content.failed = failed
        content.on_idle = idle
        content.on_complete = lambda: self._completed(opened)
        return opened

    def _store(self, source: Source, shelf: Shelf, opened: OpenedVersion) -> Store:
        path = source.local_path()
        if path is not None:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                if os.fstat(fd).st_size == source.size:
                    return LocalStore(source.blocks, fd, self._buffers, self._trusted)
                os.close(fd)
            except OSError as error:
                _LOG.warning("%s: %s", path, error.strerror)
        if source.size < SMALL_BYTES:
            return PackedStore(source.blocks, self._memory, self._packs_of(shelf, opened))
        cached = self._cache.try_file(source.blocks, source.seen_as) if self._cache else None
        if cached is not None:
            return CachedStore(cached, MemoryStore(source.blocks, self._memory), self._buffers)
        return MemoryStore(source.blocks, self._memory)

    def _packs_of(self, shelf: Shelf, opened: OpenedVersion) -> Packs:
        """The packs of a version, for as long as some of the last versions. With the lock held."""
        key = id(opened)
        if key not in self._packs:
            self._packs[key] = Packs(opened, self._memory, partial(self._brought, shelf.name, opened))
            while len(self._packs) > _MOST_PACKED:
                self._packs.popitem(last=False)
        self._packs.move_to_end(key)
        return self._packs[key]

    def _brought(self, shelf: str, opened: OpenedVersion, path: str, data: memoryview) -> None:
        """A small file is here that nobody has asked for yet."""
        node = self.known(number_of(*file_place(shelf, opened.version, opened.manifest.digest, path)))
        if node is not None and not node.cached:
            self._give(node, data)

    def _give(self, node: Node, data: memoryview) -> None:
        """Spare the kernel the question for a small file's bytes; whoever asks all the same is answered."""
        if self.give is not None and not node.given:
            node.given = True
            self.give(node.number, data)

    def _backing(self, opened: _Open, node: Node) -> int:
        """The number by which the kernel reads the file itself; 0 if it shall read through us. With the lock held."""
        store = opened.content.store
        if (
            node.cached
            or opened.refused
            or self.backings is None
            or not store.complete
            or store.fd is None
            or not opened.content.size
        ):
            return 0
        if not opened.backing:
            opened.backing = self.backings.open_backing(store.fd) or 0
            if not opened.backing:
                # The file system that it lies on cannot do that.
                _LOG.warning(
                    "the kernel does not read %s by itself, but through the daemon", opened.content.source.name
                )
                opened.refused = True
                return 0
        self._whole.add(opened.content.blocks.file_digest)
        return opened.backing

    def _completed(self, opened: _Open) -> None:
        with self._lock:
            if self.backings is None or opened.content.store.fd is None or not opened.nodes:
                return
            self._renewed.add(opened.content.blocks.file_digest)
            names = [(node.parent, node.name) for node in opened.nodes]
        for parent, name in names:
            self.on_renewed(parent, name)

    def _end(self, opened: _Open) -> None:
        """Let a content go if nobody has it open and nothing of it is on its way. With the lock held."""
        digest = opened.content.blocks.file_digest
        if opened.opens or opened.content.busy or self._open.get(digest) is not opened:
            return
        del self._open[digest]
        if opened.backing and self.backings is not None:
            self.backings.close_backing(opened.backing)
        opened.content.close()
