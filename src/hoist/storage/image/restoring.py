"""Making a layer again whose bytes are damaged or gone. Its digest says what it was, so nothing else can come of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hoist.errors import Conflict, StorageUnsupported
from hoist.model.image.contents import PlacedFile, PlacedLayer
from hoist.model.image.layers import Layer, Member, with_folders
from hoist.model.manifest import FileEntry, Manifest
from hoist.storage.base import Content, Neighbours
from hoist.storage.image.inflate import compression_of
from hoist.storage.image.opened import Image, VersionDocuments
from hoist.storage.image.sending import stream


def stored_sizes(image: Image, documents: VersionDocuments, files: Iterable[FileEntry]) -> Mapping[str, int]:
    """The files whose layers are there, each with its size, or what is left of it: a look at each layer, not into it."""
    layers: dict[str, int | None] = {}
    found: dict[str, int] = {}
    for entry in files:
        placed, file = documents.find(entry)
        layer = image.layer(placed.diff_id)
        if layer.digest not in layers:
            layers[layer.digest] = image.blob_size(layer)
        there = layers[layer.digest]
        if there is not None:
            cut = there < layer.size and not compression_of(layer.media_type)
            found[entry.path] = max(0, min(file.size, there - file.offset)) if cut else file.size
    return found


def restore_file(
    image: Image, documents: VersionDocuments, entry: FileEntry, content: Content, neighbours: Neighbours | None
) -> None:
    """See Storage.restore_file."""
    if documents.manifest.by_path.get(entry.path) != entry:
        raise Conflict(f"{image} is another version by now: nothing of it is restored")
    placed, found = documents.find(entry)
    layer = image.layer(placed.diff_id)
    made = _layer(placed)
    same = all(made.offsets[file.member] == file.offset for file in placed.files if file.size)
    if compression_of(layer.media_type) or made.size != layer.size or not same:
        raise StorageUnsupported(
            f"the layer {layer.digest} was made by another program: remove the version, copy it again"
        )
    contents = _contents(documents.manifest, placed, found, content, neighbours, image)

    def give(member: str, offset: int, buffer: memoryview) -> None:
        contents[member](offset, buffer)

    image.restore(layer, lambda offset: stream(made, give, offset))


def _layer(placed: PlacedLayer) -> Layer:
    return Layer("files", with_folders(Member("file", file.member, file.size) for file in placed.files))


def _contents(
    manifest: Manifest,
    placed: PlacedLayer,
    found: PlacedFile,
    content: Content,
    neighbours: Neighbours | None,
    image: Image,
) -> Mapping[str, Content]:
    """What gives the bytes of each file of the layer: those beside the damaged one lie in it as well."""
    contents: dict[str, Content] = {found.member: content}
    for file in placed.files:
        if file.member not in contents:
            contents[file.member] = (
                neighbours(manifest.by_path[file.path]) if neighbours else image.content(placed, file)
            )
    return contents
