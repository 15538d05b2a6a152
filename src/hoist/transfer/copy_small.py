"""The small files of a version that is copied: many at a time, read once for all targets, from packs where it has some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Lock

from hoist.model.manifest import FileEntry
from hoist.model.packs import FEWEST_FILES, Pack, PackIndex
from hoist.read.cache.fill import Want, deliver
from hoist.read.plan import plan_file
from hoist.read.sink import BufferSink
from hoist.read.version import OpenedVersion
from hoist.transfer.feed import Feed

SMALL_BYTES = 1 << 20
_BATCH_BYTES = 32 << 20
_BATCH_FILES = 4096

Batch = tuple[Pack | None, Sequence[FileEntry]]


def is_small(entry: FileEntry) -> bool:
    """Whether a file goes with others in a batch."""
    return entry.size < SMALL_BYTES


def batches_of(files: Sequence[FileEntry], index: PackIndex) -> Iterator[Batch]:
    """The small files: those of each pack, then the others, some dozen MiB at a time."""
    packed: set[str] = set()
    for pack in index.packs:
        packed.update(file.path for file in pack.files)
        yield pack, pack.files
    batch: list[FileEntry] = []
    size = 0
    for file in files:
        if not is_small(file) or file.path in packed:
            continue
        if batch and (size + file.size > _BATCH_BYTES or len(batch) == _BATCH_FILES):
            yield None, batch
            batch, size = [], 0
        batch.append(file)
        size += file.size
    if batch:
        yield None, batch


class SmallFiles:
    """A batch in memory, read when the first target asks for any of it. Several threads may ask."""

    def __init__(self, opened: OpenedVersion, files: Sequence[FileEntry], feed: Feed) -> None:
        self._opened, self._files, self._feed = opened, files, feed
        self._lock = Lock()
        self._contents: dict[str, memoryview] | None = None

    def content(self, entry: FileEntry) -> memoryview:
        """A file's bytes, verified. Raises what reading does."""
        with self._lock:
            if self._contents is None:
                self._contents = self._read()
        return self._contents[entry.digest]

    def _read(self) -> dict[str, memoryview]:
        opened = self._opened
        unique = {file.digest: file for file in self._files}
        whole = memoryview(bytearray(sum(file.size for file in unique.values())))
        found: dict[str, memoryview] = {}
        at = 0
        for file in unique.values():
            found[file.digest] = whole[at : at + file.size]
            at += file.size
        by_path = {file.path: file for file in unique.values()}
        packed = opened.small_files() if len(by_path) >= FEWEST_FILES else None
        if packed:
            those = [path for path in by_path if path in packed]

            def keep(path: str, view: memoryview) -> None:
                found[by_path[path].digest][:] = view

            packed.each(those, keep, on_bytes=self._feed.count)
            for path in those:
                del by_path[path]
        wants = []
        for path, file in by_path.items():
            source = opened.source(path)
            plan = plan_file(source.blocks, source.traits.request_bytes)
            wants.append(Want(source, plan, BufferSink(found[file.digest])))
        deliver(wants, opened.engine, on_bytes=self._feed.count, stop=self._feed.stop)
        return found
