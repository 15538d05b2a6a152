"""What all image storages share: reading versions out of images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from threading import Lock

from hoist.errors import Conflict, Damaged, FileNotFound, StorageUnsupported, VersionNotFound
from hoist.model.image.labels import ImageVersion
from hoist.model.manifest import FileEntry
from hoist.storage.base import Content, Leftover, Neighbours, Storage, StoredFile, Traits, Version
from hoist.storage.image.opened import Image, Images
from hoist.storage.image.restoring import restore_file, stored_sizes
from hoist.storage.image.signatures import put_signature, read_signatures
from hoist.storage.oci.repositories import Repositories
from hoist.storage.signatures import check_digest

# 128 MiB in flight at most: larger requests, or more of them, brought no more here, and a pull shall stay under 256 MiB.
TRAITS = Traits(request_bytes=8 << 20, connections=8, most_connections=16)
_VERSIONS_KEPT = 1024


class ImageReader(Storage):
    """The reading half of an image storage. Subclasses say which image holds a version."""

    def __init__(self, repositories: Repositories, kind: str) -> None:
        self.repositories = repositories
        self.address = repositories.address
        self.kind = kind
        self.traits = TRAITS
        self.images = Images(repositories)
        self._lock = Lock()
        self._held: dict[Version, tuple[Image, ImageVersion]] = {}

    @abstractmethod
    def look_up(self, version: Version) -> tuple[Image, ImageVersion]:
        """The image that holds a version now. Raises VersionNotFound, Damaged."""

    def read_manifest(self, version: Version) -> bytes:
        image, held = self._look(version)
        try:
            return image.documents(held).manifest.data
        except FileNotFound as error:
            raise Damaged(f"{version} in {self.address} is not whole: {error}") from None

    def read_blob(self, version: Version, digest: str, size: int) -> bytes:
        image, held = self._known(version)
        found = image.documents(held).blobs.get(digest)
        if found is None:
            raise FileNotFound(f"{self.address} has no document {digest} of {version}")
        return found

    def read_into(self, file: StoredFile, offset: int, buffer: memoryview) -> None:
        image, held = self._known(file.version)
        try:
            placed, found = image.documents(held).find(file.entry)
        except FileNotFound:
            # The label may have been removed and published again.
            image, held = self._known(file.version, anew=True)
            placed, found = image.documents(held).find(file.entry)
        if offset + len(buffer) > found.size:
            raise Damaged(f"{file} in {self.address} ends before byte {offset + len(buffer)}")
        if not len(buffer):
            return
        try:
            image.read_into(placed, found.offset + offset, buffer)
        except FileNotFound:
            self.forget(file.version)
            raise

    def signatures(self, version: Version, hints: Collection[str] = ()) -> Sequence[bytes]:
        image, _ = self._known(version)
        return read_signatures(self.repositories, image, version, hints)

    def add_signature(self, version: Version, digest: str, data: bytes) -> None:
        image, held = self.look_up(version)
        check_digest(self.address, version, held.digest, digest)
        put_signature(self.repositories, image, version, data)

    def stored_sizes(self, version: Version, path: str = "") -> Mapping[str, int] | None:
        image, held = self._look(version)
        documents = image.documents(held)
        wanted = [documents.manifest.by_path.get(path)] if path else documents.manifest.files
        return stored_sizes(image, documents, [entry for entry in wanted if entry])

    def restore_file(
        self, version: Version, entry: FileEntry, content: Content, neighbours: Neighbours | None = None
    ) -> None:
        try:
            image, held = self._look(version)
        except VersionNotFound as error:
            raise Conflict(f"{error} any more: nothing of it is restored") from None
        restore_file(image, image.documents(held), entry, content, neighbours)

    def first_byte_seconds(self) -> float | None:
        return self.repositories.first_byte_seconds()

    def exclusive(self) -> bool:
        # A tag is put whatever it names already: no registry has a conditional put.
        return False

    def leftovers(self, older_than: float) -> Sequence[Leftover]:
        raise StorageUnsupported(
            f"{self.address} shows nothing of what killed publishes have left: its own garbage collection frees it"
        )

    def close(self) -> None:
        self.images.close()
        self.repositories.close()

    def forget(self, version: Version) -> None:
        """Ask again next time which image holds a version."""
        with self._lock:
            self._held.pop(version, None)

    def _look(self, version: Version) -> tuple[Image, ImageVersion]:
        try:
            found = self.look_up(version)
        except VersionNotFound:
            self.forget(version)
            raise
        with self._lock:
            if len(self._held) >= _VERSIONS_KEPT:
                self._held.clear()
            self._held[version] = found
        return found

    def _known(self, version: Version, *, anew: bool = False) -> tuple[Image, ImageVersion]:
        """As `_look`, but what was found before is as good: a version never changes. Raises FileNotFound."""
        with self._lock:
            found = None if anew else self._held.get(version)
        try:
            return found or self._look(version)
        except VersionNotFound as error:
            raise FileNotFound(str(error)) from None
