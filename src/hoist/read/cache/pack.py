"""A pack of small files in the host cache: kept as one cached file, block by block, as its parts are read.

So thousands of small files are two files of the cache, which is listed, limited, verified and dropped as any other. What
is read from there is hashed each time: it is little, and many times quicker than to ask the storage.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hoist.errors import Damaged
from hoist.model.blocks import FileBlocks, block_digest
from hoist.read.cache.file import CachedFile
from hoist.read.cache.host import HostCache
from hoist.read.plan import Request


class KeptPack:
    """What the cache has of one pack. Safe for many threads."""

    def __init__(self, cached: CachedFile) -> None:
        self._cached = cached
        self._blocks = cached.blocks

    def read(self, first: int, last: int) -> memoryview | None:
        """The bytes of blocks `first` to `last` (half-open), if they are here and right."""
        cached, starts = self._cached, self._blocks.starts
        if not all(cached.has(index) or cached.is_suspect(index) for index in range(first, last)):
            return None
        view = memoryview(bytearray(starts[last] - starts[first]))
        try:
            cached.read_into(starts[first], view)
        except Damaged:
            return None
        right = [index for index in range(first, last) if self._is_right(index, view, starts[first])]
        return view if len(right) == last - first else None

    def keep(self, request: Request, view: memoryview) -> None:
        """Keep the verified bytes of a request, as far as there is room and nobody else does it."""
        cached = self._cached
        for first, last in self._missing(request):
            if not cached.usable or not cached.claims.take(first, last):
                continue
            try:
                cached.host.reserve(cached, range(first, last))
                if cached.reserved.issuperset(range(first, last)):
                    begin, end = self._blocks.starts[first], self._blocks.starts[last]
                    cached.write(first, last, view[begin - request.begin : end - request.begin])
            except OSError as error:
                cached.host.refuse(cached, error)
            finally:
                cached.claims.give(first, last)

    def _is_right(self, index: int, view: memoryview, at: int) -> bool:
        begin, end = self._blocks.span(index)
        if block_digest(view[begin - at : end - at]) != self._blocks.digest(index):
            self._cached.unmark(index)
            return False
        if not self._cached.has(index):
            self._cached.mark(index, index + 1)
        return True

    def _missing(self, request: Request) -> Iterator[tuple[int, int]]:
        """The blocks of a request that are not here, as half-open runs."""
        first = None
        for index in range(request.first, request.last + 1):
            missing = index < request.last and not self._cached.has(index)
            if missing and first is None:
                first = index
            elif not missing and first is not None:
                yield first, index
                first = None


@contextmanager
def kept_pack(cache: HostCache | None, blocks: FileBlocks, seen_as: str) -> Iterator[KeptPack | None]:
    """A pack in the cache for as long as a `with` block; None where there is no cache, or none that can be used."""
    cached = cache.try_file(blocks, seen_as) if cache else None
    if cached is None:
        yield None
        return
    with cached:
        yield KeptPack(cached)
