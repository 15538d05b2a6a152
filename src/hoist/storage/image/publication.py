"""A version on its way into a repository as an image: its layers first, the manifest under its tag last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from hoist.errors import HoistError, StorageUnsupported
from hoist.model.image.contents import FILE_NAME
from hoist.model.image.descriptor import Descriptor
from hoist.model.image.documents import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, ImageManifest, history_entry, new_config
from hoist.model.image.labels import VERSIONS, ImageVersion, layer_notes, versions_text
from hoist.model.image.layers import (
    MOST_LAYERS,
    SMALL_BYTES,
    Layer,
    Plan,
    PlannedLayer,
    documents_of,
    file_layer,
    file_path,
    group_files,
    plan,
)
from hoist.model.manifest import FileEntry, Manifest, digest_of
from hoist.storage import layout
from hoist.storage.base import Content, OnBytes, Publication, Version
from hoist.storage.image.holders import Holders
from hoist.storage.image.sending import Sender, Sources
from hoist.storage.image.spool import Spool
from hoist.storage.posix import changed, open_source

if TYPE_CHECKING:
    from hoist.storage.image.storage import ImageStorage


class ImagePublication(Publication):
    """See Publication. `done`: the version is there already, with this content."""

    def __init__(
        self, storage: ImageStorage, version: Version, sender: Sender, holders: Holders, *, done: bool
    ) -> None:
        self._storage = storage
        self._version = version
        self._sender = sender
        self._holders = holders
        self._done = done
        self._lock = Lock()
        # Of large files: those that share a layer with others, by path; it is sent when the last of them is put.
        self._groups: Mapping[str, tuple[str, ...]] = {}
        self._waiting: dict[str, tuple[FileEntry, Path | Content]] = {}
        # By the files of a layer, its digest.
        self._sent: dict[tuple[FileEntry, ...], str] = {}
        self._adopted: set[FileEntry] = set()
        self._spool: Spool | None = None
        self._spooled: dict[FileEntry, int] = {}
        self._blobs: dict[str, bytes] = {}

    def expect(self, entries: Sequence[FileEntry]) -> None:
        groups = group_files(entries)
        self._groups = {
            entry.path: tuple(other.path for other in group)
            for group in groups
            for entry in group
            if len(group) > 1 and entry.size >= SMALL_BYTES
        }

    def has(self, entry: FileEntry) -> bool:
        return self._done

    def adopt(self, entry: FileEntry) -> bool:
        if entry.size < SMALL_BYTES or entry.path in self._groups:
            return False
        if not self._is_held((entry,)):
            return False
        self._adopted.add(entry)
        return True

    def link(self, entry: FileEntry) -> bool:
        return True

    def put_file(self, entry: FileEntry, source: Path, on_bytes: OnBytes) -> bool:
        if entry.size < SMALL_BYTES:
            self._put_small(entry, source, on_bytes)
            return True
        return self._put_large(entry, source, on_bytes)

    def put_content(self, entry: FileEntry, content: Content, on_bytes: OnBytes) -> bool:
        if entry.size >= SMALL_BYTES:
            return self._put_large(entry, content, on_bytes)
        data = bytearray(entry.size)
        content(0, memoryview(data))
        on_bytes(entry.size)
        self.put_data(entry, memoryview(data))
        return True

    def _put_large(self, entry: FileEntry, source: Path | Content, on_bytes: OnBytes) -> bool:
        paths = self._groups.get(entry.path, (entry.path,))
        with self._lock:
            self._waiting[entry.path] = entry, source
            ready = all(path in self._waiting for path in paths)
        if not ready:
            with Sources({entry.path: (source, entry.size)}):
                on_bytes(entry.size)
            return True
        group = tuple(self._waiting[path][0] for path in paths)
        if len(group) == 1:
            return self._send(group, on_bytes)
        return not self._is_held(group) and self._send(group, _last(entry, on_bytes))

    def put_data(self, entry: FileEntry, data: bytes | memoryview) -> None:
        spool, at = self._room(entry)
        spool.write(at, data)
        self._spooled[entry] = at

    def put_blob(self, data: bytes) -> None:
        self._blobs[digest_of(data)] = data

    def commit(self, manifest: Manifest) -> None:
        if self._storage.is_done(self._version, manifest.digest):
            return
        made = self._plan(manifest)
        layers = [self._layer(each) for each in made.layers]
        contents = made.contents([diff_id for diff_id, _ in layers])
        documents = self._documents(made, manifest, contents.to_bytes())
        layers.append(documents)
        # A layer that is kept for two files is one layer.
        unique = dict(layers)
        held = ImageVersion(self._version.name, self._version.label, manifest.digest, documents[0])
        labels = {VERSIONS: versions_text([held])}
        history = [history_entry(f"hoist publish {self._version}")] * len(unique)
        config = new_config().extended(list(unique), labels, history).to_bytes()
        image = ImageManifest(
            Descriptor(self._sender.put(config), len(config), CONFIG_TYPE),
            tuple(unique.values()),
            tuple(labels.items()),
        ).to_bytes()
        # As late as can be: a registry takes a tag from whoever comes last.
        if not self._storage.is_done(self._version, manifest.digest):
            self._sender.put_manifest(self._version.label, image, MANIFEST_TYPE)
        self._storage.forget(self._version)
        self._done = True
        self._spool, self._spooled = None, {}

    def _plan(self, manifest: Manifest) -> Plan:
        """The layers of the image; kept are those of adopted files, and of groups and small files that are the same."""
        adopted = {(entry.digest, entry.size) for entry in self._adopted}
        held = [
            layer
            for layer in self._holders.layers
            if len(layer.files) > 1
            or layer.files[0].size < SMALL_BYTES
            or (layer.files[0].digest, layer.files[0].size) in adopted
        ]
        made = plan(manifest.files, self._version.name, self._version.label, held)
        for each in made.made:
            if any(entry not in self._spooled for entry in each.files) and each.files not in self._sent:
                raise self._incomplete(each)
        return made

    def _incomplete(self, each: PlannedLayer) -> HoistError:
        missing = next(entry.path for entry in each.files)
        if len(each.files) > 1 and not self._groups and each.files[0].size >= SMALL_BYTES:
            return StorageUnsupported(
                f"{self._version} has more than {MOST_LAYERS - 2} large files, and {self._storage.address} was not told of "
                "them before they were put"
            )
        return HoistError(f"{self._version}: {missing!r} was not put into {self._storage.address}: publish it again")

    def _layer(self, each: PlannedLayer) -> tuple[str, Descriptor]:
        """A layer's diff_id and how the image names it; small files are sent now."""
        if each.held is not None:
            return each.held.diff_id, self._holders.descriptor(each.held.diff_id)
        if each.files not in self._sent:
            offsets = {
                file_path(self._version.name, self._version.label, each.path): at for each, at in self._spooled.items()
            }
            self._sent[each.files], _ = self._sender.send(
                each.layer,
                lambda path, offset, buffer: (
                    self._spool.read_into(offsets[path] + offset, buffer) if self._spool else None
                ),
                lambda count: None,
            )
        digest = self._sent[each.files]
        return digest, _descriptor(digest, each.layer, each.files)

    def _documents(self, made: Plan, manifest: Manifest, contents: bytes) -> tuple[str, Descriptor]:
        data = {
            layout.manifest_key(self._version): manifest.data,
            layout.blob_key(self._version, FILE_NAME): contents,
            **{layout.blob_key(self._version, digest): blob for digest, blob in self._blobs.items()},
        }
        layer, found = documents_of(made, data)
        digest = self._sender.put(layer.to_bytes(found))
        return digest, _descriptor(digest, layer, ())

    def _is_held(self, group: tuple[FileEntry, ...]) -> bool:
        wanted = sorted((entry.digest, entry.size) for entry in group)
        return any(sorted((file.digest, file.size) for file in layer.files) == wanted for layer in self._holders.layers)

    def _send(self, group: tuple[FileEntry, ...], on_bytes: OnBytes) -> bool:
        layer = file_layer(self._version.name, self._version.label, group)
        paths = {file_path(self._version.name, self._version.label, entry.path): entry for entry in group}
        resume = " ".join(f"{entry.digest} {path}" for path, entry in paths.items())
        with Sources({path: (self._waiting[entry.path][1], entry.size) for path, entry in paths.items()}) as content:
            # To read what lies on this machine twice is cheaper than to send it.
            local = all(isinstance(self._waiting[entry.path][1], Path) for entry in group)
            digest, sent = self._sender.send(layer, content, on_bytes, resume, look=local)
        with self._lock:
            self._sent[group] = digest
        return sent

    def _put_small(self, entry: FileEntry, source: Path, on_bytes: OnBytes) -> None:
        data = bytearray(entry.size + 1)
        with open_source(source) as opened:
            # One byte more than there should be, to see one that has grown.
            size = opened.readinto(data)  # type: ignore[attr-defined]
        if size != entry.size or digest_of(data[:size]) != entry.digest:
            raise changed(source)
        on_bytes(entry.size)
        self.put_data(entry, memoryview(data)[:size])

    def _room(self, entry: FileEntry) -> tuple[Spool, int]:
        with self._lock:
            if self._spool is None:
                self._spool = Spool()
            return self._spool, self._spool.reserve(entry.size)


def _last(entry: FileEntry, on_bytes: OnBytes) -> OnBytes:
    """The whole layer is sent when its last file is put; the others were told of before."""
    told = 0

    def advance(count: int) -> None:
        nonlocal told
        count = min(count, entry.size - told)
        if count > 0:
            told += count
            on_bytes(count)

    return advance


def _descriptor(digest: str, layer: Layer, files: Sequence[FileEntry]) -> Descriptor:
    return Descriptor(digest, layer.size, LAYER_TYPE, layer_notes(layer.kind, files))
