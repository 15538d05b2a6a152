"""The folder of a cache: opening, making and replacing the two files of an entry, safe at every point.

    FOLDER/files/HEX-LAYOUT.data, .record    a file of one digest, cut into blocks in one way
    FOLDER/documents/sha256-HEX, packs-HEX   block tables, pack indices
    FOLDER/lock, usage, limit                who makes and removes files; bytes given out; what `hoist cache limit` set

Files are made and removed under the folder's lock; their blocks are brought under claims of their own.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from blake3 import blake3

from hoist.errors import LocalError
from hoist.model.blocks import FileBlocks
from hoist.read.cache.file import suspects
from hoist.read.cache.locks import folder_lock, hold
from hoist.read.cache.record import (
    HEADER_BYTES,
    PIN_AT,
    Header,
    layout_digest,
    new_record,
    parse_header,
    parse_names,
    parse_tables,
)
from hoist.storage.posix import on_local_disk

DATA, RECORD = ".data", ".record"
_MOST_NAMES_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Opened:
    """An entry's blocks, and the descriptors of its data file, which it holds in use, and its record."""

    blocks: FileBlocks
    data: int
    record: int


class Folder:
    """The entries below `folder`, as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ready = False

    def data_path(self, name: str) -> Path:
        """Where the data file of an entry lies."""
        return self.folder / "files" / (name + DATA)

    def record_path(self, name: str) -> Path:
        """Where the record of an entry lies."""
        return self.folder / "files" / (name + RECORD)

    def prepare(self) -> None:
        """Make the folder; refuse one that others may write. Raises OSError, LocalError."""
        if self._ready:
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_folder(self.folder)
        for part in ("files", "documents"):
            (self.folder / part).mkdir(mode=0o700, exist_ok=True)
        self._ready = True

    def open(self, name: str, blocks: FileBlocks | None) -> Opened | None:
        """Open what is there, of those blocks or of its own; None if it has to be made (anew). Raises OSError."""
        record = data = -1
        try:
            record = os.open(self.record_path(name), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            data = os.open(self.data_path(name), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            header = header_at(record)
            if blocks is None and header:
                blocks = parse_tables(header, os.pread(record, header.names_at - header.tables_at, header.tables_at))
            known = header and blocks is not None and _is_of(header, blocks) and os.fstat(data).st_size == header.size
            held = known and hold(data) and _is_at(record, self.record_path(name))
            if not (header and blocks is not None and held and _is_at(data, self.data_path(name))):
                return None
            if header.boot != boot_digest():
                self._reboot(record, header)
            os.utime(record)
            found = Opened(blocks, data, record)
            record = data = -1
            return found
        except FileNotFoundError:
            return None
        finally:
            for fd in (record, data):
                if fd >= 0:
                    os.close(fd)

    def make(self, name: str, blocks: FileBlocks) -> None:
        """Make the files of an entry, in the place of what cannot be trusted. Raises OSError."""
        with folder_lock(self.folder):
            if self._is_made(name, blocks):
                return  # somebody else was quicker
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

    def _is_made(self, name: str, blocks: FileBlocks) -> bool:
        try:
            with self.record_path(name).open("rb", buffering=0) as record:
                header = header_at(record.fileno())
            return header is not None and _is_of(header, blocks) and self.data_path(name).stat().st_size == header.size
        except FileNotFoundError:
            return False

    def _reboot(self, record: int, header: Header) -> None:
        """Make suspects of the blocks that were verified before the machine was started anew."""
        with folder_lock(self.folder):
            now = header_at(record)
            if now is None or now.boot == boot_digest():
                return
            os.pwrite(record, suspects(os.pread(record, header.blocks, HEADER_BYTES)), HEADER_BYTES)
            os.pwrite(record, header.booted(boot_digest()).to_bytes(), 0)

    def note(self, name: str, seen_as: str) -> None:
        """Add a name that the file is seen under; failing to is no error."""
        with suppress(OSError), self.record_path(name).open("r+b", buffering=0) as file:
            header = header_at(file.fileno())
            if header is None:
                return
            known = os.pread(file.fileno(), _MOST_NAMES_BYTES, header.names_at)
            line = seen_as.replace("\n", " ").encode(errors="replace") + b"\n"
            if seen_as in parse_names(known) or len(known) + len(line) > _MOST_NAMES_BYTES:
                return
            os.pwrite(file.fileno(), line, header.names_at + len(known))


def check_folder(folder: Path) -> None:
    """Refuse a folder that others may write, or that lies elsewhere than on this host. Raises LocalError, OSError."""
    status = folder.stat()
    if status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o002:
        raise LocalError(
            f"the host cache in {folder}: others may write there, so nothing in it can be trusted; "
            "name a folder of your own (HOIST_CACHE)"
        )
    if not on_local_disk(folder):
        raise LocalError(
            f"the host cache in {folder}: that is no local disk; name a folder on one, or memory (HOIST_CACHE)"
        )


def _is_at(fd: int, path: Path) -> bool:
    """Whether an opened file still lies there: nobody has evicted it meanwhile."""
    return os.path.samestat(os.fstat(fd), path.stat())


@lru_cache
def boot_digest() -> bytes:
    """Which start of the kernel this is; where it does not say so, each process is one of its own."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        text = os.urandom(16)
    return blake3(text).digest(16)


def header_at(record: int) -> Header | None:
    """The header of an open record; None if it cannot be trusted. Raises OSError."""
    return parse_header(os.pread(record, PIN_AT, 0), os.fstat(record).st_size)


def _is_of(header: Header, blocks: FileBlocks) -> bool:
    return header.file_digest == blocks.file_digest and header.layout == layout_digest(blocks)
