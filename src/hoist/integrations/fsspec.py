"""An fsspec file system over every storage: `hoist://STORAGE//NAME:VERSION/path`. Read-only; every byte is verified.

    fsspec.open("hoist://nas//sd15/anything:v5/model_index.json")
    fsspec.filesystem("hoist").find("nas//sd15/anything:v5")

What a path names is in `fsspec_paths`. Versions are immutable, so an opened one is remembered: a tag means the same
version for as long as a file system lives, or until `invalidate_cache()`.
"""

from __future__ import annotations

import builtins
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractFileSystem

from hoist.config import Config, load_config
from hoist.errors import FileNotFound, HoistError, NotFound, PermissionDenied, StorageUnsupported, UsageError
from hoist.integrations.fsspec_paths import Place, parent_of, parse_path
from hoist.model.manifest import FileEntry
from hoist.read.cache.fill import Want, deliver
from hoist.read.connect import connect, enabled_cache
from hoist.read.engine import Engine
from hoist.read.file import RangeReader, VerifiedFile
from hoist.read.plan import plan_ranges
from hoist.read.sink import BufferSink
from hoist.read.stream import stream_file
from hoist.read.version import OpenedVersion, open_version
from hoist.settings import parse_storage
from hoist.storage.base import Storage, Version

Info = dict[str, Any]


class NoSuchPath(NotFound, builtins.FileNotFoundError):
    """There is no such storage, version or file; also the built-in FileNotFoundError."""


class NoPermission(PermissionDenied, builtins.PermissionError):
    """The storage refuses these credentials; also the built-in PermissionError."""


class IsFolder(UsageError, builtins.IsADirectoryError):
    """A folder where a file is needed; also the built-in IsADirectoryError."""


class ReadOnly(StorageUnsupported, builtins.PermissionError):
    """Nothing is written through a file system; also the built-in PermissionError."""


@contextmanager
def _as_builtin() -> Iterator[None]:
    """Give Hoist's errors in the body the built-in kind that users of file systems catch as a second one."""
    try:
        yield
    except OSError:
        raise
    except NotFound as error:
        raise NoSuchPath(str(error)) from error
    except PermissionDenied as error:
        raise NoPermission(str(error)) from error


class HoistFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Storages as fsspec sees them: models and versions are folders, and what they hold are files.

    Options: `cache=True|False` (the host cache, as configured otherwise), and for storages that are a URL or a path the
    fields of a storage in hoist.toml: `endpoint`, `region`, `anonymous`, `accelerator`, ... A storage's name needs none.
    """

    protocol = "hoist"
    cachable = True

    def __init__(self, *args: Any, cache: bool | None = None, **options: Any) -> None:
        own = {key: options.pop(key) for key in _STORAGE_OPTIONS if key in options}
        super().__init__(*args, **options)
        self._options = own
        self._use_cache = cache
        self._lock = RLock()
        self._storages: dict[str, tuple[Storage, Engine]] = {}
        self._versions: dict[str, OpenedVersion] = {}
        self._listed: dict[str, Sequence[Version]] = {}

    # What is where.

    @classmethod
    def _parent(cls, path: str) -> str:
        return parent_of(cls._strip_protocol(path))

    def ls(self, path: str, detail: bool = True, refresh: bool = False, **kwargs: Any) -> list[Any]:
        """What lies in a folder; of a file, the file. `refresh` looks again which versions there are."""
        path = self._strip_protocol(path)
        if refresh:
            self.invalidate_cache(path)
        with _as_builtin():
            found = self._list(path)
        return found if detail else [each["name"] for each in found]

    def info(self, path: str, **kwargs: Any) -> Info:
        """`name`, `type` (`file` or `directory`) and `size`; of a file also `digest`, of a version its `digest`."""
        path = self._strip_protocol(path)
        with _as_builtin():
            place = parse_path(path)
            if place.reference is None:
                self._list(path)
                return _folder(path)
            version = self._version(place)
            if not place.file:
                return _folder(path) | {"digest": version.manifest.digest}
            if place.file in version.files:
                return _file(path, version.files[place.file])
            if any(name.startswith(f"{place.file}/") for name in version.files):
                return _folder(path)
            version.entry(place.file)
            raise AssertionError

    def ukey(self, path: str) -> str:
        """What changes when the content does: the digest."""
        return str(self.info(path).get("digest", ""))

    def checksum(self, path: str) -> str:
        """The file's SHA-256, as `sha256:` and 64 digits, from the manifest: nothing is read."""
        return self.ukey(path)

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget which versions there are and what tags mean; open files stay as they are."""
        with self._lock:
            self._versions.clear()
            self._listed.clear()
        super().invalidate_cache(path)

    def _list(self, path: str) -> list[Info]:
        place = parse_path(path)
        if place.reference is not None:
            return _list_version(self._version(place), place, path)
        if not place.storage:
            return [_folder(name) for name in sorted(self._config().storages)]
        inside = f"{place.names}/" if place.names else ""
        names: dict[str, None] = {}
        for version in self._all_versions(place.storage):
            if version.name.startswith(inside):
                head, slash, _ = version.name[len(inside) :].partition("/")
                names[f"{place.storage}//{inside}{head}" if slash else f"{place.storage}//{version}"] = None
        if not names and place.names:
            raise FileNotFound(f"{place.storage} has no model {place.names!r}; a version is written NAME:VERSION")
        return [_folder(name) for name in names]

    # Bytes.

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """A file's bytes from `start` to `end`, which may be negative, as in a slice."""
        with _as_builtin():
            version, name = self._file(path)
            begin, stop, _ = slice(start, end).indices(version.files[name].size)
            return version.reader(name).read(begin, max(begin, stop))

    def cat_ranges(
        self,
        paths: list[str],
        starts: list[int] | int,
        ends: list[int] | int,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """Many ranges of many files in one go: each block once, all requests in parallel. `max_gap` changes nothing.

        Memory: the blocks that hold the ranges. An error of one range stands in its place, or is raised (`raise`).
        """
        begins = starts if isinstance(starts, list) else [starts] * len(paths)
        stops = ends if isinstance(ends, list) else [ends] * len(paths)
        if not len(paths) == len(begins) == len(stops):
            raise ValueError(f"{len(paths)} paths, {len(begins)} starts and {len(stops)} ends: one of each is needed")
        try:
            with _as_builtin():
                return self._cat_together(paths, begins, stops)
        except HoistError:
            if on_error == "raise":
                raise
        # Which of them it is shows only when each is asked for alone.
        found: list[Any] = super().cat_ranges(paths, begins, stops, on_error=on_error)
        return found

    def _cat_together(self, paths: list[str], starts: list[int], ends: list[int]) -> list[bytes]:
        ranges: dict[str, list[tuple[int, int]]] = {}
        where: list[tuple[str, int, int]] = []
        for given, start, end in zip(paths, starts, ends, strict=True):
            path = self._strip_protocol(given)
            version, name = self._file(path)
            begin, stop, _ = slice(start, end).indices(version.files[name].size)
            where.append((path, begin, max(begin, stop)))
            ranges.setdefault(path, []).append(where[-1][1:])
        wants: list[Want] = []
        read = {}
        for path, wanted in ranges.items():
            version, name = self._file(path)
            source = version.source(name)
            plan = plan_ranges(
                source.blocks, [each for each in wanted if each[0] < each[1]], source.traits.request_bytes
            )
            buffer = memoryview(bytearray(plan.size))
            wants.append(Want(source, plan, BufferSink(buffer)))
            read[path] = plan, buffer
            engine = version.engine
        if wants:
            deliver(wants, engine)
        found = []
        for path, begin, stop in where:
            plan, buffer = read[path]
            at = plan.locate(begin, stop) if begin < stop else 0
            found.append(bytes(buffer[at : at + stop - begin]))
        return found

    def get_file(
        self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **kwargs: Any
    ) -> None:
        """Copy one file here: fetched in parallel, in memory of two windows of 32 MiB."""
        if outfile is None and hasattr(lpath, "write"):
            outfile = lpath
        if outfile is None and self.isdir(rpath):
            Path(lpath).mkdir(parents=True, exist_ok=True)
            return
        with _as_builtin():
            version, name = self._file(rpath)
            callback.set_size(version.files[name].size)
            if outfile is None:
                Path(lpath).parent.mkdir(parents=True, exist_ok=True)
            with nullcontext(outfile) if outfile is not None else Path(lpath).open("wb") as file:
                for piece in stream_file(version.source(name), version.engine):
                    file.write(piece)
                    callback.relative_update(len(piece))

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **kwargs: Any) -> OpenFile:
        if mode != "rb":
            self._refuse(path)
        with _as_builtin():
            version, name = self._file(path)
            return OpenFile(version.reader(name))

    # What there is not.

    def _refuse(self, path: object, *args: Any, **kwargs: Any) -> None:
        raise ReadOnly(f"{path}: hoist:// is read-only, as versions are immutable: use hoist publish")

    mkdir = makedirs = rmdir = rm_file = _rm = rm = cp_file = mv = pipe_file = put_file = touch = _refuse

    # What is open.

    def _config(self) -> Config:
        found = load_config()
        return found if self._use_cache is None else replace(found, cache=replace(found.cache, enabled=self._use_cache))

    def _connect(self, address: str) -> tuple[Storage, Engine]:
        with self._lock:
            if address not in self._storages:
                config = self._config()
                if self._options and address not in config.storages:
                    given = parse_storage(address, {"url": address, **self._options}, "storage_options")
                    config = replace(config, storages={**config.storages, address: given})
                self._storages[address] = connect(address, config)
            return self._storages[address]

    def _all_versions(self, address: str) -> Sequence[Version]:
        storage, _ = self._connect(address)
        with self._lock:
            if address not in self._listed:
                self._listed[address] = tuple(storage.versions())
            return self._listed[address]

    def _version(self, place: Place) -> OpenedVersion:
        assert place.reference is not None
        storage, engine = self._connect(place.storage)
        with self._lock:
            if place.version not in self._versions:
                opened = open_version(storage, place.reference, engine, enabled_cache(self._config()))
                self._versions[place.version] = opened
            return self._versions[place.version]

    def _file(self, path: str) -> tuple[OpenedVersion, str]:
        path = self._strip_protocol(path)
        place = parse_path(path)
        if place.reference is None:
            raise IsFolder(f"{path} is no file: a file is written STORAGE//NAME:VERSION/PATH")
        version = self._version(place)
        if place.file not in version.files and self.info(path)["type"] == "directory":
            raise IsFolder(f"{path} is a folder")
        return version, place.file

    def close(self) -> None:
        """Close the storages; they are opened again when they are needed."""
        with self._lock:
            self.invalidate_cache()
            for storage, _ in self._storages.values():
                storage.close()
            self._storages.clear()


_STORAGE_OPTIONS = ("kind", "region", "endpoint", "path_style", "ca_bundle", "profile", "anonymous", "accelerator")


class OpenFile(io.BufferedReader):
    """A seekable file whose bytes are verified before they are handed out; `size` as fsspec's own files have it."""

    def __init__(self, reader: RangeReader) -> None:
        super().__init__(VerifiedFile(reader))
        self.size = reader.source.size


def _folder(path: str) -> Info:
    return {"name": path, "size": 0, "type": "directory"}


def _file(path: str, entry: FileEntry) -> Info:
    return {"name": path, "size": entry.size, "type": "file", "digest": entry.digest}


def _list_version(version: OpenedVersion, place: Place, path: str) -> list[Info]:
    """What lies in a folder of a version. Raises FileNotFound."""
    if place.file in version.files:
        return [_file(path, version.files[place.file])]
    inside = f"{place.file}/" if place.file else ""
    found: dict[str, Info] = {}
    for name, entry in version.files.items():
        if name.startswith(inside):
            head, slash, _ = name[len(inside) :].partition("/")
            child = f"{place.version}/{inside}{head}"
            found[child] = _folder(child) if slash else _file(child, entry)
    if not found:
        version.entry(place.file)
    return list(found.values())
