"""The host cache: one folder of cached files, shared by all processes of a user on this host.

Opening an entry, room for it, what it holds, pins, drops and documents; `folder.py` has the files, `fill.py` the blocks.
"""

from __future__ import annotations

import errno
import os
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

from hoist.errors import HoistWarning, LocalError
from hoist.model.blocks import FileBlocks
from hoist.read.cache.entries import CacheEntry, CacheUsage, read_entries
from hoist.read.cache.file import CachedFile
from hoist.read.cache.folder import Folder, Opened
from hoist.read.cache.locks import folder_lock
from hoist.read.cache.neighbours import Neighbours
from hoist.read.cache.record import PIN_AT, entry_name
from hoist.read.cache.room import Room

_TRIES = 60
_PAUSE_SECONDS = 0.001
# The folders that this process has warned of.
_WARNED: set[Path] = set()
_WARNING = Lock()


class HostCache:
    """Cached files below `folder`, at most `limit` bytes of them (None: half of what the disk has for it).

    Nothing is made before the first file is. `recheck`: every block is hashed again before it counts as here.
    Safe for many threads and processes.
    """

    def __init__(self, folder: Path, limit: int | None = None, *, recheck: bool = False) -> None:
        self.folder = folder
        self.recheck = recheck
        self.room = Room(folder, limit)
        self.neighbours = Neighbours(folder / "files")
        self._folder = Folder(folder)

    def data_path(self, name: str) -> Path:
        """Where the data file of an entry lies."""
        return self._folder.data_path(name)

    def record_path(self, name: str) -> Path:
        """Where the record of an entry lies."""
        return self._folder.record_path(name)

    def file(self, blocks: FileBlocks, seen_as: str = "") -> CachedFile:
        """Open the cached file of those blocks, or make it; `seen_as` is a name to list it under.

        Raises LocalError if the folder cannot be used.
        """
        name = entry_name(blocks)
        try:
            self._folder.prepare()
            for number in range(_TRIES):
                found = self._folder.open(name, blocks)
                if found is None:
                    self._folder.make(name, blocks)
                    time.sleep(number * _PAUSE_SECONDS)  # who looks whether a file is in use is in the way for a moment
                    continue
                if seen_as:
                    self._folder.note(name, seen_as)
                return self._cached(name, found)
        except OSError as error:
            raise LocalError(f"the host cache in {self.folder}: {error.strerror or error}") from None
        raise LocalError(f"the host cache in {self.folder}: {name} comes and goes")

    def try_file(self, blocks: FileBlocks, seen_as: str = "") -> CachedFile | None:
        """As `file`; None, and one warning, where the cache cannot be used."""
        try:
            return self.file(blocks, seen_as)
        except LocalError as error:
            self.warn(str(error))
            return None

    def existing(self, name: str) -> CachedFile | None:
        """Open an entry by its own record; None if there is none that can be trusted. Raises OSError."""
        try:
            found = self._folder.open(name, None)
        except FileNotFoundError:
            return None
        return self._cached(name, found) if found else None

    def _cached(self, name: str, found: Opened) -> CachedFile:
        return CachedFile(self, name, found.blocks, found.data, found.record, recheck=self.recheck)

    def reserve(self, cached: CachedFile, wanted: Sequence[int]) -> None:
        """Find room for blocks, at the cost of what was not used for longest; `cached.reserved` has what got some."""
        new = [index for index in wanted if index not in cached.reserved]
        if not new or not cached.usable:
            return
        try:
            with folder_lock(self.folder):
                got = self.room.take(cached.fd, cached.name, [(index, *cached.blocks.span(index)) for index in new])
        except OSError as error:
            self.refuse(cached, error)
            return
        cached.reserved.update(got)
        if len(got) < len(new) and self.room.full:
            self.warn(f"the host cache in {self.folder} finds its disk full: what has no room is not kept")

    def refuse(self, cached: CachedFile, error: OSError) -> None:
        """The disk would not take a block: no more is written through this handle."""
        cached.usable = False
        mend = ": free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        self.warn(f"the host cache in {self.folder} is not written to: {error.strerror or error}{mend}")

    def warn(self, message: str) -> None:
        """Say once in this process that the cache does less than it should; loads go on without it."""
        with _WARNING:
            if self.folder in _WARNED:
                return
            _WARNED.add(self.folder)
        warnings.warn(f"{message}; going on without", HoistWarning, stacklevel=2)

    def entries(self) -> list[CacheEntry]:
        """What is in the cache, the last used first. Raises LocalError."""
        return read_entries(self)

    def usage(self) -> CacheUsage:
        """How full it is. Raises LocalError."""
        with self.told():
            return CacheUsage(self.folder, self.room.scan(), self.room.limit(), self.room.source)

    def pin(self, name: str) -> None:
        """Never evict the entry of that name. Raises LocalError."""
        self._set_pin(name, pinned=True)

    def unpin(self, name: str) -> None:
        """Let an entry be evicted again. Raises LocalError."""
        self._set_pin(name, pinned=False)

    def drop(self, name: str, *, force: bool = False) -> bool:
        """Remove an entry; False if it is in use, unless `force`: then its users keep it until they let go.

        Raises LocalError.
        """
        with self.told(), folder_lock(self.folder):
            return self.room.remove(name, force=force)

    def set_limit(self, limit: int | None) -> None:
        """Remember a limit in bytes in the folder (None: forget it), and evict what is over it. Raises LocalError."""
        with self.told():
            self._folder.prepare()
            self.room.keep_limit(limit)
        self.trim()

    def trim(self) -> int:
        """Evict what is over the limit, and remove what killed processes have left; the bytes held after that.

        Raises LocalError.
        """
        with self.told():
            if not (self.folder / "files").is_dir():
                return 0
            with folder_lock(self.folder):
                return self.room.trim()

    def document(self, digest: str) -> bytes | None:
        """A document by its `sha256:HEX` digest, not verified; None if it is not here."""
        try:
            return self._document_path(digest).read_bytes()
        except OSError:
            return None

    def keep_document(self, digest: str, data: bytes) -> None:
        """Keep a verified document; failing to is no error."""
        path = self._document_path(digest)
        with suppress(OSError, LocalError):
            self._folder.prepare()
            temporary = path.with_name(f".{path.name}.{os.getpid()}.{id(data)}")
            try:
                temporary.write_bytes(data)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

    def _document_path(self, digest: str) -> Path:
        return self.folder / "documents" / digest.replace(":", "-")

    def told(self) -> _Told:
        """A `with` block whose OSErrors become a LocalError that names the folder."""
        return _Told(self.folder)

    def _set_pin(self, name: str, *, pinned: bool) -> None:
        with self.told(), self.record_path(name).open("r+b", buffering=0) as file:
            os.pwrite(file.fileno(), bytes([pinned]), PIN_AT)


class _Told:
    """Errors of the operating system in the cache's folder as one that names it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise LocalError(f"the host cache in {self._folder}: {error.strerror or error}") from None
