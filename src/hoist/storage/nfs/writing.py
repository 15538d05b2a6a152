"""How files come into a tree on an NFS server: temporaries, folders made on the way, renames that may be asked twice."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

from hoist.errors import StorageUnavailable
from hoist.storage import layout
from hoist.storage.nfs.errors import NfsBroken, NfsStatus
from hoist.storage.nfs.libnfs import Stat
from hoist.storage.nfs.session import Session

FOLDER_MODE = 0o040000
_TYPE = 0o170000
# A version never changes: an editor that opens one of its files should be told so.
_READ_ONLY = 0o444
# Each time somebody else has deleted the last of a folder meanwhile: with many writers a few in a row are no surprise.
_PRUNED_TIMES = 20


def file_mode(found: Stat) -> int:
    """The type bits of a mode."""
    return int(found.nfs_mode) & _TYPE


class OpenFile:
    """A file that is open in a session. Its handle is given back once, whatever happens: libnfs frees it then."""

    def __init__(self, session: Session, path: str, flags: int) -> None:
        self.path = path
        self._session = session
        self._written = False
        self._handle: int | None = session.open(path, flags)

    def read(self, offset: int, buffer: memoryview) -> int:
        """See Session.read."""
        return self._session.read(self._open, offset, buffer)

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of `data`; `sync` it."""
        self._written = True
        self._session.bulk.write(self.path, offset, data)

    def truncate(self, size: int) -> None:
        """Make it that long."""
        self._session.truncate(self._open, size)

    def sync(self) -> None:
        """Bring what was written to the server's disk."""
        self._session.bulk.commit(self.path)

    def shut(self) -> None:
        """Close it; once more is no error."""
        handle, self._handle = self._handle, None
        if self._written:
            self._session.bulk.forget(self.path)
        if handle is not None:
            self._session.shut(handle)

    @property
    def _open(self) -> int:
        assert self._handle is not None, "the file was shut"
        return self._handle


@contextmanager
def opened(session: Session, path: str, flags: int) -> Iterator[OpenFile]:
    """An open file."""
    file = OpenFile(session, path, flags)
    try:
        yield file
    except NfsBroken:
        raise
    except BaseException:
        with suppress(NfsStatus):
            file.shut()
        raise
    file.shut()


@contextmanager
def new_temporary(session: Session) -> Iterator[OpenFile]:
    """A new file beside the tree, open to be written. It is gone afterwards, unless it was renamed."""
    file = create(session, f"/{layout.TMP}{uuid4().hex}")
    try:
        yield file
        file.shut()
    except NfsBroken:
        raise
    except BaseException:
        with suppress(NfsStatus):
            file.shut()
        with suppress(NfsStatus):
            remove(session, file.path)
        raise
    remove(session, file.path)


@contextmanager
def written(session: Session, data: memoryview) -> Iterator[str]:
    """A new file beside the tree that holds `data`, on the server's disk, read-only."""
    with new_temporary(session) as made:
        made.write(0, data)
        made.sync()
        made.shut()
        session.chmod(made.path, _READ_ONLY)
        yield made.path


def create(session: Session, path: str) -> OpenFile:
    """A new file, open to be written, in a folder that is made if need be."""
    for _ in range(_PRUNED_TIMES):
        try:
            return OpenFile(session, path, os.O_RDWR | os.O_CREAT)
        except NfsStatus as error:
            if error.name != "NOENT":
                raise
            make_folders(session, path)
    raise _pruned(path)


def read_all(session: Session, path: str) -> bytes:
    """The whole of a small file."""
    with opened(session, path, os.O_RDONLY) as file:
        data = bytearray(session.stat(path).nfs_size)
        got = file.read(0, memoryview(data)) if data else 0
    return bytes(data[:got])


def rename_file(session: Session, made: str, path: str) -> None:
    """Make a finished file read-only and rename it to `path`, replacing what is there."""
    session.chmod(made, _READ_ONLY)
    into_folder(session, path, lambda: session.rename(made, path), lambda: session.stat(made))


def into_folder(session: Session, path: str, act: Callable[[], None], check: Callable[[], object]) -> None:
    """Do what makes `path`, in a folder that others may prune at the same time: whoever loses to them tries again.

    `check` raises if it is not the folder that is missing.
    """
    for _ in range(_PRUNED_TIMES):
        try:
            return act()
        except NfsStatus as error:
            if error.name != "NOENT":
                raise
        check()
        make_folders(session, path)
    raise _pruned(path)


def link_file(session: Session, made: str, path: str) -> bool:
    """Link a finished file to `path` if there is nothing; whether it is there now."""
    try:
        into_folder(session, path, lambda: session.link(made, path), lambda: session.stat(made))
    except NfsStatus as error:
        if error.name != "EXIST":
            raise
        # Where a connection broke, it may be this very call that was carried out.
        try:
            there, mine = session.stat(path), session.stat(made)
        except NfsStatus as gone:
            if gone.missing:
                return False
            raise
        return bool(there.nfs_ino == mine.nfs_ino)
    return True


def make_folders(session: Session, path: str) -> None:
    """Make the folders above `path`."""
    missing = []
    folder = path.rpartition("/")[0]
    while folder:
        try:
            session.make_folder(folder)
            break
        except NfsStatus as error:
            if error.name == "EXIST":
                break
            if error.name != "NOENT":
                raise
            missing.append(folder)
            folder = folder.rpartition("/")[0]
    for each in reversed(missing):
        try:
            session.make_folder(each)
        except NfsStatus as error:
            if error.name == "NOENT":
                # Pruned again: the caller has another try.
                return
            if error.name != "EXIST":
                raise


def remove(session: Session, path: str) -> None:
    """Remove a name, if it is there."""
    try:
        session.unlink(path)
    except NfsStatus as error:
        if not error.missing:
            raise


def _pruned(path: str) -> StorageUnavailable:
    return StorageUnavailable(f"the folder of {path} is being removed again and again")
