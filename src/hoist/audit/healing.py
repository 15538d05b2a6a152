"""Healthy bytes for a damaged file: block by block from wherever they are right, each checked on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

from hoist.audit.blocks import AtRest
from hoist.audit.finding import Span
from hoist.errors import Damaged, HoistError
from hoist.model.blocks import FileBlocks
from hoist.model.manifest import Manifest
from hoist.parallel import SMALL_AT_ONCE, for_each
from hoist.read.engine import Engine
from hoist.read.file import RangeReader
from hoist.read.source import stored_source
from hoist.storage.base import Storage, StoredFile, Version

Content = tuple[str, int]
"""A file's digest and size: what makes two files the same."""


@dataclass(frozen=True, slots=True)
class Place:
    """A storage that takes part in an audit, and the engine that reads it."""

    storage: Storage
    engine: Engine


class Holders:
    """Which files of all storages have some contents, found when they are first asked for."""

    def __init__(self, places: Sequence[Place], wanted: set[Content]) -> None:
        self._places = places
        self._wanted = wanted
        self._lock = Lock()
        self._latest: dict[int, tuple[Version, Mapping[Content, list[StoredFile]]]] = {}
        self._found: Mapping[int, Mapping[Content, list[StoredFile]]] | None = None

    def of(self, version: Version, content: Content) -> Iterator[tuple[Place, StoredFile]]:
        """The files with this content: first those of the same version, then all others."""
        seen: set[tuple[int, StoredFile]] = set()
        for number, place in enumerate(self._places):
            for file in self._of_version(number, version).get(content, ()):
                seen.add((number, file))
                yield place, file
        for number, file in self._others(content):
            if (number, file) not in seen:
                yield self._places[number], file

    def _of_version(self, number: int, version: Version) -> Mapping[Content, list[StoredFile]]:
        """What a place has of a version, looked up once for all of its files: they are healed one after the other."""
        with self._lock:
            known, found = self._latest.get(number, (None, {}))
            if known != version:
                found = _by_content(_files_of(self._places[number].storage, version, self._wanted))
                self._latest[number] = version, found
            return found

    def _others(self, content: Content) -> list[tuple[int, StoredFile]]:
        with self._lock:
            if self._found is None:
                self._found = {number: self._scan(place.storage) for number, place in enumerate(self._places)}
        return [(number, file) for number, found in self._found.items() for file in found.get(content, ())]

    def _scan(self, storage: Storage) -> Mapping[Content, list[StoredFile]]:
        with suppress(HoistError):
            versions = list(storage.versions())
            found = for_each(lambda each: _files_of(storage, each, self._wanted), versions, SMALL_AT_ONCE)
            return _by_content([file for files in found for file in files])
        return {}


def _by_content(files: Sequence[StoredFile]) -> dict[Content, list[StoredFile]]:
    found: dict[Content, list[StoredFile]] = {}
    for file in files:
        found.setdefault((file.entry.digest, file.entry.size), []).append(file)
    return found


def _files_of(storage: Storage, version: Version, wanted: set[Content]) -> list[StoredFile]:
    """The files of a version with some of these contents; none of one that cannot be read."""
    with suppress(HoistError):
        manifest = Manifest.parse(storage.read_manifest(version))
        return [StoredFile(version, entry) for entry in manifest.files if (entry.digest, entry.size) in wanted]
    return []


class Healing:
    """The bytes of one file as they should be. Its own bytes are used where they are right, to move little; what is wrong
    there comes from the first holder that has it right."""

    def __init__(
        self,
        place: Place,
        file: StoredFile,
        blocks: FileBlocks,
        damaged: Sequence[Span],
        holders: Iterator[tuple[Place, StoredFile]],
    ) -> None:
        self._file = file
        self._blocks = blocks
        self._damaged = damaged
        self._own = _reader(place, file, blocks)
        self._lock = Lock()
        self._coming = (each for each in holders if (each[0].storage, each[1]) != (place.storage, file))
        self._readers: list[RangeReader] = []
        self._refused: list[HoistError] = []

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with right bytes. Raises Damaged if nobody has them."""
        end = offset + len(buffer)
        if not any(begin < end and offset < last for begin, last in self._damaged):
            with suppress(HoistError):
                buffer[:] = self._own.read(offset, end)
                return
        # Block by block: of two that are damaged, each may have what the other lacks.
        for index in self._blocks.covering(offset, end):
            begin, last = self._blocks.span(index)
            begin, last = max(begin, offset), min(last, end)
            buffer[begin - offset : last - offset] = self._anywhere(begin, last)

    def _anywhere(self, begin: int, end: int) -> bytes:
        if not any(first < end and begin < last for first, last in self._damaged):
            with suppress(HoistError):
                return self._own.read(begin, end)
        for reader in self._holders():
            try:
                return reader.read(begin, end)
            except HoistError as error:
                self._refused.append(error)
        why = f" ({self._refused[0]})" if self._refused else ""
        raise Damaged(f"no other storage of this audit has bytes {begin} to {end} of {self._file} whole{why}")

    def _holders(self) -> Iterator[RangeReader]:
        number = 0
        while True:
            with self._lock:
                if number == len(self._readers):
                    found = next(self._coming, None)
                    if found is None:
                        return
                    self._readers.append(_reader(*found, self._blocks))
                reader = self._readers[number]
            yield reader
            number += 1


def documents_of(places: Sequence[Place], version: Version, digest: str, size: int) -> Iterator[bytes]:
    """The document of this digest from each storage that has the version with it, not checked."""
    for place in places:
        with suppress(HoistError):
            yield place.storage.read_blob(version, digest, size)


def manifests_of(places: Sequence[Place], version: Version) -> Iterator[Manifest]:
    """The manifest of a version in each storage that has one that can be read."""
    for place in places:
        with suppress(HoistError):
            yield Manifest.parse(place.storage.read_manifest(version))


def _reader(place: Place, file: StoredFile, blocks: FileBlocks) -> RangeReader:
    """Reads verified bytes of a file by the blocks of the version that is to be healed."""
    source = stored_source(AtRest(place.storage), file, blocks)
    return RangeReader(source, place.engine)
