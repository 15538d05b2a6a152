"""Opening what an image's name means, by hoist.toml and the environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hoist.config import Config, StorageConfig
from hoist.errors import FileNotFound, InvalidReference, VersionNotFound
from hoist.image.addresses import ImageAddress
from hoist.storage.oci.archive import LayoutArchive
from hoist.storage.oci.layout import LayoutFolder
from hoist.storage.oci.repositories import Document, Repositories


@dataclass(frozen=True, slots=True)
class Image:
    """An image's name, and the open place of OCI content that it lies in."""

    address: ImageAddress
    place: Repositories

    @property
    def repository(self) -> str:
        """The repository in the place."""
        return self.address.repository

    def at(self, reference: str) -> Image:
        """The same repository at another tag or digest."""
        return replace(self, address=self.address.at(reference))

    def document(self) -> Document:
        """Its manifest or index. Raises VersionNotFound with the mend, Damaged, and what a place may."""
        try:
            return self.place.manifest(self.repository, self.address.reference)
        except FileNotFound:
            raise VersionNotFound(f"there is no image {self.address}: {self._there_is()}") from None

    def shares_place_with(self, other: Image) -> bool:
        """Whether both lie in one registry or folder."""
        return (self.address.where, self.address.place) == (other.address.where, other.address.place)

    def _there_is(self) -> str:
        tags = list(self.place.tags(self.repository))
        return f"its repository has {', '.join(tags[:5])}" if tags else "its repository has no tags"


@contextmanager
def opened_image(address: ImageAddress, config: Config) -> Iterator[Image]:
    """The image at an address, which need not be there; closed at the end. Raises InvalidReference, InvalidConfig."""
    place = _open(address, config)
    try:
        yield Image(address if address.reference else _the_only(address, place), place)
    finally:
        place.close()


def _open(address: ImageAddress, config: Config) -> Repositories:
    if address.where == "layout":
        return LayoutFolder(Path(address.place), address.storage_url)
    if address.where == "archive":
        return LayoutArchive(Path(address.place), address.storage_url)
    from hoist.storage.oci.open_registry import open_registry

    # The repository says which login it is: a registry can have several.
    found = registry_config(address, config)
    asked = replace(found, url=f"{found.url}/{address.repository}")
    engine = config.engine
    return open_registry(asked, config.environ, engine.uploads, engine.retry_seconds)[0]


def registry_config(address: ImageAddress, config: Config) -> StorageConfig:
    """How to reach a registry: as hoist.toml says of a storage on the same host, else by the environment.

    HOIST_ENDPOINT is left out: it means one server, and a base and a target may lie on two.
    """
    url = f"oci://{address.place}"
    for storage in config.storages.values():
        if storage.url == url or storage.url.startswith(url + "/"):
            return replace(storage, address=url, url=url)
    return replace(config.storage(url), endpoint=None)


def _the_only(address: ImageAddress, place: Repositories) -> ImageAddress:
    """Where no tag is said, a layout with one image means that one."""
    names = [address.repository] if address.repository else list(place.repositories(""))
    found = [(name, tag) for name in names for tag in place.tags(name)]
    if len(found) != 1:
        shown = ", ".join(f"{name}:{tag}".lstrip(":") for name, tag in found[:5]) or "none"
        raise InvalidReference(f"{address} names no image; it has {shown}: write {address.storage_url}:TAG")
    return replace(address, repository=found[0][0], reference=found[0][1])
