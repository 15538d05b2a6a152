"""The host cache: one folder of cached files, shared by all processes of a user on this host.

    FOLDER/files/HEX-LAYOUT.data, .record    a file of one digest, cut into blocks in one way
    FOLDER/documents/sha256-HEX              block tables
    FOLDER/lock, usage, limit                who makes and removes files; bytes given out; what `hoist cache limit` set

Files are made and removed under the folder's lock; their blocks are brought under claims of their own.
"""

from __future__ import annotations

import errno
import os
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock

from blake3 import blake3

from hoist.errors import HoistWarning, LocalError
from hoist.model.blocks import FileBlocks
from hoist.read.cache.entries import CacheEntry, CacheUsage, read_entries
from hoist.read.cache.file import CachedFile, suspects
from hoist.read.cache.locks import folder_lock, hold
from hoist.read.cache.neighbours import Neighbours
from hoist.read.cache.record import (
    HEADER_BYTES,
    PIN_AT,
    Header,
    entry_name,
    layout_digest,
    new_record,
    parse_header,
    parse_names,
    parse_tables,
)
from hoist.read.cache.room import Room
from hoist.storage.posix import on_local_disk

DATA, RECORD = ".data", ".record"
_TRIES = 60
_PAUSE_SECONDS = 0.001
_MOST_NAMES_BYTES = 1 << 16
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
        self._ready = False

    def data_path(self, name: str) -> Path:
        """Where the data file of an entry lies."""
        return self.folder / "files" / (name + DATA)

    def record_path(self, name: str) -> Path:
        """Where the record of an entry lies."""
        return self.folder / "files" / (name + RECORD)

    def file(self, blocks: FileBlocks, seen_as: str = "") -> CachedFile:
        """Open the cached file of those blocks, or make it; `seen_as` is a name to list it under.

        Raises LocalError if the folder cannot be used.
        """
        name = entry_name(blocks)
        try:
            self._prepare()
            for number in range(_TRIES):
                found = self._open(name, blocks)
                if found is None:
                    self._make(name, blocks)
                    time.sleep(number * _PAUSE_SECONDS)  # who looks whether a file is in use is in the way for a moment
                    continue
                if seen_as:
                    self._note(found, seen_as)
                return found
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
            return self._open(name, None)
        except FileNotFoundError:
            return None

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
            self._prepare()
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
            self._prepare()
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

    def _prepare(self) -> None:
        """Make the folder; refuse one that others may write. Raises OSError, LocalError."""
        if self._ready:
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = self.folder.stat()
        if status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o002:
            raise LocalError(
                f"the host cache in {self.folder}: others may write there, so nothing in it can be trusted; "
                "name a folder of your own (HOIST_CACHE)"
            )
        if not on_local_disk(self.folder):
            raise LocalError(
                f"the host cache in {self.folder}: that is no local disk; name a folder on one, or memory (HOIST_CACHE)"
            )
        for part in ("files", "documents"):
            (self.folder / part).mkdir(mode=0o700, exist_ok=True)
        self._ready = True

    def _open(self, name: str, blocks: FileBlocks | None) -> CachedFile | None:
        """Open what is there; None if it has to be made (anew)."""
        record = data = -1
        try:
            record = os.open(self.record_path(name), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            data = os.open(self.data_path(name), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            header = _header(record)
            if blocks is None and header:
                blocks = parse_tables(header, os.pread(record, header.names_at - header.tables_at, header.tables_at))
            known = header and blocks is not None and _is_of(header, blocks) and os.fstat(data).st_size == header.size
            held = known and hold(data) and self._is_at(record, self.record_path(name))
            if not (header and blocks is not None and held and self._is_at(data, self.data_path(name))):
                return None
            if header.boot != boot_digest():
                self._reboot(record, header)
            os.utime(record)
            found = CachedFile(self, name, blocks, data, record, recheck=self.recheck)
            record = data = -1
            return found
        except FileNotFoundError:
            return None
        finally:
            for fd in (record, data):
                if fd >= 0:
                    os.close(fd)

    @staticmethod
    def _is_at(fd: int, path: Path) -> bool:
        """Whether an opened file still lies there: nobody has evicted it meanwhile."""
        return os.path.samestat(os.fstat(fd), path.stat())

    def _make(self, name: str, blocks: FileBlocks) -> None:
        """Make the files of an entry, in the place of what cannot be trusted."""
        with folder_lock(self.folder):
            with suppress(FileNotFoundError):
                record = os.open(self.record_path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    header = _header(record)
                    good = header is not None and _is_of(header, blocks)
                    if good and self.data_path(name).stat().st_size == blocks.size:
                        return  # somebody else was quicker
                finally:
                    os.close(record)
            self.record_path(name).unlink(missing_ok=True)
            self.data_path(name).unlink(missing_ok=True)
            fd = os.open(self.data_path(name), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(fd, blocks.size)
            finally:
                os.close(fd)
            temporary = self.record_path(name).with_suffix(".new")
            temporary.unlink(missing_ok=True)
            try:
                fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(fd, "wb", buffering=0) as file:
                    content = memoryview(new_record(blocks, boot_digest()))
                    while content:
                        content = content[file.write(content) :]
                temporary.replace(self.record_path(name))
            except BaseException:
                temporary.unlink(missing_ok=True)
                self.data_path(name).unlink(missing_ok=True)
                raise

    def _reboot(self, record: int, header: Header) -> None:
        """Make suspects of the blocks that were verified before the machine was started anew."""
        with folder_lock(self.folder):
            now = _header(record)
            if now is None or now.boot == boot_digest():
                return
            os.pwrite(record, suspects(os.pread(record, header.blocks, HEADER_BYTES)), HEADER_BYTES)
            os.pwrite(record, header.booted(boot_digest()).to_bytes(), 0)

    def _note(self, cached: CachedFile, seen_as: str) -> None:
        """Add a name that the file is seen under; failing to is no error."""
        with suppress(OSError), self.record_path(cached.name).open("r+b", buffering=0) as file:
            header = _header(file.fileno())
            if header is None:
                return
            known = os.pread(file.fileno(), _MOST_NAMES_BYTES, header.names_at)
            line = seen_as.replace("\n", " ").encode(errors="replace") + b"\n"
            if seen_as in parse_names(known) or len(known) + len(line) > _MOST_NAMES_BYTES:
                return
            os.pwrite(file.fileno(), line, header.names_at + len(known))

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


@lru_cache
def boot_digest() -> bytes:
    """Which start of the kernel this is; where it does not say so, each process is one of its own."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        text = os.urandom(16)
    return blake3(text).digest(16)


def _header(record: int) -> Header | None:
    return parse_header(os.pread(record, PIN_AT, 0), os.fstat(record).st_size)


def _is_of(header: Header, blocks: FileBlocks) -> bool:
    return header.file_digest == blocks.file_digest and header.layout == layout_digest(blocks)
