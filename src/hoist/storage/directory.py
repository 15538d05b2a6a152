"""A directory as a storage: a local disk, an NFS mount, or `/models` inside a container."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from hoist.errors import (
    Conflict,
    Damaged,
    FileNotFound,
    HoistError,
    LocalError,
    StorageNotFound,
    StorageUnavailable,
)
from hoist.pagecache import cached_fraction
from hoist.parallel import SMALL_AT_ONCE, for_each
from hoist.storage import layout
from hoist.storage.base import OnBytes, Traits
from hoist.storage.objects import ObjectInfo, Stamped, Unfinished
from hoist.storage.posix import changed, fill, on_local_disk, open_source, os_error, send_some, sync_folder
from hoist.storage.staged_directory import StagedFile

_LOCK = "lock"
# Each time somebody else has deleted the last of a folder meanwhile: with many writers a few in a row are no surprise.
_PRUNED_TIMES = 20
# A version never changes: an editor that opens one of its files should be told so.
_READ_ONLY = 0o444


class DirectoryObjects:
    """Keys as files below `root`. Files are written beside the tree, synced, and linked or renamed into place."""

    staged_from: int | None = 16 << 20
    links = True

    def __init__(self, root: Path, address: str, traits: Traits) -> None:
        self.address = address
        self.traits = traits
        self.root = root

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._check_root()
        yield from self._walk(self.root / prefix, prefix)

    def head(self, key: str) -> ObjectInfo:
        with self.translate(key):
            status = (self.root / key).stat()
        return ObjectInfo(key, status.st_size, status.st_mtime)

    def get(self, key: str) -> Stamped:
        with self.translate(key):
            data = (self.root / key).read_bytes()
        return Stamped(data, _stamp(data))

    def read_into(self, key: str, offset: int, buffer: memoryview) -> None:
        with self.translate(key):
            fd = os.open(self.root / key, os.O_RDONLY | os.O_CLOEXEC)
            try:
                got = fill(fd, offset, buffer)
            finally:
                os.close(fd)
        if got != len(buffer):
            raise Damaged(f"{key} in {self.address} ends before byte {offset + len(buffer)}")

    def first_byte_seconds(self) -> float | None:
        return None

    def throttled(self) -> int:
        return 0

    def local_path(self, key: str) -> Path | None:
        """Maps of a disk's files, and of what a network file system has brought here already: a network's own reads of a
        map are small and come one by one."""
        path = self.root / key
        try:
            return path if on_local_disk(path) or cached_fraction(path) == 1.0 else None
        except (OSError, LocalError):
            return None

    def put(self, key: str, data: bytes | memoryview) -> None:
        with self._written(key, data) as made:
            self.place_file(made, key)

    def create(self, key: str, data: bytes) -> bool:
        with self._written(key, data) as made:
            return self._link(made, key)

    def swap(self, key: str, data: bytes, expected: str | None) -> bool:
        if expected is None:
            return self.create(key, data)
        with self._locked(key):
            try:
                if self.get(key).stamp != expected:
                    return False
            except FileNotFound:
                return False
            self.put(key, data)
            return True

    def put_file(self, key: str, source: Path, size: int, on_bytes: OnBytes) -> None:
        with open_source(source) as reader, self.translate(key), self._temporary() as made, made.open("wb") as writer:
            while sent := send_some(reader.fileno(), writer.fileno()):
                on_bytes(sent)
            os.fdatasync(writer.fileno())
            if writer.seek(0, os.SEEK_END) != size:
                raise changed(source)
            self.place_file(made, key)

    def stage(self, key: str, size: int, source: Path, journals: Path | None) -> StagedFile:
        return StagedFile(self, key, size, source)

    def unfinished(self) -> Iterator[Unfinished]:
        folder = self.root / layout.TMP
        with self.translate(layout.TMP):
            entries = list(os.scandir(folder)) if folder.is_dir() else []
            for entry in entries:
                if entry.name != _LOCK and entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        status = entry.stat()
                        yield Unfinished(layout.TMP + entry.name, "", status.st_size, status.st_mtime)

    def drop_unfinished(self, item: Unfinished) -> None:
        path = self.root / item.key
        with self.translate(item.key), suppress(FileNotFoundError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(f"{item.key} in {self.address} is being written") from None
            path.unlink()

    def copy(self, source: str, target: str) -> bool:
        # A hard link: published files are read-only and never change, and one inode is one copy in the page cache.
        with self.translate(source):
            (self.root / target).parent.mkdir(parents=True, exist_ok=True)
            try:
                (self.root / target).hardlink_to(self.root / source)
                sync_folder((self.root / target).parent)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno in (errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EXDEV, errno.ENOENT):
                    return False
                raise
        return True

    def copy_over(self, source: str, target: str) -> bool:
        made = layout.TMP + uuid4().hex
        if not self.copy(source, made):
            return False
        try:
            with self.translate(target):
                self._into_folder(self.root / target, lambda: (self.root / made).replace(self.root / target))
        finally:
            # Renaming one name of a file to another of its names does nothing, and says so to nobody.
            (self.root / made).unlink(missing_ok=True)
        return True

    def symlink(self, key: str, target: str) -> bool:
        path = self.root / key
        made = self.root / layout.TMP / uuid4().hex
        with self.translate(key):
            for folder in (path.parent, made.parent):
                folder.mkdir(parents=True, exist_ok=True)
            try:
                made.symlink_to(target)
            except OSError as error:
                # A file system without them: the file is written.
                if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                    return False
                raise
            try:
                made.replace(path)
            finally:
                made.unlink(missing_ok=True)
            sync_folder(path.parent)
        return True

    def delete(self, keys: Sequence[str]) -> None:
        for_each(self._delete, keys, SMALL_AT_ONCE)

    def conditional(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing is kept open."""

    def _delete(self, key: str) -> None:
        with self.translate(key):
            (self.root / key).unlink(missing_ok=True)
        for folder in (self.root / key).parents:
            if folder == self.root:
                break
            try:
                folder.rmdir()
            except OSError:
                break

    def _walk(self, folder: Path, prefix: str) -> Iterator[ObjectInfo]:
        with self.translate(prefix):
            try:
                with os.scandir(folder) as entries:
                    found = sorted(entries, key=lambda item: item.name + "/" * item.is_dir())
            except (FileNotFoundError, NotADirectoryError):
                return
        for item in found:
            key = prefix + item.name
            if item.is_dir():
                if key + "/" != layout.TMP:
                    yield from self._walk(folder / item.name, key + "/")
            elif info := self._info(item, key):
                yield info

    def _info(self, item: os.DirEntry[str], key: str) -> ObjectInfo | None:
        with self.translate(key):
            try:
                status = item.stat()
            except FileNotFoundError:
                # Removed since it was listed, or a link to nowhere.
                return None
        return ObjectInfo(key, status.st_size, status.st_mtime)

    def _check_root(self) -> None:
        if not self.root.is_dir():
            with self.translate(""):
                self.root.stat()
            raise self._no_directory()

    @contextmanager
    def _written(self, key: str, data: bytes | memoryview) -> Iterator[Path]:
        with self.translate(key), self._temporary() as made:
            with made.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield made

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        folder = self.root / layout.TMP
        folder.mkdir(parents=True, exist_ok=True)
        made = folder / uuid4().hex
        try:
            yield made
        finally:
            made.unlink(missing_ok=True)

    def place_file(self, made: Path, key: str) -> None:
        """Rename a finished file to its key, replacing what is there."""
        target = self.root / key
        made.chmod(_READ_ONLY)
        self._into_folder(target, lambda: made.replace(target))

    def _link(self, made: Path, key: str) -> bool:
        """Link a finished file to its key if there is none."""
        target = self.root / key
        made.chmod(_READ_ONLY)
        try:
            self._into_folder(target, lambda: target.hardlink_to(made))
        except FileExistsError:
            return False
        return True

    def _into_folder(self, target: Path, act: Callable[[], object]) -> None:
        """Do what makes `target`, in a folder that others may prune at the same time: whoever loses to them tries again."""
        for _ in range(_PRUNED_TIMES):
            try:
                self._make_folder(target.parent)
                act()
                break
            except FileNotFoundError:
                continue
        else:
            raise StorageUnavailable(f"{self.address}: the folder {target.parent} is being removed again and again")
        sync_folder(target.parent)

    def _make_folder(self, folder: Path) -> None:
        """Raises FileNotFoundError where somebody prunes it meanwhile."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            if folder.exists() and not folder.is_dir():
                raise LocalError(f"{self.address}: {folder} is a file, where a folder is wanted") from None
            # It was there, and was gone when pathlib looked what it is: that says nothing of the file to be made.
            raise FileNotFoundError from None

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Keep other writers of small objects out, also those on other hosts of an NFS mount."""
        folder = self.root / layout.TMP
        with self.translate(key):
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / _LOCK).open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield

    @contextmanager
    def translate(self, key: str) -> Iterator[None]:
        """Turn what the operating system raises in the body into a HoistError about `key`."""
        try:
            yield
        except HoistError:
            raise
        except OSError as error:
            raise self._translated(error, key) from error

    def _translated(self, error: OSError, key: str) -> HoistError:
        where = f"{self.address} at {self.root / key}"
        if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            if not self.root.is_dir():
                return self._no_directory()
            return FileNotFound(f"{self.address} has no file {key!r}")
        return os_error(error, self.address, where)

    def _no_directory(self) -> StorageNotFound:
        if self.root.exists():
            return StorageNotFound(f"{self.address}: {self.root} is a file: name the directory that has the storage")
        return StorageNotFound(f"{self.address}: there is no directory {self.root}: mount it, or mkdir -p {self.root}")


def _stamp(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
