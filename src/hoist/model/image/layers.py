"""Which file of a version goes into which layer of an image, and each layer to the byte. Pure.

Every file from SMALL_BYTES has a layer of its own; the smaller ones share one, which comes behind. So a file's layer depends
on nothing but its path in the image, its size and its content, and is the same in every image. Files that a layer of an
earlier image has already are not laid out again: that layer is kept, and symbolic links lead to where it has them.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

from hoist.errors import StorageUnsupported
from hoist.model.image.contents import Contents, PlacedFile, PlacedLayer
from hoist.model.image.tar import END, Kind, header, padding
from hoist.model.manifest import FileEntry, Manifest

SMALL_BYTES = 4 << 20
MOST_LAYERS = 100
"""Of one version. Registries and runtimes take 127 in one image; the base needs some."""
ROOT = "models"
"""The folder of an image that is a storage."""

LayerKind = Literal["file", "files", "documents"]


@dataclass(frozen=True, slots=True)
class Member:
    """What lies in a layer at a path: a file of `size` bytes, a folder, or a symbolic link with the text `link`."""

    kind: Kind
    path: str
    size: int = 0
    link: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `begin` to `end` of a file's content, by the file's path in the layer."""

    path: str
    begin: int
    end: int


@dataclass(frozen=True)
class Layer:
    """An uncompressed layer: its members in order, with the folders above them."""

    kind: LayerKind
    members: tuple[Member, ...]

    @cached_property
    def _segments(self) -> tuple[tuple[int, bytes | Member], ...]:
        """What stands where: bytes, or the content of a file."""
        found: list[tuple[int, bytes | Member]] = []
        at, between = 0, b""
        for member in self.members:
            between += header(member.kind, member.path, member.size, member.link)
            if member.size:
                found += [(at, between), (at + len(between), member)]
                at += len(between) + member.size
                between = bytes(padding(member.size))
        return (*found, (at, between + END))

    @cached_property
    def size(self) -> int:
        """Bytes."""
        at, last = self._segments[-1]
        return at + (len(last) if isinstance(last, bytes) else last.size)

    @cached_property
    def offsets(self) -> Mapping[str, int]:
        """Where each file's first byte lies, by its path in the layer."""
        found = {member.path: at for at, member in self._segments if isinstance(member, Member)}
        # A file with no content lies nowhere; any place will do.
        return {member.path: found.get(member.path, 0) for member in self.members if member.kind == "file"}

    def stream(self, offset: int = 0) -> Iterator[bytes | Span]:
        """The layer from an offset on: bytes, and which of a file's content comes between them."""
        for at, segment in self._segments:
            skip = max(0, offset - at)
            if isinstance(segment, bytes):
                if skip < len(segment):
                    yield segment[skip:]
            elif skip < segment.size:
                yield Span(segment.path, skip, segment.size)

    def to_bytes(self, contents: Mapping[str, bytes]) -> bytes:
        """The whole layer, for small ones; `contents` by the path in the layer."""
        return b"".join(
            part if isinstance(part, bytes) else contents[part.path][part.begin : part.end] for part in self.stream()
        )


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file in a layer of an earlier image: its content, its path in the layer, and where it lies there."""

    digest: str
    size: int
    member: str
    offset: int


@dataclass(frozen=True, slots=True)
class HeldLayer:
    """A layer of an earlier image, by its diff_id."""

    diff_id: str
    files: tuple[HeldFile, ...]


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """Files of a version that share a layer: `held` is one of an earlier image that has them, else `layer` is to be made."""

    files: tuple[FileEntry, ...]
    layer: Layer
    held: HeldLayer | None = None


@dataclass(frozen=True)
class Plan:
    """The layers of the version NAME:LABEL that hold its files, in order. `links` are its symbolic links."""

    name: str
    label: str
    layers: tuple[PlannedLayer, ...]
    links: tuple[FileEntry, ...]

    @property
    def made(self) -> tuple[PlannedLayer, ...]:
        """The layers that have to be made and sent."""
        return tuple(each for each in self.layers if each.held is None)

    def contents(self, diff_ids: Sequence[str]) -> Contents:
        """What `image.json` says, once all layers' diff_ids are known, in order."""
        return Contents(
            tuple(PlacedLayer(diff_id, self._placed(each)) for diff_id, each in zip(diff_ids, self.layers, strict=True))
        )

    def symlinks(self) -> tuple[Member, ...]:
        """The symbolic links of the documents layer: the version's own, and those to where kept layers have its files."""
        found = [Member("link", self._path(entry), link=entry.link) for entry in self.links]
        for each in self.layers:
            for entry, held in self._pairs(each):
                if held.member != self._path(entry):
                    found.append(Member("link", self._path(entry), link=relative_link(self._path(entry), held.member)))
        return tuple(sorted(found, key=lambda member: member.path))

    def _path(self, entry: FileEntry) -> str:
        return file_path(self.name, self.label, entry.path)

    def _placed(self, each: PlannedLayer) -> tuple[PlacedFile, ...]:
        if each.held is not None:
            return tuple(
                PlacedFile(entry.path, held.member, held.size, held.offset) for entry, held in self._pairs(each)
            )
        paths = [(entry, self._path(entry)) for entry in each.files]
        return tuple(PlacedFile(entry.path, path, entry.size, each.layer.offsets[path]) for entry, path in paths)

    def _pairs(self, each: PlannedLayer) -> Iterator[tuple[FileEntry, HeldFile]]:
        if each.held is None:
            return
        by_content: dict[tuple[str, int], list[HeldFile]] = {}
        for held in each.held.files:
            by_content.setdefault((held.digest, held.size), []).append(held)
        for entry in each.files:
            same = by_content[entry.digest, entry.size]
            # Its own path where the layer has it there, so that it needs no link.
            own = next((held for held in same if held.member == self._path(entry)), same[0])
            yield entry, own


def plan(
    files: Iterable[FileEntry], name: str, label: str, held: Iterable[HeldLayer] = (), most_layers: int = MOST_LAYERS
) -> Plan:
    """Lay out the version NAME:LABEL with at most `most_layers` layers, that of its documents included.

    `held` are layers of earlier images: one is kept where it has exactly the files of a layer, by content. Digests matter
    for that alone. Raises StorageUnsupported for a file that no image can hold.
    """
    entries = sorted(files)
    known = {_contents_of(each.files): each for each in reversed(list(held)) if each.files}
    planned = [
        PlannedLayer(group, file_layer(name, label, group), known.get(_contents_of(group)))
        for group in group_files(entries, most_layers)
    ]
    return Plan(name, label, tuple(planned), tuple(entry for entry in entries if entry.link))


def group_files(files: Iterable[FileEntry], most_layers: int = MOST_LAYERS) -> list[tuple[FileEntry, ...]]:
    """Which files share a layer: see the module. Where there are more large files than layers, neighbours share one."""
    entries = sorted(entry for entry in files if not entry.link)
    for entry in entries:
        _check_name(entry.path)
    small = tuple(entry for entry in entries if entry.size < SMALL_BYTES)
    large = [entry for entry in entries if entry.size >= SMALL_BYTES]
    # One is the small files', one the documents'.
    count = min(len(large), max(1, most_layers - 2))
    cuts = [number * len(large) // count for number in range(count + 1)] if count else []
    groups = [tuple(large[begin:end]) for begin, end in pairwise(cuts)]
    return [*groups, small] if small else groups


def file_layer(name: str, label: str, files: Sequence[FileEntry]) -> Layer:
    """The layer that holds these files of the version NAME:LABEL."""
    members = [Member("file", file_path(name, label, entry.path), entry.size) for entry in files]
    return Layer("file" if len(files) == 1 and files[0].size >= SMALL_BYTES else "files", with_folders(members))


def documents_of(plan: Plan, documents: Mapping[str, bytes]) -> tuple[Layer, Mapping[str, bytes]]:
    """The layer of a version's documents, by their keys in the storage that ROOT is, and of its symbolic links; and what
    each of its files holds."""
    data = {f"{ROOT}/{key}": document for key, document in documents.items()}
    members = [Member("file", path, len(document)) for path, document in data.items()]
    return documents_layer([*members, *plan.symlinks()]), data


def documents_layer(members: Iterable[Member]) -> Layer:
    """The layer of documents and symbolic links: what `hoist list /models` needs inside a container."""
    return Layer("documents", with_folders(members))


def with_folders(members: Iterable[Member]) -> tuple[Member, ...]:
    """The members in order of path, each behind the folders above it."""
    found: list[Member] = []
    seen: set[str] = set()
    for member in sorted(members, key=lambda member: member.path):
        parts = member.path.split("/")
        for cut in range(1, len(parts)):
            folder = "/".join(parts[:cut])
            if folder not in seen:
                seen.add(folder)
                found.append(Member("folder", folder))
        found.append(member)
    return tuple(found)


def held_layers(contents: Contents, manifest: Manifest) -> list[HeldLayer]:
    """What an image holds of a version, as `plan` wants it; a layer that has what the manifest does not is left out."""
    found = []
    for layer in contents.layers:
        entries = [manifest.by_path.get(file.path) for file in layer.files]
        if all(
            entry and entry.size == file.size and not entry.link
            for entry, file in zip(entries, layer.files, strict=True)
        ):
            files = [
                HeldFile(entry.digest, entry.size, file.member, file.offset)
                for entry, file in zip(entries, layer.files, strict=True)
                if entry
            ]
            found.append(HeldLayer(layer.diff_id, tuple(files)))
    return found


def file_path(name: str, label: str, path: str) -> str:
    """Where a file of the version NAME:LABEL lies in an image."""
    return f"{ROOT}/{name}/{label}/{path}"


def relative_link(path: str, target: str) -> str:
    """The text of a symbolic link at `path` that leads to `target`, both paths in an image."""
    return posixpath.relpath("/" + target, "/" + posixpath.dirname(path))


def _contents_of(files: Iterable[FileEntry | HeldFile]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((file.digest, file.size) for file in files))


def _check_name(path: str) -> None:
    if any(part.startswith(".wh.") for part in path.split("/")):
        raise StorageUnsupported(
            f"an image cannot hold {path!r}: in a layer a name that begins with '.wh.' removes another file; rename it"
        )
