"""One image opened: the versions that it says it holds, their documents, and where each file's bytes are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

from hoist.errors import Damaged, FileNotFound
from hoist.model.image.contents import FILE_NAME, Contents, PlacedFile, PlacedLayer
from hoist.model.image.descriptor import Descriptor
from hoist.model.image.documents import (
    CONFIG_TYPE,
    DOCKER_CONFIG_TYPE,
    MAX_DOCUMENT_BYTES,
    ImageConfig,
    ImageIndex,
    ImageManifest,
    parse_config,
    parse_image,
)
from hoist.model.image.labels import VERSIONS, ImageVersion, parse_versions
from hoist.model.image.layers import ROOT
from hoist.model.image.untar import members_of
from hoist.model.manifest import FileEntry, Manifest, digest_of, link_target
from hoist.storage import layout
from hoist.storage.base import Content, Version
from hoist.storage.image.inflate import compression_of, inflate
from hoist.storage.image.spool import Spool, spool_layer
from hoist.storage.oci.repositories import Chunks, Document, Repositories

# A manifest, a config, a block table and the index, each as large as they may be at most.
_MOST_DOCUMENTS_BYTES = 640 << 20
# Headers, and the padding that other programs put at the end of an archive.
_SLACK_BYTES = 1 << 20
_SLACK_A_FILE = 8 << 10
_IMAGES_KEPT = 64
_SPOOLS_KEPT = 4
_MOST_PLATFORMS = 32


@dataclass(frozen=True)
class VersionDocuments:
    """What the documents layer has of one version. `blobs` are its config and its block table, by digest."""

    manifest: Manifest
    contents: Contents
    blobs: Mapping[str, bytes]

    def find(self, entry: FileEntry) -> tuple[PlacedLayer, PlacedFile]:
        """Where the bytes of a file lie, at the end of its links. Raises FileNotFound, Damaged."""
        found = self.manifest.by_path.get(entry.path)
        if found is None or (found.digest, found.size) != (entry.digest, entry.size):
            raise FileNotFound(f"the image has no file {entry.path!r} of this content")
        while found.link:
            # The manifest was checked: every link leads to a file.
            found = self.manifest.by_path[link_target(found.path, found.link) or ""]
        placed = self.contents.by_path.get(found.path)
        if placed is None or placed[1].size != found.size:
            raise Damaged(f"the image's {FILE_NAME} does not say where {found.path!r} lies")
        return placed


class Image:
    """An image of one platform in a repository."""

    def __init__(
        self, repositories: Repositories, repository: str, document: Document, manifest: ImageManifest
    ) -> None:
        self.repository = repository
        self.document = document
        self.manifest = manifest
        self._repositories = repositories
        self._lock = Lock()
        self._documents: dict[ImageVersion, VersionDocuments] = {}
        self._spools: OrderedDict[str, Spool] = OrderedDict()

    @cached_property
    def config(self) -> ImageConfig:
        """Its config. Raises Damaged, FileNotFound."""
        blob = self.manifest.config
        return parse_config(self._repositories.read_blob(self.repository, blob.digest, MAX_DOCUMENT_BYTES))

    @cached_property
    def versions(self) -> tuple[ImageVersion, ...]:
        """The versions that it says it holds, in order; none where it is not Hoist's. Raises Damaged."""
        notes = dict(self.manifest.annotations)
        if VERSIONS not in notes:
            if self.manifest.config.media_type not in (CONFIG_TYPE, DOCKER_CONFIG_TYPE) or self.manifest.artifact_type:
                return ()
            # Annotations are lost where another tool writes the manifest anew; labels are not.
            notes = dict(self.config.labels)
        return parse_versions(notes[VERSIONS]) if VERSIONS in notes else ()

    def layer(self, diff_id: str) -> Descriptor:
        """The layer that is this archive once it is inflated. Raises Damaged."""
        for layer in self.manifest.layers:
            if layer.digest == diff_id and not compression_of(layer.media_type):
                return layer
        diff_ids = self.config.diff_ids
        if len(diff_ids) != len(self.manifest.layers):
            raise Damaged(f"the image {self} has {len(self.manifest.layers)} layers, and {len(diff_ids)} diff_ids")
        for found, layer in zip(diff_ids, self.manifest.layers, strict=True):
            if found == diff_id and compression_of(layer.media_type):
                return layer
        raise Damaged(f"the image {self} has no layer {diff_id}")

    def documents(self, held: ImageVersion) -> VersionDocuments:
        """The documents of one of its versions. Raises Damaged, FileNotFound."""
        with self._lock:
            if held not in self._documents:
                self._documents[held] = self._read_documents(held)
            return self._documents[held]

    def read_into(self, placed: PlacedLayer, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the archive's bytes from `offset`."""
        layer = self.layer(placed.diff_id)
        if not compression_of(layer.media_type):
            if offset + len(buffer) > layer.size:
                raise Damaged(f"a layer of {self} ends before byte {offset + len(buffer)}")
            self._repositories.read_into(self.repository, layer.digest, offset, buffer)
        else:
            self._spooled(placed, layer).read_into(offset, buffer)

    def content(self, placed: PlacedLayer, file: PlacedFile) -> Content:
        """The bytes of one file of a layer, not verified."""
        return lambda offset, buffer: self.read_into(placed, file.offset + offset, buffer)

    def blob_size(self, layer: Descriptor) -> int | None:
        """How large a layer is where it lies; None if it is not there."""
        return self._repositories.blob_size(self.repository, layer.digest)

    def restore(self, layer: Descriptor, chunks: Chunks) -> None:
        """Store a layer that is damaged or gone. Raises Damaged if the bytes are others."""
        self._repositories.restore_blob(self.repository, layer.digest, layer.size, chunks)

    def close(self) -> None:
        """Give up what is on this machine's disk."""
        with self._lock:
            for spool in self._spools.values():
                spool.close()
            self._spools.clear()

    def __str__(self) -> str:
        return f"{self.repository}@{self.document.digest}"

    def _read_documents(self, held: ImageVersion) -> VersionDocuments:
        archive = self._whole(held.documents)
        files = {
            member.path: archive[member.offset : member.offset + member.size]
            for member in members_of(archive)
            if member.kind == "file"
        }
        version = Version(held.name, held.label)
        data = files.get(f"{ROOT}/{layout.manifest_key(version)}")
        if data is None or digest_of(bytes(data)) != held.digest:
            raise Damaged(f"the image {self} has not the manifest {held.digest} of {version}")
        manifest = Manifest.parse(bytes(data))
        contents = files.get(f"{ROOT}/{layout.blob_key(version, FILE_NAME)}")
        if contents is None:
            raise Damaged(f"the image {self} has no {FILE_NAME} of {version}")
        blobs = {
            blob.digest: bytes(files[key])
            for blob in (manifest.config, manifest.blocks)
            if (key := f"{ROOT}/{layout.blob_key(version, blob.digest)}") in files
        }
        return VersionDocuments(manifest, Contents.parse(bytes(contents)), blobs)

    def _whole(self, diff_id: str) -> memoryview:
        """A small archive, checked."""
        layer = self.layer(diff_id)
        how = compression_of(layer.media_type)
        if not how:
            return memoryview(self._repositories.read_blob(self.repository, layer.digest, _MOST_DOCUMENTS_BYTES))
        with self._repositories.stream_blob(self.repository, layer.digest, layer.size) as slices:
            data = b"".join(inflate(slices, how, _MOST_DOCUMENTS_BYTES))
        if digest_of(data) != diff_id:
            raise Damaged(f"a layer of the image {self} is not what its config says: {diff_id}")
        return memoryview(data)

    def _spooled(self, placed: PlacedLayer, layer: Descriptor) -> Spool:
        with self._lock:
            if placed.diff_id not in self._spools:
                most = placed.least_bytes + _SLACK_BYTES + _SLACK_A_FILE * len(placed.files)
                with self._repositories.stream_blob(self.repository, layer.digest, layer.size) as slices:
                    pieces = inflate(slices, compression_of(layer.media_type), most)
                    self._spools[placed.diff_id] = spool_layer(pieces, placed.diff_id)
                if len(self._spools) > _SPOOLS_KEPT:
                    # Whoever reads it holds it: it is closed when the last one is done.
                    self._spools.popitem(last=False)
            self._spools.move_to_end(placed.diff_id)
            return self._spools[placed.diff_id]


@dataclass(frozen=True)
class Named:
    """What a tag or digest names: the document, and the image in it that holds versions; None: it is not Hoist's."""

    document: Document
    image: Image | None


class Images:
    """The images of a place, kept as long as they are used."""

    def __init__(self, repositories: Repositories) -> None:
        self.repositories = repositories
        self._lock = Lock()
        self._images: OrderedDict[tuple[str, str], Image | None] = OrderedDict()

    def named(self, repository: str, reference: str) -> Named:
        """What a tag or digest names now. Raises FileNotFound, and Damaged for documents that are malformed."""
        document = self.repositories.manifest(repository, reference)
        key = repository, document.digest
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
                return Named(document, self._images[key])
        image = self._open(repository, document)
        with self._lock:
            self._images[key] = image
            if len(self._images) > _IMAGES_KEPT:
                self._images.popitem(last=False)
        return Named(document, image)

    def close(self) -> None:
        """Give up all images."""
        with self._lock:
            for image in self._images.values():
                if image is not None:
                    image.close()
            self._images.clear()

    def _open(self, repository: str, document: Document) -> Image | None:
        parsed = parse_image(document.data, document.media_type)
        if isinstance(parsed, ImageManifest):
            image = Image(self.repositories, repository, document, parsed)
            return image if image.versions else None
        if isinstance(parsed, ImageIndex):
            for each in parsed.manifests[:_MOST_PLATFORMS]:
                inner = self.repositories.manifest(repository, each.digest)
                parsed_inner = parse_image(inner.data, inner.media_type)
                if isinstance(parsed_inner, ImageManifest):
                    image = Image(self.repositories, repository, inner, parsed_inner)
                    if image.versions:
                        return image
        return None
