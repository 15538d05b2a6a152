"""A folder that is an OCI image layout, as a place of OCI content: blobs/sha256/HEX, index.json, oci-layout.

It is made when it is first written to. All its repositories share its blobs. Each file is written beside its place, synced
and renamed; index.json is changed under a lock on the file oci-layout, and names nothing whose blobs are not all there.
Other tools know nothing of the lock: let none write while Hoist does. A manifest that loses its last tag stays by its
digest, as in a registry, until it is deleted.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hoist.errors import Damaged, FileNotFound, StorageNotFound, StorageUnsupported
from hoist.model.manifest import digest_of
from hoist.model.reference import is_digest
from hoist.storage.base import OnBytes
from hoist.storage.oci.index import (
    LAYOUT,
    MAX_INDEX_BYTES,
    Entry,
    check_tag,
    make_entry,
    named_blobs,
    named_manifests,
    parse_json,
    write_index,
)
from hoist.storage.oci.local import LocalRepositories, Piece, opened, translated
from hoist.storage.oci.partial import Partial, partial_file
from hoist.storage.oci.repositories import MAX_MANIFEST_BYTES, Chunks

_TMP = ".hoist"
_KEPT_SECONDS = 7 * 86400.0


class LayoutFolder(LocalRepositories):
    """The layout in `root`. `address` is how the user named it."""

    def __init__(self, root: Path, address: str) -> None:
        super().__init__(address)
        self.root = root
        self._blobs = root / "blobs" / "sha256"
        self._made = False

    def repositories(self, prefix: str) -> Iterator[str]:
        """As `Repositories` says. Raises StorageNotFound for a folder that is missing, or is something else."""
        if not self.root.is_dir():
            raise StorageNotFound(f"{self.address}: there is no folder {self.root}")
        self._check_kind()
        yield from super().repositories(prefix)

    def put_blob(
        self, repository: str, digest: str | None, size: int, chunks: Chunks, on_bytes: OnBytes, resume: str = ""
    ) -> str:
        """As `Repositories` says; where no digest is given nothing vouches for what a killed run wrote: it begins anew."""
        if digest and self.blob_size(repository, digest) == size:
            return digest
        self._make()
        with partial_file(self.root / _TMP, resume if digest else "", self.address) as part:
            made = _written(part, digest, size, chunks, on_bytes)
            with translated(self.address, made):
                part.place(self._path(made))
        return made

    def restore_blob(self, repository: str, digest: str, size: int, chunks: Chunks) -> None:
        self._make()
        with partial_file(self.root / _TMP, "", self.address) as part:
            made = _written(part, digest, size, chunks, lambda count: None)
            with translated(self.address, made):
                part.place(self._path(made))

    def mount_blob(self, repository: str, digest: str, size: int, source: str) -> bool:
        return self.blob_size(repository, digest) == size

    def put_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> None:
        digest = digest_of(data)
        tag = "" if is_digest(reference) else check_tag(reference)
        if not tag and reference != digest:
            raise Damaged(f"a manifest for {self.address} has the digest {digest}, not {reference}")
        if len(data) > MAX_MANIFEST_BYTES:
            raise StorageUnsupported(
                f"a manifest of {len(data)} bytes, {MAX_MANIFEST_BYTES} at most: registries refuse it"
            )
        image = parse_json(data, f"the manifest {reference}")
        self._make()
        with self._changing():
            children = self._check_whole(image, reference)
            if self.blob_size(repository, digest) is None:
                self._write(self._path(digest), data)
            entries = self.entries()
            if tag:
                entries = _moved(entries, make_entry(digest, len(data), media_type, repository, tag), children)
            elif self._find(repository, digest) is None:
                entries.append(make_entry(digest, len(data), media_type, repository, ""))
            self._write_entries(entries)

    def delete_manifest(self, repository: str, digest: str) -> None:
        with self._changing():
            entries = self.entries()
            kept = [entry for entry in entries if not (entry.digest == digest and entry.is_in(repository))]
            if len(kept) == len(entries):
                raise FileNotFound(f"{self.address} has no manifest {repository}@{digest}")
            wanted = self._reached({entry.digest for entry in kept})
            gone = self._reached({digest})
            self._write_entries(kept)
            # Where a manifest cannot be read nobody knows what it names: then nothing is deleted.
            if wanted is not None and gone is not None:
                for blob in gone - wanted:
                    with translated(self.address, blob):
                        self._path(blob).unlink(missing_ok=True)

    def untag(self, repository: str, tag: str) -> None:
        with self._changing():
            entries = self.entries()
            found = [entry for entry in entries if entry.is_named(repository, tag)]
            if not found:
                raise FileNotFound(f"{self.address} has no manifest {repository}:{tag}")
            self._write_entries(_kept_by_digest([entry for entry in entries if entry not in found], found))

    def close(self) -> None:
        """Nothing is kept open."""

    def _index(self) -> bytes | None:
        path = self.root / "index.json"
        try:
            with translated(self.address, "index.json"), opened(path) as fd:
                size = os.fstat(fd).st_size
                if size > MAX_INDEX_BYTES:
                    raise Damaged(f"index.json of {self.address} has {size} bytes, {MAX_INDEX_BYTES} at most")
                return path.read_bytes()
        except FileNotFound:
            return None

    @contextmanager
    def _blob(self, digest: str) -> Iterator[Piece]:
        with translated(self.address, digest):
            fd = os.open(self._path(digest), os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield Piece(fd, 0, os.fstat(fd).st_size)
        finally:
            os.close(fd)

    def _path(self, digest: str) -> Path:
        if not is_digest(digest):
            raise FileNotFound(f"{self.address} has no {digest}: it is no SHA-256 digest")
        return self._blobs / digest.removeprefix("sha256:")

    def _check_kind(self) -> None:
        """Raises StorageNotFound for a folder that holds other things than a layout."""
        with translated(self.address, str(self.root)):
            names = {entry.name for entry in os.scandir(self.root)}
        if names and not names & {"oci-layout", "index.json"}:
            raise StorageNotFound(f"{self.address}: {self.root} is no OCI image layout: name one, or a new folder")

    def _make(self) -> None:
        """Lay what every layout has."""
        if self._made:
            return
        with translated(self.address, str(self.root)):
            self.root.mkdir(parents=True, exist_ok=True)
            self._check_kind()
            with self._changing():
                self._blobs.mkdir(parents=True, exist_ok=True)
                (self.root / _TMP).mkdir(exist_ok=True)
                _prune(self.root / _TMP)
                if not (self.root / "index.json").exists():
                    self._write_entries([])
        self._made = True

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Keep others who change the index out. The file oci-layout is never replaced, so that all lock the same."""
        flags = os.O_RDWR | (os.O_CREAT if self.root.is_dir() else 0)
        with translated(self.address, "oci-layout"):
            fd = os.open(self.root / "oci-layout", flags | os.O_CLOEXEC, 0o644)
        try:
            with translated(self.address, "oci-layout"):
                fcntl.flock(fd, fcntl.LOCK_EX)
                if not os.fstat(fd).st_size:
                    os.write(fd, LAYOUT)
                    os.fsync(fd)
            yield
        finally:
            os.close(fd)

    def _check_whole(self, image: Mapping[str, Any], reference: str) -> set[str]:
        """Raises Damaged unless all that a manifest names is here; returns the manifests among it."""
        children = list(named_manifests(image, reference))
        for named in [*named_blobs(image, reference), *children]:
            if self.blob_size("", named.digest) != named.size:
                raise Damaged(
                    f"{self.address} takes no manifest {reference}: it has no {named.digest} of {named.size} bytes"
                )
        return {child.digest for child in children}

    def _reached(self, roots: Collection[str]) -> set[str] | None:
        """The digests of manifests and of all that they name; None where one of them cannot be read."""
        found: set[str] = set()
        waiting = list(roots)
        while waiting:
            digest = waiting.pop()
            if digest in found:
                continue
            found.add(digest)
            image = self.parsed_manifest(digest)
            if not image:
                return None
            found.update(named.digest for named in named_blobs(image, digest))
            waiting += [child.digest for child in named_manifests(image, digest)]
        return found

    def _write_entries(self, entries: list[Entry]) -> None:
        self._write(self.root / "index.json", write_index([entry.document for entry in entries]))

    def _write(self, path: Path, data: bytes) -> None:
        with partial_file(self.root / _TMP, "", self.address) as part, translated(self.address, path.name):
            part.write(memoryview(data))
            part.place(path)


def _written(part: Partial, digest: str | None, size: int, chunks: Chunks, on_bytes: OnBytes) -> str:
    """Write what is missing of a blob, and return its digest. Raises Damaged."""
    while True:
        resumed = part.size if part.size <= size else 0
        hasher = part.begin(resumed)
        for piece in chunks(resumed) if resumed < size else ():
            part.write(piece)
            hasher.update(piece)
            on_bytes(len(piece))
        made = "sha256:" + hasher.hexdigest()
        if part.size == size and made == (digest or made):
            return made
        written, has = part.size, part.size == size
        part.begin(0)
        # What an earlier run has left may be another's, or torn: once more, from the start.
        if not resumed:
            what = f"the digest {made}" if has else f"{written} bytes, not {size},"
            raise Damaged(f"the bytes for {digest or 'a blob'} have {what}: the source changed or is damaged")


def _moved(entries: list[Entry], new: Entry, children: set[str]) -> list[Entry]:
    """The entries with a tag that is new, or another's now; what has a name needs none by digest besides."""
    old = [entry for entry in entries if entry.is_named(new.repository, new.tag)]
    kept = [entry for entry in entries if entry not in old]
    named = {new.digest, *children}
    kept = [entry for entry in kept if entry.tag or entry.repository != new.repository or entry.digest not in named]
    return _kept_by_digest([*kept, new], [entry for entry in old if entry.digest not in named])


def _kept_by_digest(entries: list[Entry], untagged: list[Entry]) -> list[Entry]:
    """The entries, and those that have lost a tag by their digests, if they have no other name: as in a registry."""
    for entry in untagged:
        if not any(other.digest == entry.digest and other.repository == entry.repository for other in entries):
            bare = make_entry(entry.digest, entry.size, entry.media_type, entry.repository, "")
            entries = [*entries, bare]
    return entries


def _prune(folder: Path) -> None:
    """Delete what killed runs have left long ago."""
    oldest = time.time() - _KEPT_SECONDS
    for item in list(os.scandir(folder)):
        with suppress(OSError):
            if item.stat().st_mtime < oldest:
                Path(item.path).unlink()
