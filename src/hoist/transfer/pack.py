"""Sending small files and their packs: each file from the same memory, by itself and as part of its pack.

What was read to be hashed is kept as far as memory allows, so that it is not read again. At most a few packs are in memory.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event, Lock

from hoist.errors import UsageError
from hoist.model.manifest import FileEntry
from hoist.model.packs import FEWEST_FILES, MOST_PACK_BELOW, PACK_BELOW, Pack, PackIndex
from hoist.parallel import SMALL_AT_ONCE, for_each
from hoist.read.source import local_error
from hoist.storage.base import Publication, Storage
from hoist.storage.posix import changed, fill
from hoist.transfer.moved import Moved
from hoist.transfer.scan import LocalFile, ScannedFile

_PACKS_AT_ONCE = 2
_KEPT_BYTES = 128 << 20


def pack_limit(asked: int | None, storage: Storage, files: Sequence[LocalFile]) -> int:
    """Files below this size are packed: as asked, or as suits the storage; 0 where they are too few.

    Raises UsageError if more is asked than there is.
    """
    if not 0 <= (asked or 0) <= MOST_PACK_BELOW:
        raise UsageError(f"files are packed below {MOST_PACK_BELOW} bytes at most, or none below 0, not below {asked}")
    below = asked if asked is not None else PACK_BELOW if storage.traits.packs else 0
    return below if sum(0 < file.size < below for file in files) >= FEWEST_FILES else 0


class Kept:
    """Contents of small files, by path, as far as memory allows. Several threads may use one."""

    def __init__(self) -> None:
        self._left = _KEPT_BYTES
        self._lock = Lock()
        self._contents: dict[str, bytes] = {}

    def keep(self, path: str, data: bytes) -> None:
        """Keep it, if there is room."""
        with self._lock:
            if len(data) <= self._left:
                self._left -= len(data)
                self._contents[path] = data

    def take(self, path: str) -> bytes | None:
        """Hand out what was kept, and keep it no longer."""
        with self._lock:
            data = self._contents.pop(path, None)
            self._left += len(data or b"")
            return data


@dataclass(frozen=True)
class Packer:
    """Sends the packed files of one publish, and the packs. `told` hears of bytes just before they are sent, and may raise.

    `anew`: the version is there, and gets its packs whatever it has of them.
    """

    publication: Publication
    content: Callable[[FileEntry], bytes | memoryview]
    moved: Moved
    told: Callable[[int], None]
    stop: Event
    anew: bool = False

    def send(self, index: PackIndex) -> int:
        """Send all; the bytes of packs that were sent. Raises LocalError for a file that changed, and what a storage may."""
        sent = 0
        sending: deque[Future[int]] = deque()
        with ThreadPoolExecutor(_PACKS_AT_ONCE, "hoist-pack") as senders:
            try:
                for pack in index.packs:
                    data = self.assemble(pack)
                    if data is not None:
                        sending.append(senders.submit(self.put, pack, data))
                    del data
                    while len(sending) >= _PACKS_AT_ONCE:
                        sent += sending.popleft().result()
                sent += sum(each.result() for each in sending)
            except BaseException:
                self.stop.set()
                senders.shutdown(wait=False, cancel_futures=True)
                raise
        if index.packs:
            self.publication.put_packs(index)
        return sent

    def assemble(self, pack: Pack) -> bytearray | None:
        """Send the files of a pack; the pack, unless the storage has it."""
        there = not self.anew and (self.publication.has_pack(pack) or self.publication.adopt_pack(pack))
        data = None if there else bytearray(pack.size)
        for_each(lambda at: self._file(pack, at, data), range(len(pack.files)), SMALL_AT_ONCE, self.stop)
        return data

    def _file(self, pack: Pack, at: int, data: bytearray | None) -> None:
        entry = pack.files[at]
        there = self.anew or self.publication.has(entry)
        copied = not there and self.publication.adopt(entry)
        if data is not None or not (there or copied):
            content = self.content(entry)
            if data is not None:
                data[pack.offsets[at] : pack.offsets[at] + entry.size] = content
            if not (there or copied):
                self.told(entry.size)
                self.publication.put_data(entry, content)
        if self.anew:
            self.moved.advance(entry.size)
        else:
            self.moved.count("resumed" if there else "copied" if copied else "sent", entry.size)

    def put(self, pack: Pack, data: bytearray) -> int:
        """Send a pack; its bytes."""
        self.told(len(data))
        self.publication.put_pack(pack, memoryview(data))
        return len(data)


def read_again(item: ScannedFile) -> bytes:
    """The file once more; it must be what was hashed. Raises LocalError."""
    data = bytearray(item.entry.size)
    try:
        with item.file.source.open("rb", buffering=0) as opened:
            got = fill(opened.fileno(), 0, memoryview(data))
    except OSError as error:
        raise local_error(error, item.file.source) from None
    if got != len(data) or f"sha256:{hashlib.sha256(data).hexdigest()}" != item.entry.digest:
        raise changed(item.file.source)
    return bytes(data)
