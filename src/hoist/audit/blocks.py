"""Reading chosen blocks of many files at once, and telling which are not what they should be."""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Lock

from hoist.afresh import afresh, attempt_afresh
from hoist.audit.finding import Span, merged
from hoist.audit.protection import folder_of
from hoist.errors import Damaged, FileNotFound, StorageUnavailable
from hoist.model.manifest import FileEntry
from hoist.read.engine import Engine, Job
from hoist.read.plan import plan_ranges
from hoist.read.sink import verifying_sink
from hoist.read.source import Source
from hoist.storage.base import OnBytes, Storage, StoredFile, Version
from hoist.storage.posix import on_local_disk
from hoist.storage.wrap import Wrapper

# From this attempt on an accelerator is left out: what it holds may be right where the store's own bytes are not.
_AT_ORIGIN = 2


class AtRest(Wrapper):
    """A storage whose bytes come from where they are kept, and from no cache on the way; whoever has signed them."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.required_signers = ()
        folder = folder_of(inner)
        self._on_disk = folder is not None and on_local_disk(folder)

    def read_into(self, file: StoredFile, offset: int, buffer: memoryview) -> None:
        with afresh(max(_AT_ORIGIN, attempt_afresh())):
            try:
                self.inner.read_into(file, offset, buffer)
            except StorageUnavailable as error:
                cause = error.__cause__
                if self._on_disk and isinstance(cause, OSError) and cause.errno == errno.EIO:
                    # A sector that a disk cannot read is lost; from a file server this is worth waiting for.
                    raise Damaged(str(error)) from None
                raise

    def read_pack_into(self, version: Version, pack: str, offset: int, buffer: memoryview) -> None:
        with afresh(max(_AT_ORIGIN, attempt_afresh())):
            self.inner.read_pack_into(version, pack, offset, buffer)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read of one file: the blocks that hold `spans`."""

    version: Version
    entry: FileEntry
    source: Source
    spans: Sequence[Span]


@dataclass(frozen=True, slots=True)
class Broken:
    """The half-open ranges of a file that are wrong; `missing`: the file is not there at all."""

    version: Version
    entry: FileEntry
    spans: tuple[Span, ...]
    missing: bool = False


def read_blocks(wanted: Sequence[Wanted], engine: Engine, on_bytes: OnBytes) -> list[Broken]:
    """Read and check, each wrong block more than once. Memory: a request a connection.

    Raises StorageUnavailable, PermissionDenied, and what else a storage may.
    """
    gone: set[str] = set()
    wrong: defaultdict[str, list[Span]] = defaultdict(list)
    lock = Lock()

    def note(source: Source, begin: int, end: int) -> None:
        with lock:
            wrong[source.name].append((begin, end))

    jobs: list[Job] = []
    sink = verifying_sink()
    for each in wanted:
        source = replace(each.source, read_into=_noting(each.source, gone))
        requests = plan_ranges(source.blocks, each.spans, source.traits.request_bytes).requests
        jobs += [Job(source, request, sink) for request in requests]
    engine.run(jobs, on_bytes=on_bytes, on_damage=note)
    found: list[Broken] = []
    for each in wanted:
        name = each.source.name
        if name in gone:
            found.append(Broken(each.version, each.entry, ((0, each.entry.size),), missing=True))
        elif name in wrong:
            found.append(Broken(each.version, each.entry, merged(wrong[name])))
    return found


def _noting(source: Source, gone: set[str]) -> Callable[[int, memoryview], None]:
    """A file that is not there is as one whose every byte is wrong: the others are read all the same."""

    def read_into(offset: int, buffer: memoryview) -> None:
        try:
            source.read_into(offset, buffer)
        except FileNotFound as error:
            gone.add(source.name)
            raise Damaged(str(error)) from None

    return read_into
