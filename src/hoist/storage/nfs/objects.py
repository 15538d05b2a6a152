"""A folder of an NFS server as a place of plain keys: the tree that a directory storage has, without a mount.

Files are written beside the tree, brought to the server's disk, made read-only, and linked or renamed into place: each
of these is one call, which the server carries out whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from uuid import uuid4

from hoist.errors import Conflict, Damaged, FileNotFound
from hoist.parallel import SMALL_AT_ONCE, for_each
from hoist.storage import layout
from hoist.storage.base import OnBytes, Traits
from hoist.storage.nfs.contexts import Contexts
from hoist.storage.nfs.errors import NfsStatus
from hoist.storage.nfs.libnfs import TYPE_FILE, TYPE_FOLDER, Stat
from hoist.storage.nfs.session import Entry, Session
from hoist.storage.nfs.staged import StagedNfsFile
from hoist.storage.nfs.swap import Swap
from hoist.storage.nfs.writing import (
    FOLDER_MODE,
    file_mode,
    into_folder,
    new_temporary,
    opened,
    read_all,
    remove,
    rename_file,
    written,
)
from hoist.storage.objects import ObjectInfo, Stamped, Unfinished
from hoist.storage.posix import changed, open_source

_COPY_BYTES = 4 << 20
_NO_FILE = ("SYMLINK", "INVAL", "NOTDIR", "ISDIR", "WRONG_TYPE")
_NO_LINKS = ("NOTSUPP", "MLINK", "XDEV", "PERM", "NOENT")


class NfsObjects:
    """See Objects."""

    staged_from: int | None = 16 << 20
    links = True

    def __init__(self, contexts: Contexts, address: str, traits: Traits) -> None:
        self.address = address
        self.traits = traits
        self.contexts = contexts

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folders = [(entry, self._leads(entry, prefix)) for entry in self._names(prefix)]
        for entry, into in sorted(folders, key=lambda item: item[0].name + "/" * item[1]):
            key = prefix + entry.name
            if into:
                if key + "/" != layout.TMP:
                    yield from self.list(key + "/")
            elif info := self._info(entry, key):
                yield info

    def head(self, key: str) -> ObjectInfo:
        return _info_of(key, self.contexts.run(lambda session: session.stat(f"/{key}"), key))

    def mode(self, key: str) -> int:
        """The type and permissions of a file or folder, as stat has them."""
        return self.contexts.run(lambda session: int(session.stat(f"/{key}").nfs_mode), key)

    def get(self, key: str) -> Stamped:
        data = self.contexts.run(lambda session: read_all(session, f"/{key}"), key)
        return Stamped(data, stamp(data))

    def read_into(self, key: str, offset: int, buffer: memoryview) -> None:
        def read(session: Session) -> int:
            try:
                return session.bulk.read(f"/{key}", offset, buffer)
            except NfsStatus as error:
                # Of links only libnfs knows where they lead; the others say so again.
                if error.name not in _NO_FILE:
                    raise
            with opened(session, f"/{key}", os.O_RDONLY) as file:
                return file.read(offset, buffer)

        if self.contexts.run(read, key) != len(buffer):
            raise Damaged(f"{key} in {self.address} ends before byte {offset + len(buffer)}")

    def first_byte_seconds(self) -> float | None:
        return None

    def throttled(self) -> int:
        return 0

    def local_path(self, key: str) -> Path | None:
        return None

    def put(self, key: str, data: bytes | memoryview) -> None:
        def put(session: Session) -> None:
            with written(session, memoryview(data)) as made:
                rename_file(session, made, f"/{key}")

        self.contexts.run(put, key)

    def create(self, key: str, data: bytes) -> bool:
        return Swap(key, data).create(self.contexts)

    def swap(self, key: str, data: bytes, expected: str | None) -> bool:
        swap = Swap(key, data)
        if expected is None:
            return swap.create(self.contexts)
        return swap.replace(self.contexts, lambda found: stamp(found) == expected)

    def put_file(self, key: str, source: Path, size: int, on_bytes: OnBytes) -> None:
        told = 0

        def put(session: Session) -> None:
            nonlocal told
            with open_source(source) as reader, new_temporary(session) as made:
                at, buffer = 0, bytearray(_COPY_BYTES)
                while got := os.preadv(reader.fileno(), [buffer], at):
                    made.write(at, memoryview(buffer)[:got])
                    at += got
                    # Begun again, it is not told again what was told.
                    on_bytes(max(0, at - max(told, at - got)))
                    told = max(told, at)
                made.sync()
                if at != size:
                    raise changed(source)
                made.shut()
                rename_file(session, made.path, f"/{key}")

        self.contexts.run(put, key)

    def stage(self, key: str, size: int, source: Path, journals: Path | None) -> StagedNfsFile:
        return StagedNfsFile(self, key, size, source, journals)

    def unfinished(self) -> Iterator[Unfinished]:
        for entry in self._names(layout.TMP):
            # The other is the lock of those who have the share mounted.
            if entry.type == TYPE_FILE and entry.name != "lock":
                yield Unfinished(layout.TMP + entry.name, "", entry.size, entry.modified)

    def drop_unfinished(self, item: Unfinished) -> None:
        def drop(session: Session) -> None:
            if _info_of(item.key, session.stat(f"/{item.key}")).modified > item.modified:
                raise Conflict(f"{item.key} in {self.address} is being written")
            remove(session, f"/{item.key}")

        try:
            self.contexts.run(drop, item.key)
        except FileNotFound:
            return

    def copy(self, source: str, target: str) -> bool:
        # A hard link, as in a directory: published files are read-only and never change.
        def link(session: Session) -> bool:
            try:
                act = partial(session.link, f"/{source}", f"/{target}")
                into_folder(session, f"/{target}", act, lambda: session.stat(f"/{source}"))
            except NfsStatus as error:
                if error.name == "EXIST" or error.name in _NO_LINKS:
                    return False
                raise
            return True

        return self.contexts.run(link, target)

    def copy_over(self, source: str, target: str) -> bool:
        made = layout.TMP + uuid4().hex
        if not self.copy(source, made):
            return False

        try:
            self.contexts.run(lambda session: rename_file(session, f"/{made}", f"/{target}"), target)
        finally:
            # Renaming one name of a file to another of its names does nothing.
            self.contexts.run(lambda session: remove(session, f"/{made}"), target)
        return True

    def symlink(self, key: str, target: str) -> bool:
        def lay(session: Session) -> bool:
            made = f"/{layout.TMP}{uuid4().hex}"
            try:
                into_folder(session, made, lambda: session.symlink(target, made), lambda: None)
            except NfsStatus as error:
                # A file system without them: the file is written.
                if error.name in ("NOTSUPP", "PERM"):
                    return False
                raise
            try:
                into_folder(session, f"/{key}", lambda: session.rename(made, f"/{key}"), lambda: None)
            except NfsStatus:
                remove(session, made)
                raise
            return True

        return self.contexts.run(lay, key)

    def delete(self, keys: Sequence[str]) -> None:
        for_each(self._delete, keys, SMALL_AT_ONCE)

    def conditional(self) -> bool:
        return True

    def close(self) -> None:
        self.contexts.close()

    def _delete(self, key: str) -> None:
        def delete(session: Session) -> None:
            remove(session, f"/{key}")
            folder = key
            while folder := folder.rpartition("/")[0]:
                try:
                    session.remove_folder(f"/{folder}")
                except NfsStatus as error:
                    if error.forgotten:
                        raise
                    break

        self.contexts.run(delete, key)

    def _names(self, prefix: str) -> Sequence[Entry]:
        def names(session: Session) -> Sequence[Entry]:
            try:
                return session.names(f"/{prefix}")
            except NfsStatus as error:
                if error.missing:
                    return []
                raise

        return self.contexts.run(names, prefix)

    def _leads(self, entry: Entry, prefix: str) -> bool:
        """Whether a name is a folder, or a link to one."""
        if entry.type in (TYPE_FILE, TYPE_FOLDER):
            return entry.type == TYPE_FOLDER
        key = prefix + entry.name

        def leads(session: Session) -> bool:
            try:
                return file_mode(session.stat(f"/{key}")) == FOLDER_MODE
            except NfsStatus as error:
                if error.missing:
                    return False
                raise

        return self.contexts.run(leads, key)

    def _info(self, entry: Entry, key: str) -> ObjectInfo | None:
        if entry.type == TYPE_FILE:
            return ObjectInfo(key, entry.size, entry.modified)
        try:
            return self.head(key)
        except FileNotFound:
            # Removed since it was listed, or a link to nowhere.
            return None


def stamp(data: bytes) -> str:
    """What tells one content from another."""
    return hashlib.sha256(data).hexdigest()


def _info_of(key: str, found: Stat) -> ObjectInfo:
    if file_mode(found) == FOLDER_MODE:
        raise NfsStatus("ISDIR")
    return ObjectInfo(key, found.nfs_size, found.nfs_mtime + found.nfs_mtime_nsec / 1e9)
