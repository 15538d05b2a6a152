"""The file system: folders, files and links with their attributes and bytes. Knows nothing of how the kernel asks.

Nothing here waits for a storage unless its caller is `patient`: it raises NeedsStorage instead, and is asked again by
somebody who can wait. Once a version's manifest is known, no look at its names and sizes asks the storage again.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from threading import Lock

from hoist.errors import Cancelled, NotFound, PermissionDenied, Unsigned, UsageError
from hoist.model.manifest import FileEntry
from hoist.mount.content import Answer, Content, WholeFile
from hoist.mount.nodes import ROOT, Node, Nodes
from hoist.mount.openings import Contents
from hoist.mount.options import MountOptions
from hoist.mount.shelf import NeedsStorage, Shelf, Shelved
from hoist.mount.tree import GROUP, Folder, Link, Named, VersionRoot, file_place, number_of

# What cannot change is remembered for a day.
FOREVER = 86400.0
_ABSENT_SECONDS = 60.0
# A file that may soon be whole, and then be another node: if the kernel does not hear of it, it looks again after so long.
_UNFINISHED_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Found:
    """A name's node, and for how many seconds the name, and the attributes, may be remembered."""

    node: Node
    name_seconds: float
    attr_seconds: float = FOREVER


class Absent(OSError):
    """There is no such name, which may be remembered for `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(errno.ENOENT, os.strerror(errno.ENOENT))
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class OpenFolder:
    """A folder as it was when it was opened. `fixed`: it never changes."""

    node: Node
    items: Sequence[tuple[str, Named | Shelf]]
    fixed: bool


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An open file; `backing` is what the kernel knows its whole content by, 0 if it reads through us."""

    node: Node
    content: Content | WholeFile
    backing: int


class FileSystem:
    """The tree of one or several storages. Safe for many threads."""

    def __init__(
        self,
        shelves: Mapping[str, Shelf],
        contents: Contents,
        options: MountOptions,
        *,
        levels: bool,
    ) -> None:
        self.options = options
        self._shelves = shelves
        self._contents = contents
        self._began_ns = time.time_ns()
        self._handles: dict[int, OpenFolder | OpenFile] = {}
        self._numbers = count(1)
        self._lock = Lock()
        self.root = Node(ROOT, ROOT, stat.S_IFDIR, ROOT, "", 0, self._began_ns)
        self.root.lookups = 1
        if not levels:
            (self.root.shelf,) = shelves.values()
        self.nodes = Nodes(self.root)
        contents.known = self.nodes.get

    def lookup(self, parent: Node, name: str, *, patient: bool) -> Found:
        """A name in a folder. Raises Absent, OSError, NeedsStorage, HoistError."""
        folder = self._folder(parent, patient=patient)
        named = folder.get(name)
        if parent.shelf is not None and parent.shelf.unlisted and not _is_inside(parent):
            named = parent.shelf.find(parent.path, name, patient=patient)
        if named is None:
            raise Absent(_ABSENT_SECONDS if parent.shelved else min(_ABSENT_SECONDS, self.options.refresh_seconds))
        return self.found(parent, name, named)

    def found(self, parent: Node, name: str, named: Named | Shelf) -> Found:
        """The node of a name that a folder has. Raises NeedsStorage."""
        if isinstance(named, Shelf):
            return Found(
                self._make(parent, name, stat.S_IFDIR, 0, self._began_ns, ("storage", name), shelf=named), FOREVER
            )
        shelved = self._shelved(parent, patient=False)
        if shelved is not None:
            return self._found_inside(parent, shelved, name, named)
        assert parent.shelf is not None
        path = f"{parent.path}/{name}" if parent.path else name
        where = (parent.shelf.name, path)
        life = self.options.refresh_seconds
        if isinstance(named, Link):
            target = named.target
            node = self._make(
                parent, name, stat.S_IFLNK, len(target.encode()), self._began_ns, ("link", *where, target), named=named
            )
            return Found(node, life)
        if isinstance(named, VersionRoot):
            published = named.published_ns or self._began_ns
            what = ("version", *where, named.digest or str(named.published_ns))
            return Found(self._make(parent, name, stat.S_IFDIR, 0, published, what, path=path, named=named), life)
        node = self._make(parent, name, stat.S_IFDIR, 0, self._began_ns, ("group", *where), path=path, named=GROUP)
        return Found(node, life)

    def mode(self, node: Node) -> int:
        """Kind and permissions."""
        if node.kind == stat.S_IFDIR:
            return stat.S_IFDIR | self.options.folder_mode
        return node.kind | (0o777 if node.kind == stat.S_IFLNK else self.options.file_mode)

    def readlink(self, node: Node) -> str:
        """Where a link leads. Raises OSError."""
        if not isinstance(node.named, Link):
            raise OSError(errno.EINVAL, "not a link")
        return node.named.target

    def open_folder(self, node: Node, *, patient: bool) -> tuple[int, OpenFolder]:
        """A handle on a folder. Raises OSError, NeedsStorage, HoistError."""
        if node.kind != stat.S_IFDIR:
            raise OSError(errno.ENOTDIR, "not a folder")
        items = tuple(self._folder(node, patient=patient).items())
        opened = OpenFolder(node, items, self._shelved(node, patient=patient) is not None)
        return self._keep(opened), opened

    def open_file(self, node: Node, *, patient: bool) -> tuple[int, OpenFile]:
        """A handle on a file. Raises OSError, NeedsStorage, HoistError."""
        if not isinstance(node.named, FileEntry) or node.shelved is None:
            raise OSError(errno.EISDIR if node.kind == stat.S_IFDIR else errno.ELOOP, "not a file")
        assert node.shelf is not None
        content, backing = self._contents.open(node, patient=patient)
        opened = OpenFile(node, content, backing)
        return self._keep(opened), opened

    def handle(self, number: int) -> OpenFolder | OpenFile | None:
        """What is open under a number."""
        return self._handles.get(number)

    def release(self, number: int) -> None:
        """A handle is closed."""
        with self._lock:
            opened = self._handles.pop(number, None)
        if isinstance(opened, OpenFile):
            self._contents.release(opened.node, opened.content, opened.backing)

    def read(self, content: Content, begin: int, end: int, answer: Answer) -> None:
        """Have `answer` told of bytes that are not here."""
        self._contents.fetcher.read(content, begin, end, answer)

    def usage(self) -> tuple[int, int]:
        """Bytes and files of what has been opened so far."""
        known = [shelf.usage() for shelf in self._shelves.values()]
        return sum(size for size, _ in known), sum(files for _, files in known)

    def _folder(self, node: Node, *, patient: bool) -> Mapping[str, Named | Shelf]:
        if node.kind != stat.S_IFDIR:
            raise OSError(errno.ENOTDIR, "not a folder")
        if node.shelf is None:
            return self._shelves
        shelved = self._shelved(node, patient=patient)
        if shelved is not None:
            return shelved.tree.get(_inside(node), {})
        found: Folder | None = node.shelf.catalogue(patient=patient).tree.get(node.path)
        if found is None and not node.shelf.unlisted:
            raise Absent(0.0)
        return found or {}

    def _shelved(self, node: Node, *, patient: bool) -> Shelved | None:
        """The version that a folder is in, or is; None above all versions."""
        if node.shelved is None and node.shelf is not None and isinstance(node.named, VersionRoot):
            return node.shelf.version(node.named, patient=patient)
        return node.shelved

    def _found_inside(self, parent: Node, shelved: Shelved, name: str, named: Named) -> Found:
        assert parent.shelf is not None
        path = f"{_inside(parent)}/{name}" if _inside(parent) else name
        opened = shelved.opened
        where = file_place(parent.shelf.name, opened.version, opened.manifest.digest, path)
        published = shelved.root.published_ns or self._began_ns
        if isinstance(named, FileEntry):
            ino = number_of(*where)
            renewed = self._contents.is_renewed(named.digest)
            number = number_of(*where, "whole") if renewed else ino
            node = self.nodes.get(number) or Node(
                number,
                ino,
                stat.S_IFREG,
                parent.number,
                name,
                named.size,
                published,
                path,
                named,
                parent.shelf,
                shelved,
            )
            return Found(node, FOREVER if renewed or not self._contents.may_renew(named) else _UNFINISHED_SECONDS)
        if isinstance(named, Link):
            size = len(named.target.encode())
            # Never the number of a file: contents that come unasked are given to files by their numbers.
            node = self._make(parent, name, stat.S_IFLNK, size, published, ("link", *where), path=path, named=named)
        else:
            node = self._make(parent, name, stat.S_IFDIR, 0, published, where, path=path, named=named)
        node.shelved = shelved
        return Found(node, FOREVER)

    def _make(
        self,
        parent: Node,
        name: str,
        kind: int,
        size: int,
        time_ns: int,
        what: Sequence[str],
        *,
        path: str = "",
        named: Named | None = None,
        shelf: Shelf | None = None,
    ) -> Node:
        number = number_of(*what)
        known = self.nodes.get(number)
        if known is not None:
            return known
        return Node(number, number, kind, parent.number, name, size, time_ns, path, named, shelf or parent.shelf)

    def _keep(self, opened: OpenFolder | OpenFile) -> int:
        with self._lock:
            number = next(self._numbers)
            self._handles[number] = opened
        return number


def _is_inside(node: Node) -> bool:
    """Whether a folder is a version's, or in one."""
    return node.shelved is not None or isinstance(node.named, VersionRoot)


def _inside(node: Node) -> str:
    """Where a folder is in its version; a version's own is its topmost."""
    return node.path if node.shelved is not None else ""


def errno_of(error: BaseException) -> int:
    """What a reader is told of an error."""
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    if isinstance(error, NotFound):
        return errno.ENOENT
    if isinstance(error, PermissionDenied | Unsigned):
        return errno.EACCES
    if isinstance(error, UsageError):
        return errno.EINVAL
    if isinstance(error, Cancelled):
        return errno.EINTR
    return errno.EIO


__all__ = ["Absent", "FileSystem", "Found", "NeedsStorage", "OpenFile", "OpenFolder", "errno_of"]
