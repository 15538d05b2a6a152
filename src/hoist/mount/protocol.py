"""The kernel's FUSE protocol, as far as a read-only file system needs it: what it asks, unpacked. Pure.

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
_INIT = struct.Struct("=IIIII")
_INIT_OLD = struct.Struct("=IIII")
_READ = struct.Struct("=QQI")
_HANDLE = struct.Struct("=Q")
_FLAGS = struct.Struct("=I")
_FORGET_COUNT = struct.Struct("=II")
_FORGET_ONE = struct.Struct("=QQ")

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


def _need(body: memoryview, layout: struct.Struct) -> None:
    if len(body) < layout.size:
        raise Malformed("shorter than its fields")
