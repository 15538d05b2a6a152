"""From a request of the kernel to the file system's answer, packed. Reads of files are the session's own."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping

from hoist.mount import protocol, replies
from hoist.mount.filesystem import Absent, FileSystem, Found, OpenFolder
from hoist.mount.nodes import Node
from hoist.mount.protocol import Malformed, Opcode, Request
from hoist.mount.replies import Attributes, Entry, EntryList

_FILE_TYPES = 12
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_CREAT


class Unsupported(OSError):
    """The kernel is told that we do not know this: it does without, and does not ask again."""

    def __init__(self) -> None:
        super().__init__(errno.ENOSYS, os.strerror(errno.ENOSYS))


class Operations:
    """Answers requests. Raises OSError, NeedsStorage unless `patient`, HoistError, Malformed."""

    def __init__(self, files: FileSystem) -> None:
        self._files = files
        self._by_opcode: Mapping[int, Callable[[Request, bool], bytes]] = {
            Opcode.LOOKUP: self._lookup,
            Opcode.GETATTR: self._getattr,
            Opcode.READLINK: self._readlink,
            Opcode.OPEN: self._open,
            Opcode.RELEASE: self._release,
            Opcode.OPENDIR: self._opendir,
            Opcode.READDIR: self._readdir,
            Opcode.READDIRPLUS: self._readdirplus,
            Opcode.RELEASEDIR: self._release,
            Opcode.STATFS: self._statfs,
            Opcode.FLUSH: self._nothing,
            Opcode.FSYNC: self._nothing,
            Opcode.FSYNCDIR: self._nothing,
            Opcode.ACCESS: self._nothing,
            Opcode.DESTROY: self._nothing,
            Opcode.SYNCFS: self._nothing,
        }

    def answer(self, request: Request, *, patient: bool) -> bytes:
        """What follows the answer's header."""
        act = self._by_opcode.get(request.opcode)
        if act is not None:
            return act(request, patient)
        if request.opcode in protocol.CHANGES:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        # Extended attributes, polling, seeking for holes, ioctl: the kernel knows what to say without us.
        raise Unsupported

    def forget(self, request: Request) -> None:
        """The kernel forgets nodes; there is no answer."""
        if request.opcode == Opcode.FORGET:
            self._files.nodes.forget(request.node, protocol.parse_forget(request.body))
            return
        for number, count in protocol.parse_batch_forget(request.body):
            self._files.nodes.forget(number, count)

    def _node(self, request: Request) -> Node:
        node = self._files.nodes.get(request.node)
        if node is None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return node

    def _attributes(self, node: Node) -> Attributes:
        options = self._files.options
        return Attributes(
            node.ino,
            self._files.mode(node),
            node.size,
            node.time_ns,
            1,
            os.getuid() if options.uid is None else options.uid,
            os.getgid() if options.gid is None else options.gid,
        )

    def _entry(self, found: Found) -> Entry:
        """The kernel is told of a node."""
        node = self._files.nodes.remember(found.node)
        return Entry(node.number, self._attributes(node), found.name_seconds, found.attr_seconds)

    def _lookup(self, request: Request, patient: bool) -> bytes:
        name = protocol.parse_name(request.body)
        if len(name) > protocol.NAME_BYTES:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        try:
            text = name.decode(errors="surrogateescape")
            found = self._files.lookup(self._node(request), text, patient=patient)
        except Absent as absent:
            if absent.seconds <= 0:
                raise
            return replies.pack_absent(absent.seconds)
        return replies.pack_entry(self._entry(found))

    def _getattr(self, request: Request, patient: bool) -> bytes:
        return replies.pack_attributes(self._attributes(self._node(request)), 86400.0)

    def _readlink(self, request: Request, patient: bool) -> bytes:
        return self._files.readlink(self._node(request)).encode()

    def _open(self, request: Request, patient: bool) -> bytes:
        if protocol.parse_flags(request.body) & _WRITES:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        number, opened = self._files.open_file(self._node(request), patient=patient)
        if opened.backing:
            return replies.pack_opened(number, protocol.OPEN_PASSTHROUGH | protocol.OPEN_NOFLUSH, opened.backing)
        return replies.pack_opened(number, protocol.OPEN_KEEP_CACHE | protocol.OPEN_NOFLUSH)

    def _opendir(self, request: Request, patient: bool) -> bytes:
        number, opened = self._files.open_folder(self._node(request), patient=patient)
        flags = protocol.OPEN_KEEP_CACHE | protocol.OPEN_CACHE_DIR if opened.fixed else 0
        return replies.pack_opened(number, flags)

    def _release(self, request: Request, patient: bool) -> bytes:
        self._files.release(protocol.parse_handle(request.body))
        return b""

    def _readdir(self, request: Request, patient: bool) -> bytes:
        return self._list(request, plus=False)

    def _readdirplus(self, request: Request, patient: bool) -> bytes:
        return self._list(request, plus=True)

    def _list(self, request: Request, *, plus: bool) -> bytes:
        asked = protocol.parse_read(request.body)
        opened = self._files.handle(asked.handle)
        if not isinstance(opened, OpenFolder):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        entries = EntryList(min(asked.size, 1 << 20))
        folder = opened.node
        for at, dots in enumerate((b".", b"..")):
            if asked.offset <= at:
                add = entries.add_bare if plus else entries.add
                if not add(dots, folder.ino if at == 0 else folder.parent, stat.S_IFDIR >> _FILE_TYPES, at + 1):
                    return entries.packed()
        for at in range(max(0, min(asked.offset, 1 << 62) - 2), len(opened.items)):
            name, named = opened.items[at]
            found = self._files.found(folder, name, named)
            entry = self._entry(found) if plus else None
            encoded = name.encode(errors="surrogateescape")
            if not entries.add(encoded, found.node.ino, found.node.kind >> _FILE_TYPES, at + 3, entry):
                if entry is not None:
                    self._files.nodes.forget(entry.node, 1)
                break
        return entries.packed()

    def _statfs(self, request: Request, patient: bool) -> bytes:
        return replies.pack_statfs(*self._files.usage())

    def _nothing(self, request: Request, patient: bool) -> bytes:
        return b""


__all__ = ["Malformed", "Operations", "Unsupported"]
