"""Small files by packs: whoever reads several of a version gets those beside them along, into memory and the host cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event, Lock

from hoist.model.blocks import FileBlocks
from hoist.model.manifest import FileEntry
from hoist.model.packs import PACK_BELOW
from hoist.mount.stores import BlockMemory, MemoryStore, whole_key
from hoist.mount.workers import Shared, Workers
from hoist.read.cache.fill import fill as fill_cached
from hoist.read.engine import Engine
from hoist.read.pack_index import kept_index
from hoist.read.packs import LEAST_REQUEST_BYTES, PLAIN_READS, PackedFiles
from hoist.read.source import Source
from hoist.read.version import OpenedVersion
from hoist.storage.base import OnBytes

# With the last small file that begins in it, a window is no more than one request for packs.
_WINDOW_BYTES = LEAST_REQUEST_BYTES - PACK_BELOW
# Windows that are brought ahead of somebody who reads one after the other.
_AHEAD = 3


class Packs:
    """The packed files of one version, in windows that are fetched as one, each once at a time.

    `on_ahead` is told of the path and the bytes of each file of a window that nobody has asked for yet.
    """

    def __init__(
        self, opened: OpenedVersion, memory: BlockMemory, on_ahead: Callable[[str, memoryview], None] = lambda *_: None
    ) -> None:
        self._opened = opened
        self._memory = memory
        self._on_ahead = on_ahead
        self._lock = Lock()
        self._reads = 0
        self._packed: Shared[PackedFiles | None] | None = None
        self._windows: list[list[FileEntry]] = []
        self._window_of: dict[str, int] = {}
        self._fetching: dict[int, Shared[None]] = {}
        self._workers = Workers("hoist-packs", _AHEAD)
        self._last = -1
        self._at_hand: bool | None = None

    def bring(self, digest: str, on_bytes: OnBytes) -> bool:
        """Bring the window of a file to memory; False if the file is in no pack, or only few files were read so far.

        Raises what a storage may.
        """
        with self._lock:
            self._reads += 1
            few = self._reads <= PLAIN_READS
        if few and self._at_hand is None:
            # An index that this host has costs nothing.
            self._at_hand = kept_index(self._opened) is not None
        packed = None if few and not self._at_hand else self._index()
        number = self._window_of.get(digest)
        if packed is None or number is None:
            return False
        self._fetch(packed, number, on_bytes).wait()
        with self._lock:
            onwards = number == self._last + 1
            self._last = number
        if onwards:
            for ahead in range(number + 1, min(number + 1 + _AHEAD, len(self._windows))):
                if not self._memory.has(whole_key(self._windows[ahead][0].digest)):
                    self._fetch(packed, ahead, on_bytes, later=True)
        return True

    def _index(self) -> PackedFiles | None:
        with self._lock:
            asking = self._packed
            mine = asking is None
            if asking is None:
                asking = self._packed = Shared(self._open)
        if mine:
            asking.run()
        try:
            return asking.wait()
        except BaseException:
            # The storage was away: ask again the next time.
            self._packed = None
            raise

    def _open(self) -> PackedFiles | None:
        packed = self._opened.small_files()
        for pack in packed.index.packs if packed else ():
            last = -1
            for offset, file in zip(pack.offsets, pack.files, strict=True):
                if offset // _WINDOW_BYTES != last:
                    self._windows.append([])
                last = offset // _WINDOW_BYTES
                self._windows[-1].append(file)
                self._window_of[file.digest] = len(self._windows) - 1
        return packed

    def _fetch(self, packed: PackedFiles, number: int, on_bytes: OnBytes, *, later: bool = False) -> Shared[None]:
        """The fetch of a window, begun here unless it is under way."""
        with self._lock:
            found = self._fetching.get(number)
            if found is not None and found.running:
                return found
            fetch = self._fetching[number] = Shared(lambda: self._carry_out(packed, number, on_bytes))
        if later:
            self._workers.submit(lambda: self._bring_ahead(fetch, number))
        else:
            fetch.run()
        return fetch

    def _bring_ahead(self, fetch: Shared[None], number: int) -> None:
        fetch.run()
        # Only now: whoever waits for one of these files has been told, and it is not kept waiting by this.
        for file in self._windows[number]:
            data = self._memory.get(whole_key(file.digest))
            if data is not None:
                self._on_ahead(file.path, data)

    def _carry_out(self, packed: PackedFiles, number: int, on_bytes: OnBytes) -> None:
        window = self._windows[number]
        files = {file.path: file for file in window}

        def keep(path: str, view: memoryview) -> None:
            self._memory.put(whole_key(files[path].digest), memoryview(bytes(view)))

        try:
            packed.each(files, keep, on_bytes=on_bytes)
        finally:
            with self._lock:
                self._fetching.pop(number, None)


class PackedStore(MemoryStore):
    """A small file in memory, which comes with those beside it in its pack."""

    def __init__(self, blocks: FileBlocks, memory: BlockMemory, packs: Packs) -> None:
        super().__init__(blocks, memory)
        self._packs = packs
        self._file = blocks.file_digest

    def has(self, index: int) -> bool:
        return self._memory.has(whole_key(self._file)) or super().has(index)

    def views(self, begin: int, end: int) -> Sequence[memoryview] | None:
        whole = self._memory.get(whole_key(self._file))
        return super().views(begin, end) if whole is None else (whole[begin:end],)

    def fill(self, source: Source, engine: Engine, first: int, last: int, on_bytes: OnBytes, stop: Event) -> None:
        if self._packs.bring(self._file, on_bytes) and all(map(self.has, range(first, last))):
            return
        cached = source.cache.try_file(source.blocks, source.seen_as) if source.cache else None
        if cached is None:
            super().fill(source, engine, first, last, on_bytes, stop)
            return
        with cached:
            span = (source.blocks.starts[first], source.blocks.starts[last])
            on_bytes(fill_cached(cached, source, engine, [span], sink=self, stop=stop).fetched_bytes)
