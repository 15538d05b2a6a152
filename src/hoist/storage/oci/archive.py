"""One uncompressed tar of an OCI image layout, as `podman save --format oci-archive` and skopeo write it: read only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from hoist.errors import Damaged, FileNotFound, StorageNotFound, StorageUnsupported
from hoist.model.image.untar import walk
from hoist.model.reference import is_digest
from hoist.storage.base import OnBytes
from hoist.storage.oci.index import MAX_INDEX_BYTES
from hoist.storage.oci.local import LocalRepositories, Piece, translated
from hoist.storage.oci.repositories import Chunks
from hoist.storage.posix import fill

_BLOBS = "blobs/sha256/"
# A layout has a member a blob.
_MOST_MEMBERS = 100_000
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")


class LayoutArchive(LocalRepositories):
    """The archive at `path`, kept open. `address` is how the user named it.

    Raises StorageNotFound, Damaged for what is no such archive, StorageUnsupported for a compressed one.
    """

    def __init__(self, path: Path, address: str) -> None:
        super().__init__(address)
        try:
            with translated(address, str(path)):
                self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFound:
            raise StorageNotFound(f"{address}: there is no file {path}") from None
        try:
            self._members = _members(self._fd, address)
            if "index.json" not in self._members:
                raise Damaged(f"{address} is no archive of an OCI image layout: it has no index.json")
        except BaseException:
            os.close(self._fd)
            raise

    def put_blob(
        self, repository: str, digest: str | None, size: int, chunks: Chunks, on_bytes: OnBytes, resume: str = ""
    ) -> str:
        self._refuse()

    def restore_blob(self, repository: str, digest: str, size: int, chunks: Chunks) -> None:
        self._refuse()

    def mount_blob(self, repository: str, digest: str, size: int, source: str) -> bool:
        self._refuse()

    def put_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> None:
        self._refuse()

    def delete_manifest(self, repository: str, digest: str) -> None:
        self._refuse()

    def untag(self, repository: str, tag: str) -> None:
        self._refuse()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _index(self) -> bytes:
        start, size = self._members["index.json"]
        if size > MAX_INDEX_BYTES:
            raise Damaged(f"index.json of {self.address} has {size} bytes, {MAX_INDEX_BYTES} at most")
        data = bytearray(size)
        with translated(self.address, "index.json"):
            if fill(self._fd, start, memoryview(data)) != size:
                raise Damaged(f"{self.address} ends before its index.json does")
        return bytes(data)

    @contextmanager
    def _blob(self, digest: str) -> Iterator[Piece]:
        found = self._members.get(_BLOBS + digest.removeprefix("sha256:")) if is_digest(digest) else None
        if found is None:
            raise FileNotFound(f"{self.address} has no {digest}")
        yield Piece(self._fd, *found)

    def _refuse(self) -> NoReturn:
        raise StorageUnsupported(
            f"{self.address} is an archive, only to be read: write oci-layout:///PATH, then tar -C PATH -cf FILE ."
        )


def _members(fd: int, address: str) -> Mapping[str, tuple[int, int]]:
    """Where each plain file of the archive begins, and its bytes, by name. Raises Damaged for one that could be read in two
    ways."""

    def read(offset: int, size: int) -> bytes:
        with translated(address, "its headers"):
            return os.pread(fd, size, offset)

    if read(0, 6).startswith(_COMPRESSED):
        raise StorageUnsupported(f"{address} is compressed, and cannot be read by range: decompress it first")
    try:
        members = walk(read, os.fstat(fd).st_size, _MOST_MEMBERS)
        return {each.path: (each.offset, each.size) for each in members if each.kind == "file"}
    except Damaged as error:
        raise Damaged(f"{address} is no archive of an image layout: {error}") from None
