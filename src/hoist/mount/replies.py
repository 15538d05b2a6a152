"""What the kernel is told: answers, and messages of our own, as its wire format has them."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hoist.mount.protocol import KERNEL_MAJOR, KERNEL_MINOR, MAX_PAGES, NAME_BYTES, PASSTHROUGH, WANTED, Init

_REPLY = struct.Struct("=IiQ")
_INIT_REPLY = struct.Struct("=IIIIHHIIHHIIH22x")
_ATTR = struct.Struct("=QQQQQQIIIIIIIIII")
_ENTRY = struct.Struct("=QQQQII")
_ATTR_HEAD = struct.Struct("=QII")
_OPENED = struct.Struct("=QIi")
_STATFS = struct.Struct("=QQQQQIIII24x")
_DIRENT = struct.Struct("=QQII")
_INVALIDATE = struct.Struct("=QII")
_NOTIFY_INVAL_ENTRY = 3
_STORE = struct.Struct("=QQII")
_NOTIFY_STORE = 4


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
