"""The models that go into an image: opened versions, their layers as streams of verified bytes, their documents."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property

from hoist.config import Config
from hoist.errors import Damaged, UsageError
from hoist.model.image.contents import FILE_NAME, Contents
from hoist.model.image.layers import SMALL_BYTES, HeldLayer, Layer, Plan, Span, documents_of, file_path
from hoist.model.image.layers import plan as plan_layers
from hoist.model.manifest import Blob, FileEntry, digest_of
from hoist.model.reference import parse_location
from hoist.parallel import SMALL_AT_ONCE
from hoist.read.connect import open_location
from hoist.read.stream import stream_file
from hoist.read.version import OpenedVersion
from hoist.storage import layout
from hoist.storage.base import StoredFile
from hoist.storage.image.reading import ImageReader
from hoist.storage.oci.repositories import Chunks, slices


@dataclass(frozen=True)
class Model:
    """A version to be put into an image; `tag` is what it was asked by, where that is no label.

    `place` is the registry's host, or the layout's path, where the version lies in an image itself.
    """

    opened: OpenedVersion
    location: str
    tag: str = ""
    place: str = ""

    @property
    def name(self) -> str:
        """The model's name."""
        return self.opened.version.name

    @property
    def label(self) -> str:
        """The version's label."""
        return self.opened.version.label

    @property
    def digest(self) -> str:
        """The version's identity."""
        return self.opened.manifest.digest

    def plan(self, held: Sequence[HeldLayer], most_layers: int) -> Plan:
        """The layers of the version. Raises StorageUnsupported for what no image can hold."""
        found = plan_layers(self.opened.manifest.files, self.name, self.label, held, most_layers)
        if _collides(found, self.name, self.label):
            return plan_layers(self.opened.manifest.files, self.name, self.label, (), most_layers)
        return found

    def is_local(self, files: Sequence[FileEntry]) -> bool:
        """Whether the files lie on a disk of this machine."""
        stored = (StoredFile(self.opened.version, each) for each in files)
        return all(self.opened.storage.is_local(each) for each in stored)

    @cached_property
    def repository(self) -> str:
        """The repository of its place that holds the version, where it lies in an image; else nothing."""
        storage = self.opened.storage
        return storage.look_up(self.opened.version)[0].repository if isinstance(storage, ImageReader) else ""

    def chunks(self, layer: Layer, files: Sequence[FileEntry]) -> Chunks:
        """A layer of the version's files as `put_blob` wants it, every byte verified before it is handed out."""
        paths = {file_path(self.name, self.label, each.path): each for each in files}

        def chunks(offset: int) -> Iterator[memoryview]:
            waiting: deque[tuple[bytes | Span, Future[bytes] | None]] = deque()
            with ThreadPoolExecutor(SMALL_AT_ONCE, "hoist-small") as ahead:
                try:
                    for part in layer.stream(offset):
                        coming = None
                        if isinstance(part, Span) and paths[part.path].size < SMALL_BYTES:
                            coming = ahead.submit(self.opened.read, paths[part.path].path)
                        waiting.append((part, coming))
                        if len(waiting) > 2 * SMALL_AT_ONCE:
                            yield from self._part(*waiting.popleft(), paths)
                    while waiting:
                        yield from self._part(*waiting.popleft(), paths)
                finally:
                    ahead.shutdown(cancel_futures=True)

        return chunks

    def documents(self, plan: Plan, contents: Contents) -> tuple[Layer, Mapping[str, bytes]]:
        """The layer of documents, and what each of its files holds. Raises Damaged, and what a storage may."""
        version, manifest = self.opened.version, self.opened.manifest
        found = {
            layout.manifest_key(version): manifest.data,
            layout.blob_key(version, FILE_NAME): contents.to_bytes(),
            layout.blob_key(version, manifest.config.digest): self._document(manifest.config),
            layout.blob_key(version, manifest.blocks.digest): self.opened.table.to_bytes(),
        }
        if self.tag:
            found[layout.tag_key(self.name, self.tag)] = layout.tag_document(self.label, self.digest)
        return documents_of(plan, found)

    def _document(self, blob: Blob) -> bytes:
        data = self.opened.storage.read_blob(self.opened.version, blob.digest, blob.size)
        if digest_of(data) != blob.digest:
            raise Damaged(f"a document of {self.location} is damaged: publish the version again")
        return data

    def _part(
        self, part: bytes | Span, coming: Future[bytes] | None, paths: Mapping[str, FileEntry]
    ) -> Iterator[memoryview]:
        if isinstance(part, bytes):
            yield from slices(part)
        elif coming is not None:
            yield from slices(coming.result()[part.begin : part.end])
        else:
            source = self.opened.source(paths[part.path].path)
            with closing(stream_file(source, self.opened.engine, part.begin, part.end)) as pieces:
                yield from pieces


@contextmanager
def opened_models(locations: Sequence[str], config: Config) -> Iterator[list[Model]]:
    """The versions at the locations. Raises UsageError for one that is said twice, NotFound, and what a storage may."""
    with ExitStack() as stack:
        found = []
        for location in locations:
            opened = stack.enter_context(open_location(location, config))
            asked = parse_location(location).reference.label or ""
            tag = asked if asked != opened.version.label else ""
            found.append(Model(opened, location, tag, _place(config.storage(parse_location(location).storage).url)))
        seen: dict[tuple[str, str], str] = {}
        for model in found:
            other = seen.setdefault((model.name, model.label), model.location)
            if other != model.location:
                raise UsageError(f"{other} and {model.location} are both {model.name}:{model.label}: name one of them")
        yield list({(model.name, model.label): model for model in found}.values())


def _place(url: str) -> str:
    scheme, _, rest = url.partition("://")
    ends = {"oci": "/", "oci-layout": ":"}
    return rest.partition(ends[scheme])[0] if scheme in ends else ""


def _collides(plan: Plan, name: str, label: str) -> bool:
    """Whether a new file or link would lie where a kept layer has a file, and so hide it in a container."""
    held = {file.member for each in plan.layers if each.held for file in each.held.files}
    made = {file_path(name, label, entry.path) for each in plan.made for entry in each.files}
    return not held.isdisjoint(made | {link.path for link in plan.symlinks()})
