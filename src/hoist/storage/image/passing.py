"""An image that is one version and nothing else, handed from one registry or layout to another as it is.

Its layers are mounted where both lie in one place, left where they are there already, and streamed from one to the other
where they are not: never laid out anew, so that the image has the same digest on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hoist.memory import allocate
from hoist.model.image.descriptor import Descriptor
from hoist.model.image.documents import MANIFEST_TYPE
from hoist.parallel import for_each
from hoist.storage.base import OnBytes, Storage, Version
from hoist.storage.image.inflate import compression_of
from hoist.storage.image.opened import Image
from hoist.storage.image.reading import ImageReader
from hoist.storage.image.storage import ImageStorage
from hoist.storage.oci.layout import LayoutFolder
from hoist.storage.oci.registry import Registry
from hoist.storage.oci.repositories import Chunks, Repositories, slices

_BLOBS_AT_ONCE = 4
_RANGE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Passing:
    """A version's image, and the storage that can take it as it is. `near`: both lie in one place, so nothing moves."""

    image: Image
    source: ImageReader
    target: ImageStorage
    version: Version
    digest: str
    near: bool

    def bring(self, on_bytes: OnBytes, on_spared: OnBytes) -> None:
        """Bring the blobs; `on_bytes` is told of what was sent, `on_spared` of what the target had or mounted.

        Raises Damaged for a blob that is not what its name says, and what places may.
        """
        manifest = self.image.manifest
        blobs = {blob.digest: blob for blob in (manifest.config, *manifest.layers)}
        for_each(lambda blob: self._bring(blob, on_bytes, on_spared), blobs.values(), _BLOBS_AT_ONCE)

    def commit(self) -> None:
        """Make the version exist. Raises Conflict if its label is another's by now."""
        # As late as can be: a registry takes a tag from whoever comes last.
        if not self.target.is_done(self.version, self.digest):
            document = self.image.document
            self._place.put_manifest(self._repository, self.version.label, document.data, document.media_type)
        self.target.forget(self.version)

    @property
    def _place(self) -> Repositories:
        return self.target.repositories

    @property
    def _repository(self) -> str:
        return self.target.repository_of(self.version.name)

    def _bring(self, blob: Descriptor, on_bytes: OnBytes, on_spared: OnBytes) -> None:
        place, repository = self._place, self._repository
        if place.blob_size(repository, blob.digest) == blob.size:
            on_spared(blob.size)
            return
        holders = [self.image.repository] if self.near else []
        holders += [each for each in place.known_holders(blob.digest) if each not in (*holders, repository)]
        if any(place.mount_blob(repository, blob.digest, blob.size, each) for each in holders if each != repository):
            on_spared(blob.size)
            return
        chunks = _chunks(self.source.repositories, self.image.repository, blob)
        place.put_blob(repository, blob.digest, blob.size, chunks, on_bytes, f"blob {blob.digest}")


def passing(source: Storage, target: Storage, version: Version, digest: str) -> Passing | None:
    """How the version's image can be passed on; None where it has to be made anew, or one of the two is no image storage.

    Raises what `ImageReader.look_up` does.
    """
    if not isinstance(source, ImageReader) or not isinstance(target, ImageStorage):
        return None
    image, held = source.look_up(version)
    if image.versions != (held,) or (held.label, held.digest) != (version.label, digest):
        return None
    plain = image.document.media_type == MANIFEST_TYPE and not any(
        compression_of(layer.media_type) for layer in image.manifest.layers
    )
    if not plain or len(image.manifest.layers) != len(image.documents(held).contents.layers) + 1:
        # Another program's layers are in it too: it is more than the version.
        return None
    near = _place_of(source.repositories) == _place_of(target.repositories)
    return Passing(image, source, target, version, digest, near)


def _place_of(repositories: Repositories) -> object:
    if isinstance(repositories, Registry):
        return repositories.base
    return repositories.root if isinstance(repositories, LayoutFolder) else repositories


def _chunks(place: Repositories, repository: str, blob: Descriptor) -> Chunks:
    """A blob that lies elsewhere: checked while it is read, or by who takes it."""

    def whole() -> Iterator[memoryview]:
        with place.stream_blob(repository, blob.digest, blob.size) as pieces:
            yield from pieces

    def rest(offset: int) -> Iterator[memoryview]:
        # The middle of a blob has no digest of its own: `put_blob` checks the whole.
        buffer = memoryview(allocate(min(_RANGE_BYTES, blob.size)))
        for begin in range(offset, blob.size, _RANGE_BYTES):
            view = buffer[: min(_RANGE_BYTES, blob.size - begin)]
            place.read_into(repository, blob.digest, begin, view)
            yield from slices(view)

    chunks: Callable[[int], Iterator[memoryview]] = lambda offset: rest(offset) if offset else whole()  # noqa: E731
    return chunks
