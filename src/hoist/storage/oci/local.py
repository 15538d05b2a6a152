"""OCI content on this machine, read: what a layout folder and an archive of one have in common."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

from hoist.errors import (
    Damaged,
    FileNotFound,
    HoistError,
)
from hoist.model.manifest import digest_of
from hoist.model.reference import is_digest
from hoist.storage.oci.index import (
    INDEX_TYPES,
    Entry,
    named_manifests,
    needs_image,
    parse_descriptor,
    parse_index,
    parse_json,
    settled,
)
from hoist.storage.oci.repositories import MAX_MANIFEST_BYTES, SLICE_BYTES, Descriptor, Document
from hoist.storage.posix import fill, os_error


@dataclass(frozen=True, slots=True)
class Piece:
    """Where a blob's bytes are: an open file, the offset of the first, and how many."""

    fd: int
    start: int
    size: int


class LocalRepositories(ABC):
    """The reading half of `Repositories`, over an index and blobs that can be read by offset."""

    address: str

    def __init__(self, address: str) -> None:
        self.address = address
        self._lock = Lock()
        self._parsed: tuple[bytes, list[Entry]] = (b"", [])

    @abstractmethod
    def _index(self) -> bytes | None:
        """The bytes of index.json; None where there is nothing yet."""

    @abstractmethod
    def _blob(self, digest: str) -> AbstractContextManager[Piece]:
        """An open blob. Raises FileNotFound."""

    def entries(self) -> list[Entry]:
        """What the index names, each entry in its repository. Raises Damaged."""
        data = self._index()
        if data is None:
            return []
        with self._lock:
            known, entries = self._parsed
        if known != data:
            entries = [self._settle(entry) for entry in parse_index(data, f"index.json of {self.address}")]
            with self._lock:
                self._parsed = (data, entries)
        return list(entries)

    def repositories(self, prefix: str) -> Iterator[str]:
        names = {entry.repository for entry in self.entries()}
        yield from sorted(name for name in names if not prefix or name == prefix or name.startswith(prefix + "/"))

    def tags(self, repository: str) -> Sequence[str]:
        return sorted({entry.tag for entry in self.entries() if entry.tag and entry.is_in(repository)})

    def manifest(self, repository: str, reference: str) -> Document:
        found = self._find(repository, reference)
        if found is None:
            what = f"{repository}@{reference}" if is_digest(reference) else f"{repository}:{reference}"
            raise FileNotFound(f"{self.address} has no manifest {what.lstrip(':@')}")
        data = self.read_blob(repository, found[0], MAX_MANIFEST_BYTES)
        return Document(data, found[0], found[1] or _said_type(data))

    def referrers(self, repository: str, digest: str) -> Sequence[Descriptor]:
        found: dict[str, Descriptor] = {}
        for entry in self.entries():
            if not entry.is_in(repository) or entry.digest in found:
                continue
            image = self.parsed_manifest(entry.digest)
            subject = image.get("subject")
            if isinstance(subject, dict) and subject.get("digest") == digest:
                found[entry.digest] = _referrer(entry, image, self.address)
        return list(found.values())

    def blob_size(self, repository: str, digest: str) -> int | None:
        try:
            with self._blob(digest) as piece:
                return piece.size
        except FileNotFound:
            return None

    def read_blob(self, repository: str, digest: str, most: int) -> bytes:
        with self._blob(digest) as piece:
            if piece.size > most:
                raise Damaged(f"{digest} in {self.address} has {piece.size} bytes, {most} at most")
            data = bytearray(piece.size)
            with translated(self.address, digest):
                got = fill(piece.fd, piece.start, memoryview(data))
        if got != len(data) or digest_of(data) != digest:
            raise Damaged(f"{digest} in {self.address} is damaged: its bytes have another digest")
        return bytes(data)

    def read_into(self, repository: str, digest: str, offset: int, buffer: memoryview) -> None:
        with self._blob(digest) as piece:
            # In an archive what follows the blob is another member.
            wanted = buffer[: max(0, min(len(buffer), piece.size - offset))]
            with translated(self.address, digest):
                got = fill(piece.fd, piece.start + offset, wanted)
        if got != len(buffer):
            raise Damaged(f"{digest} in {self.address} ends before byte {offset + len(buffer)}")

    @contextmanager
    def stream_blob(self, repository: str, digest: str, size: int) -> Iterator[Iterator[memoryview]]:
        with self._blob(digest) as piece:
            yield self._slices(piece, digest, size)

    def known_holders(self, digest: str) -> Sequence[str]:
        return ()

    def first_byte_seconds(self) -> float | None:
        return None

    def parsed_manifest(self, digest: str) -> dict[str, Any]:
        """A manifest as JSON; empty where it is none, or not there."""
        try:
            return parse_json(self.read_blob("", digest, MAX_MANIFEST_BYTES), digest)
        except (Damaged, FileNotFound):
            return {}

    def _find(self, repository: str, reference: str) -> tuple[str, str] | None:
        """The digest and media type of a manifest."""
        for entry in self.entries():
            if entry.is_named(repository, reference) or (entry.digest == reference and entry.is_in(repository)):
                return entry.digest, entry.media_type
        if is_digest(reference):
            for entry in self.entries():
                if entry.media_type in INDEX_TYPES and entry.is_in(repository):
                    for child in named_manifests(self.parsed_manifest(entry.digest), entry.digest):
                        if child.digest == reference:
                            return child.digest, child.media_type
        return None

    def _settle(self, entry: Entry) -> Entry:
        if not needs_image(entry):
            return entry
        image = self.parsed_manifest(entry.digest)
        for child in named_manifests(image, entry.digest) if entry.media_type in INDEX_TYPES else ():
            found = settled(entry, self.parsed_manifest(child.digest))
            if found != entry:
                return found
        return settled(entry, image)

    def _slices(self, piece: Piece, digest: str, size: int) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(min(SLICE_BYTES, max(1, piece.size))))
        hasher, at = hashlib.sha256(), 0
        while at < piece.size:
            view = buffer[: piece.size - at]
            with translated(self.address, digest):
                got = fill(piece.fd, piece.start + at, view)
            if got != len(view):
                break
            hasher.update(view)
            at += got
            yield view
        if at != piece.size or piece.size != size or "sha256:" + hasher.hexdigest() != digest:
            raise Damaged(f"{digest} in {self.address} is damaged: its bytes have another digest or size")


@contextmanager
def translated(address: str, what: str) -> Iterator[None]:
    """Turn what the operating system raises in the body into a HoistError about `what` in `address`."""
    try:
        yield
    except HoistError:
        raise
    except OSError as error:
        raise _translated(error, address, what) from error


@contextmanager
def opened(path: os.PathLike[str], flags: int = os.O_RDONLY) -> Iterator[int]:
    """A file's descriptor, closed at the end. Raises OSError."""
    fd = os.open(path, flags | os.O_CLOEXEC, 0o644)
    try:
        yield fd
    finally:
        os.close(fd)


def _translated(error: OSError, address: str, what: str) -> HoistError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return FileNotFound(f"{address} has no {what}")
    return os_error(error, address, f"{address} at {what}")


def _said_type(data: bytes) -> str:
    try:
        said = parse_json(data, "the manifest").get("mediaType")
    except Damaged:
        return ""
    return said if isinstance(said, str) else ""


def _referrer(entry: Entry, image: dict[str, Any], where: str) -> Descriptor:
    config = image.get("config")
    artifact = image.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else "")
    document = {
        "digest": entry.digest,
        "size": entry.size,
        "mediaType": entry.media_type or image.get("mediaType", ""),
        "annotations": image.get("annotations"),
        "artifactType": artifact,
    }
    return parse_descriptor(document, where)
