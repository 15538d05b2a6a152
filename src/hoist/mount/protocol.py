"""The kernel's FUSE protocol, as far as a read-only file system needs it: requests unpacked, replies packed. Pure.

Layouts are those of Linux's `include/uapi/linux/fuse.h`, little-endian or not as the machine is. What a request holds beyond
the fields that are used here is passed over; one that is too short for its fields raises Malformed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

KERNEL_MAJOR: Final = 7
# What the layouts here are of; and the oldest minor version whose answers have these sizes.
KERNEL_MINOR: Final = 45
OLDEST_MINOR: Final = 28
MAX_PAGES: Final = 256
# The longest request: a header, two names. Reads bring no data along.
REQUEST_BYTES: Final = (1 << 20) + 4096
# As long as a whole path in a manifest may be.
NAME_BYTES: Final = 1024


class Malformed(ValueError):
    """A request that is shorter than its fields."""


class Opcode(IntEnum):
    """What the kernel asks."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    IOCTL = 39
    POLL = 40
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46
    COPY_FILE_RANGE = 47
    SYNCFS = 50
    TMPFILE = 51
    STATX = 52


# They change something: a read-only file system says so, whether or not the kernel has said it already.
CHANGES: Final = frozenset(
    (
        Opcode.SETATTR,
        Opcode.SYMLINK,
        Opcode.MKNOD,
        Opcode.MKDIR,
        Opcode.UNLINK,
        Opcode.RMDIR,
        Opcode.RENAME,
        Opcode.RENAME2,
        Opcode.LINK,
        Opcode.WRITE,
        Opcode.SETXATTR,
        Opcode.REMOVEXATTR,
        Opcode.CREATE,
        Opcode.FALLOCATE,
        Opcode.COPY_FILE_RANGE,
        Opcode.TMPFILE,
    )
)
# The kernel waits for no answer to these.
UNANSWERED: Final = frozenset((Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT))

# What is negotiated: a request's `flags` with its `flags2` in the upper half.
ASYNC_READ: Final = 1 << 0
DO_READDIRPLUS: Final = 1 << 13
READDIRPLUS_AUTO: Final = 1 << 14
ASYNC_DIO: Final = 1 << 15
PARALLEL_DIROPS: Final = 1 << 18
BIG_REQUESTS: Final = 1 << 22
CACHE_SYMLINKS: Final = 1 << 23
INIT_EXT: Final = 1 << 30
PASSTHROUGH: Final = 1 << 37
WANTED: Final = (
    ASYNC_READ
    | DO_READDIRPLUS
    | READDIRPLUS_AUTO
    | ASYNC_DIO
    | PARALLEL_DIROPS
    | BIG_REQUESTS
    | CACHE_SYMLINKS
    | INIT_EXT
)

OPEN_KEEP_CACHE: Final = 1 << 1
OPEN_CACHE_DIR: Final = 1 << 3
OPEN_NOFLUSH: Final = 1 << 5
OPEN_PASSTHROUGH: Final = 1 << 7

_HEADER = struct.Struct("=IIQQIIIHH")
_REPLY = struct.Struct("=IiQ")
_INIT = struct.Struct("=IIIII")
_INIT_OLD = struct.Struct("=IIII")
_INIT_REPLY = struct.Struct("=IIIIHHIIHHIIH22x")
_ATTR = struct.Struct("=QQQQQQIIIIIIIIII")
_ENTRY = struct.Struct("=QQQQII")
_ATTR_HEAD = struct.Struct("=QII")
_OPENED = struct.Struct("=QIi")
_STATFS = struct.Struct("=QQQQQIIII24x")
_READ = struct.Struct("=QQI")
_HANDLE = struct.Struct("=Q")
_FLAGS = struct.Struct("=I")
_FORGET_COUNT = struct.Struct("=II")
_FORGET_ONE = struct.Struct("=QQ")
_DIRENT = struct.Struct("=QQII")
_INVALIDATE = struct.Struct("=QII")
_NOTIFY_INVAL_ENTRY = 3
_STORE = struct.Struct("=QQII")
_NOTIFY_STORE = 4

HEADER_BYTES: Final = _HEADER.size


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `body` is what follows the header, and is the caller's buffer: it is used again soon."""

    opcode: int
    unique: int
    node: int
    body: memoryview


@dataclass(frozen=True, slots=True)
class Init:
    """What the kernel offers at the start."""

    major: int
    minor: int
    max_readahead: int
    flags: int


@dataclass(frozen=True, slots=True)
class Read:
    """A read of a file, or of a folder from an entry on."""

    handle: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Attributes:
    """What stat shows. `mode` with the kind of file; `time` is of all three, in nanoseconds."""

    ino: int
    mode: int
    size: int
    time_ns: int
    links: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A name found: its node (0: there is none, which may be remembered) and how long that holds, in seconds."""

    node: int
    attributes: Attributes
    entry_seconds: float
    attr_seconds: float


def parse_request(buffer: memoryview) -> Request:
    """The request that `buffer` holds. Raises Malformed."""
    if len(buffer) < HEADER_BYTES:
        raise Malformed("shorter than a header")
    length, opcode, unique, node, *_ = _HEADER.unpack_from(buffer)
    if length != len(buffer):
        raise Malformed(f"says {length} bytes and has {len(buffer)}")
    return Request(opcode, unique, node, buffer[HEADER_BYTES:])


def parse_init(body: memoryview) -> Init:
    """The kernel's offer. Raises Malformed."""
    _need(body, _INIT_OLD)
    major, minor, readahead, flags = _INIT_OLD.unpack_from(body)
    if flags & INIT_EXT and len(body) >= _INIT.size:
        flags |= _INIT.unpack_from(body)[4] << 32
    return Init(major, minor, readahead, flags)


def parse_name(body: memoryview) -> bytes:
    """The name of a lookup. Raises Malformed."""
    name, nul, _ = bytes(body).partition(b"\0")
    if not nul or not name:
        raise Malformed("a name without an end")
    return name


def parse_read(body: memoryview) -> Read:
    """A read's fields. Raises Malformed."""
    _need(body, _READ)
    return Read(*_READ.unpack_from(body))


def parse_handle(body: memoryview) -> int:
    """The handle that is released. Raises Malformed."""
    _need(body, _HANDLE)
    return int(_HANDLE.unpack_from(body)[0])


def parse_flags(body: memoryview) -> int:
    """How a file is opened. Raises Malformed."""
    _need(body, _FLAGS)
    return int(_FLAGS.unpack_from(body)[0])


def parse_forget(body: memoryview) -> int:
    """How many lookups of the node are forgotten. Raises Malformed."""
    return parse_handle(body)


def parse_batch_forget(body: memoryview) -> Iterator[tuple[int, int]]:
    """Nodes, and how many lookups of each are forgotten. Raises Malformed."""
    _need(body, _FORGET_COUNT)
    count, _ = _FORGET_COUNT.unpack_from(body)
    rest = body[_FORGET_COUNT.size :]
    if len(rest) < count * _FORGET_ONE.size:
        raise Malformed("fewer nodes than it says")
    return iter([_FORGET_ONE.unpack_from(rest, each * _FORGET_ONE.size) for each in range(count)])


def parse_interrupt(body: memoryview) -> int:
    """Which request is to be given up. Raises Malformed."""
    return parse_handle(body)


def reply_header(unique: int, payload_bytes: int, error: int = 0) -> bytes:
    """What stands before each answer; `error` is an errno."""
    return _REPLY.pack(_REPLY.size + payload_bytes, -error, unique)


def pack_init(init: Init, *, background: int, passthrough: int) -> bytes:
    """The answer to the kernel's offer. `passthrough`: how deep file systems may stack below; 0 for none."""
    wanted = (WANTED | (PASSTHROUGH if passthrough else 0)) & init.flags
    depth = passthrough if wanted & PASSTHROUGH else 0
    low, high = wanted & 0xFFFFFFFF, wanted >> 32
    return _INIT_REPLY.pack(
        KERNEL_MAJOR,
        min(init.minor, KERNEL_MINOR),
        init.max_readahead,
        low,
        background,
        background * 3 // 4,
        4096,
        1,
        MAX_PAGES,
        0,
        high,
        depth,
        0,
    )


def pack_version() -> bytes:
    """The answer to a kernel of a newer major version: it then asks again in this one."""
    return _INIT_REPLY.pack(KERNEL_MAJOR, KERNEL_MINOR, *(0,) * 11)


def pack_attributes(attributes: Attributes, seconds: float) -> bytes:
    """The answer to a stat."""
    whole, nanos = _split(seconds)
    return _ATTR_HEAD.pack(whole, nanos, 0) + _pack_attr(attributes)


def pack_entry(entry: Entry) -> bytes:
    """The answer to a lookup."""
    entry_whole, entry_nanos = _split(entry.entry_seconds)
    attr_whole, attr_nanos = _split(entry.attr_seconds)
    head = _ENTRY.pack(entry.node, 0, entry_whole, attr_whole, entry_nanos, attr_nanos)
    return head + _pack_attr(entry.attributes)


def pack_absent(seconds: float) -> bytes:
    """The answer to a lookup of what is not there, to be remembered for a while."""
    whole, nanos = _split(seconds)
    return _ENTRY.pack(0, 0, whole, 0, nanos, 0) + bytes(_ATTR.size)


def pack_opened(handle: int, flags: int, backing: int = 0) -> bytes:
    """The answer to an open."""
    return _OPENED.pack(handle, flags, backing)


def pack_statfs(total_bytes: int, files: int) -> bytes:
    """The answer to a df: full, as nothing can be added."""
    size = 4096
    return _STATFS.pack(-(-total_bytes // size), 0, 0, files, 0, size, NAME_BYTES, size, 0)


def pack_invalidate(parent: int, name: bytes) -> bytes:
    """A message of our own: look this name up again."""
    body = _INVALIDATE.pack(parent, len(name), 0) + name + b"\0"
    return _REPLY.pack(_REPLY.size + len(body), _NOTIFY_INVAL_ENTRY, 0) + body


def pack_store(node: int, size: int) -> bytes:
    """What precedes a whole file's `size` bytes in a message of our own: keep them in the page cache."""
    body = _STORE.pack(node, 0, size, 0)
    return _REPLY.pack(_REPLY.size + len(body) + size, _NOTIFY_STORE, 0) + body


class EntryList:
    """The answer to a read of a folder, up to `size` bytes; `add` says whether there was room."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._parts: list[bytes] = []

    def add(self, name: bytes, ino: int, kind: int, following: int, entry: Entry | None = None) -> bool:
        """One name; `following` is the place from which the next one is read; `entry` where attributes go along."""
        return self._put(name, ino, kind, following, b"" if entry is None else pack_entry(entry))

    def add_bare(self, name: bytes, ino: int, kind: int, following: int) -> bool:
        """A name whose attributes do not go along, in an answer where others' do."""
        return self._put(name, ino, kind, following, bytes(_ENTRY.size + _ATTR.size))

    def _put(self, name: bytes, ino: int, kind: int, following: int, before: bytes) -> bool:
        part = before + _DIRENT.pack(ino, following, len(name), kind) + name
        part += bytes(-len(part) % 8)
        if len(part) > self._left:
            return False
        self._left -= len(part)
        self._parts.append(part)
        return True

    def packed(self) -> bytes:
        """The answer."""
        return b"".join(self._parts)


def _pack_attr(attributes: Attributes) -> bytes:
    second, nanos = divmod(attributes.time_ns, 10**9)
    size = attributes.size
    return _ATTR.pack(
        attributes.ino,
        size,
        -(-size // 512),
        second,
        second,
        second,
        nanos,
        nanos,
        nanos,
        attributes.mode,
        attributes.links,
        attributes.uid,
        attributes.gid,
        0,
        1 << 20 if size >= 1 << 20 else 4096,
        0,
    )


def _split(seconds: float) -> tuple[int, int]:
    whole = int(seconds)
    return whole, int((seconds - whole) * 10**9)


def _need(body: memoryview, layout: struct.Struct) -> None:
    if len(body) < layout.size:
        raise Malformed("shorter than its fields")
