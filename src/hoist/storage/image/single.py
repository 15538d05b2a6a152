"""One image as a storage of its own: the versions inside it, to read."""

from __future__ import annotations

from collections.abc import Iterator

from hoist.errors import FileNotFound, StorageNotFound, StorageUnsupported, VersionNotFound
from hoist.model.image.labels import ImageVersion
from hoist.storage.base import Publication, Tag, Version
from hoist.storage.image.opened import Image
from hoist.storage.image.reading import ImageReader
from hoist.storage.moves import ANY, Whatever
from hoist.storage.oci.repositories import Repositories


class SingleImage(ImageReader):
    """The image that a tag or digest of a repository names. What it names is asked once."""

    def __init__(self, repositories: Repositories, repository: str, reference: str, kind: str) -> None:
        super().__init__(repositories, kind)
        self._repository = repository
        self._reference = reference
        self._image: Image | None = None

    def versions(self, name: str = "") -> Iterator[Version]:
        yield from (Version(held.name, held.label) for held in self._open().versions if name in ("", held.name))

    def tags(self, name: str = "") -> Iterator[Tag]:
        yield from ()

    def find_tag(self, name: str, tag: str) -> Tag | None:
        return None

    def look_up(self, version: Version) -> tuple[Image, ImageVersion]:
        image = self._open()
        for held in image.versions:
            if (held.name, held.label) == (version.name, version.label):
                return image, held
        raise VersionNotFound(f"{self.address} has no version {version}")

    def occupied(self, version: Version, *, replace_unfinished: bool = False) -> bool:
        raise self._read_only()

    def begin(self, version: Version, digest: str, *, replace_unfinished: bool = False) -> Publication:
        raise self._read_only()

    def set_tag(self, tag: Tag, *, before: Tag | Whatever | None = ANY, note: str = "") -> None:
        raise self._read_only()

    def remove_tag(self, name: str, tag: str) -> None:
        raise self._read_only()

    def remove(self, version: Version, *, unless_tagged: bool = False) -> None:
        raise self._read_only()

    def _open(self) -> Image:
        if self._image is None:
            try:
                image = self.images.named(self._repository, self._reference).image
            except FileNotFound:
                raise StorageNotFound(f"{self.address}: there is no such image") from None
            if image is None:
                raise StorageNotFound(f"{self.address} is an image that holds no model of Hoist's")
            self._image = image
        return self._image

    def _read_only(self) -> StorageUnsupported:
        return StorageUnsupported(
            f"{self.address} is one image, and is only read here: hoist image builds and updates images; to publish, name "
            "the registry and a prefix, without a tag"
        )
