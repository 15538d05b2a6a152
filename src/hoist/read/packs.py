"""Small files by packs: the verified contents of many in few requests, whatever the packs are worth.

A block that is wrong in a pack is read from the plain file at once; a pack that is missing or too short is given up, and its
files are read by themselves. So what comes out is right, and packs only decide how many requests it takes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
from threading import Event, Lock
from typing import TYPE_CHECKING

from hoist.errors import Damaged, FileNotFound, NotFound, PermissionDenied, StorageUnsupported
from hoist.model.blocks import FileBlocks, block_digest, file_blocks
from hoist.model.packs import Pack, PackIndex
from hoist.parallel import SMALL_AT_ONCE, for_each
from hoist.read.cache.pack import KeptPack, kept_pack
from hoist.read.engine import Job
from hoist.read.pack_index import keep_index, kept_index, read_index, runs
from hoist.read.plan import Request
from hoist.read.sink import CallbackSink
from hoist.read.source import Source
from hoist.storage.base import OnBytes, StoredFile

if TYPE_CHECKING:
    from hoist.read.version import OpenedVersion

_Wanted = Mapping[tuple[int, int], Sequence[str]]
OnFile = Callable[[str, memoryview], None]
"""Told of a file's path and its verified bytes, which it must not keep; from any thread."""

# The pack index is a request too: who reads no more small files than that is better off without it.
PLAIN_READS = 2
# Smaller requests would be too many; larger ones too few at once, and of too much memory.
LEAST_REQUEST_BYTES, _MOST_REQUEST_BYTES = 4 << 20, 8 << 20
_WINDOW_BYTES = 4 << 20
_BATCH_BYTES = 32 << 20
_KEPT_BYTES = 32 << 20
# What says that a pack is of no use, and not that the storage is away.
USELESS = (NotFound, Damaged, PermissionDenied, StorageUnsupported)


class _Useless(FileNotFound):
    """A pack that is missing or too short."""


@dataclass(frozen=True, slots=True)
class _Laid:
    """A pack as the engine reads it: its blocks, those of the padding among them, and each file's first and last."""

    pack: Pack
    blocks: FileBlocks
    firsts: array[int]
    lasts: array[int]


class PackedFiles:
    """The files of a version that lie in its packs. Several threads may use one."""

    def __init__(self, opened: OpenedVersion, index: PackIndex) -> None:
        self.index = index
        self._opened = opened
        self._places = {
            file.digest: (number, at) for number, pack in enumerate(index.packs) for at, file in enumerate(pack.files)
        }
        # All packs one behind the other: where a request's bytes would go says which pack it is of.
        self._bases = [0, *accumulate(pack.size for pack in index.packs)]
        self._laid = cache(self._lay)
        self._useless: set[int] = set()
        self._lock = Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._kept_bytes = 0

    def __contains__(self, path: str) -> bool:
        """Whether a file of the version is packed. Empty files are not: nothing has to be read of them."""
        entry = self._opened.files.get(path)
        return entry is not None and entry.digest in self._places

    def window(self, path: str) -> Sequence[str]:
        """The packed files that are best read together with this one, itself among them: about 4 MiB."""
        number, at = self._place(path)
        pack = self.index.packs[number]
        step = pack.offsets[at] // _WINDOW_BYTES
        first = bisect_left(pack.offsets, step * _WINDOW_BYTES)
        last = bisect_left(pack.offsets, (step + 1) * _WINDOW_BYTES)
        return [path if each == at else pack.files[each].path for each in range(first, last)]

    def fetch(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Path and verified bytes of each packed file of `paths`, in the order of the packs. Memory: some requests.

        Raises FileNotFound for a file that is not packed, DamagedBlock, and what a storage may.
        """
        batch: list[str] = []
        size = 0
        for path in sorted(dict.fromkeys(paths), key=self._place):
            batch.append(path)
            size += self._opened.files[path].size
            if size >= _BATCH_BYTES:
                yield from self._batch(batch)
                batch, size = [], 0
        yield from self._batch(batch)

    def each(
        self, paths: Iterable[str], on_file: OnFile, stop: Event | None = None, *, on_bytes: OnBytes | None = None
    ) -> None:
        """Tell `on_file` of each packed file of `paths`, as they come, and `on_bytes` of the bytes of those that came from
        the storage, not from the host cache. Raises as `fetch`, and what `on_file` raises."""
        wanted: dict[tuple[int, int], list[str]] = defaultdict(list)
        for path in dict.fromkeys(paths):
            wanted[self._place(path)].append(path)
        with ExitStack() as stack:
            kept = {number: stack.enter_context(self._kept_pack(number)) for number in {place[0] for place in wanted}}
            came = self._at_hand(wanted, kept, on_file)
            self._bring(wanted, came, kept, on_file, stop, on_bytes)

    def _kept_pack(self, number: int) -> AbstractContextManager[KeptPack | None]:
        opened, digest = self._opened, self.index.packs[number].digest.removeprefix("sha256:")
        seen_as = f"{opened.storage.address}//{opened.version}/(small files, pack {digest[:12]})"
        return kept_pack(opened.kept_in, self._laid(number).blocks, seen_as)

    def _at_hand(self, wanted: _Wanted, kept: Mapping[int, KeptPack | None], on_file: OnFile) -> set[tuple[int, int]]:
        """Tell of what the host cache has; which places that were."""
        came = set()
        for (number, at), paths in wanted.items():
            pack, laid = kept[number], self._laid(number)
            view = pack.read(laid.firsts[at], laid.lasts[at]) if pack else None
            if view is not None:
                for path in paths:
                    on_file(path, view)
                came.add((number, at))
        return came

    def _bring(
        self,
        wanted: _Wanted,
        came: set[tuple[int, int]],
        kept: Mapping[int, KeptPack | None],
        on_file: OnFile,
        stop: Event | None,
        on_bytes: OnBytes | None,
    ) -> None:
        """Tell of what has not come yet, from the storage."""

        def take(request: Request, view: memoryview) -> None:
            number = bisect_right(self._bases, request.at) - 1
            pack = self.index.packs[number]
            for at in range(bisect_left(pack.offsets, request.begin), bisect_left(pack.offsets, request.end)):
                begin = pack.offsets[at] - request.begin
                for path in wanted.get((number, at), ()):
                    on_file(path, view[begin : begin + pack.files[at].size])
                if on_bytes and (number, at) in wanted:
                    on_bytes(pack.files[at].size)
                came.add((number, at))
            keeper = kept[number]
            if keeper:
                keeper.keep(request, view)

        sink = CallbackSink(take)
        while jobs := [*self._jobs([place for place in sorted(wanted) if place not in came], sink)]:
            try:
                self._opened.engine.run(jobs, on_damage=lambda source, begin, end: None, stop=stop)
                break
            except _Useless:
                # Its pack is known to be so by now; what has not come of the others is asked for again.
                continue

        def bring_plainly(path: str) -> None:
            view = self._plain(path)
            on_file(path, view)
            if on_bytes:
                on_bytes(len(view))

        left = [path for place, those in wanted.items() if place not in came for path in those]
        for_each(bring_plainly, left, SMALL_AT_ONCE)

    def read(self, path: str) -> bytes:
        """The whole of one packed file; those beside it come along, and are kept for a while. Raises as `fetch`."""
        digest = self._opened.entry(path).digest
        with self._lock:
            if digest not in self._kept:
                for other, data in self.fetch(self.window(path)):
                    self._keep(self._opened.files[other].digest, data)
            self._kept.move_to_end(digest)
            found = self._kept[digest]
            while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._kept_bytes -= len(self._kept.popitem(last=False)[1])
            return found

    def pack_source(self, number: int) -> Source:
        """A pack itself as a source; nothing takes the place of what is wrong in it."""
        opened, laid = self._opened, self._laid(number)

        def read_into(offset: int, buffer: memoryview) -> None:
            opened.storage.read_pack_into(opened.version, laid.pack.digest, offset, buffer)

        name = f"{opened.version} pack {laid.pack.digest}"
        return Source(name, opened.storage.address, laid.blocks, read_into, opened.storage.traits)

    def _place(self, path: str) -> tuple[int, int]:
        place = self._places.get(self._opened.entry(path).digest)
        if place is None:
            raise FileNotFound(f"{path} of {self._opened.version} is in no pack")
        return place

    def _batch(self, paths: list[str]) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        self.each(paths, lambda path, view: found.append((path, bytes(view))))
        return sorted(found, key=lambda item: self._place(item[0]))

    def _keep(self, digest: str, data: bytes) -> None:
        if digest not in self._kept:
            self._kept[digest] = data
            self._kept_bytes += len(data)

    def _plain(self, path: str) -> memoryview:
        """A file by itself: whatever is wrong with it is told in its own name."""
        return memoryview(self._opened.reader(path).read(0, self._opened.files[path].size))

    def _jobs(self, places: Iterable[tuple[int, int]], sink: CallbackSink) -> Iterator[Job]:
        by_pack: dict[int, list[int]] = defaultdict(list)
        size = 0
        for number, at in places:
            if number not in self._useless:
                by_pack[number].append(at)
                size += self.index.packs[number].files[at].size
        traits = self._opened.storage.traits
        request_bytes = min(
            traits.request_bytes, _MOST_REQUEST_BYTES, max(LEAST_REQUEST_BYTES, size // (4 * traits.connections))
        )
        for number, those in by_pack.items():
            laid = self._laid(number)
            source = self._source(number, laid)
            for first, last in runs(laid.pack, those, request_bytes):
                begin, end = laid.pack.offsets[first], laid.pack.offsets[last] + laid.pack.files[last].size
                request = Request(begin, end, laid.firsts[first], laid.lasts[last], self._bases[number] + begin)
                yield Job(source, request, sink, whole=True)

    def _source(self, number: int, laid: _Laid) -> Source:
        """A pack for one use of it: what was read once and is asked for again was wrong, and comes from the plain file."""
        given = bytearray(len(laid.blocks))
        whole = self.pack_source(number)

        def read_into(offset: int, buffer: memoryview) -> None:
            blocks = laid.blocks.covering(offset, offset + len(buffer))
            if given[blocks.start]:
                self._read_plainly(laid.pack, offset, buffer)
                return
            try:
                whole.read_into(offset, buffer)
            except USELESS as error:
                self._useless.add(number)
                raise _Useless(str(error)) from None
            given[blocks.start : blocks.stop] = b"\1" * len(blocks)

        return Source(whole.name, whole.where, laid.blocks, read_into, whole.traits)

    def _read_plainly(self, pack: Pack, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with what the pack should have at `offset`."""
        end = offset + len(buffer)
        buffer[:] = bytes(len(buffer))
        for at in range(bisect_right(pack.offsets, offset) - 1, bisect_left(pack.offsets, end)):
            begin, file = pack.offsets[at], pack.files[at]
            first, last = max(offset, begin), min(end, begin + file.size)
            if first < last:
                part = buffer[first - offset : last - offset]
                try:
                    self._opened.storage.read_into(StoredFile(self._opened.version, file), first - begin, part)
                except (NotFound, PermissionDenied) as error:
                    # It may be one that nobody asked for: whoever did is told by reading it by itself.
                    raise Damaged(str(error)) from None

    def _lay(self, number: int) -> _Laid:
        pack = self.index.packs[number]
        lengths, digests = array("Q"), []
        firsts, lasts = array("I"), array("I")
        end = 0
        for offset, file in zip(pack.offsets, pack.files, strict=True):
            if offset > end:
                lengths.append(offset - end)
                digests.append(_padding(offset - end))
            blocks = self._opened.table.of(file.digest, file.size)
            firsts.append(len(lengths))
            lengths.extend(b - a for a, b in pairwise(blocks.starts))
            digests.append(blocks.digests)
            lasts.append(len(lengths))
            end = offset + file.size
        return _Laid(pack, file_blocks(pack.digest, lengths, digests), firsts, lasts)


def open_packs(opened: OpenedVersion) -> PackedFiles | None:
    """The packed files of a version; None if it has none that can be used. Raises StorageUnavailable."""
    kept = kept_index(opened)
    if kept is not None:
        return PackedFiles(opened, kept)
    with suppress(*USELESS):
        index = read_index(opened)
        if index.packs:
            keep_index(opened, index)
            return PackedFiles(opened, index)
    return None


@cache
def _padding(length: int) -> bytes:
    return block_digest(bytes(length))
