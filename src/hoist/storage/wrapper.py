"""A storage around a storage, which passes everything on and tells its subclass of it first."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from hoist.model.manifest import FileEntry, Manifest
from hoist.model.packs import Pack, PackIndex
from hoist.model.reference import Reference
from hoist.storage.base import Content, Leftover, Neighbours, OnBytes, Publication, Storage, StoredFile, Tag, Version
from hoist.storage.moves import ANY, TagMove, Whatever
from hoist.storage.seen import Seen
from hoist.storage.staging import Body, Held, Part, Staged, Staging


class Wrapper(Storage):
    """Passes everything on. Subclasses change `before` and `after_read`."""

    def __init__(self, inner: Storage) -> None:
        self.inner = inner
        self.address = inner.address
        self.kind = inner.kind
        self.traits = inner.traits
        self.required_signers = inner.required_signers

    def before(self, operation: str, size: int) -> None:
        """Called before each operation, with the bytes it will move (0 where that is not known)."""

    def after_read(self, buffer: memoryview) -> None:
        """Called with what a `read_into` has filled."""

    def versions(self, name: str = "") -> Iterator[Version]:
        self.before("versions", 0)
        return self.inner.versions(name)

    def dated_versions(self) -> Iterator[tuple[Version, float]]:
        self.before("versions", 0)
        return self.inner.dated_versions()

    def seen_versions(self, name: str = "") -> Mapping[Version, Seen]:
        self.before("versions", 0)
        return self.inner.seen_versions(name)

    def tags(self, name: str = "") -> Iterator[Tag]:
        self.before("tags", 0)
        return self.inner.tags(name)

    def first_byte_seconds(self) -> float | None:
        return self.inner.first_byte_seconds()

    def throttled(self) -> int:
        return self.inner.throttled()

    def find_tag(self, name: str, tag: str) -> Tag | None:
        self.before("find_tag", 0)
        return self.inner.find_tag(name, tag)

    def read_manifest(self, version: Version) -> bytes:
        self.before("read_manifest", 0)
        return self.inner.read_manifest(version)

    def resolve(self, reference: Reference) -> tuple[Version, Manifest]:
        """As the wrapped storage does, where it does it in its own way: several as one look for version and tag in each."""
        if type(self.inner).resolve is Storage.resolve:
            return super().resolve(reference)
        self.before("read_manifest", 0)
        return self.inner.resolve(reference)

    def read_blob(self, version: Version, digest: str, size: int) -> bytes:
        self.before("read_blob", size)
        return self.inner.read_blob(version, digest, size)

    def read_into(self, file: StoredFile, offset: int, buffer: memoryview) -> None:
        self.before("read_into", len(buffer))
        self.inner.read_into(file, offset, buffer)
        self.after_read(buffer)

    def read_packs(self, version: Version, manifest_digest: str, most: int) -> bytes:
        self.before("read_packs", 0)
        return self.inner.read_packs(version, manifest_digest, most)

    def read_pack_into(self, version: Version, pack: str, offset: int, buffer: memoryview) -> None:
        self.before("read_pack", len(buffer))
        self.inner.read_pack_into(version, pack, offset, buffer)
        self.after_read(buffer)

    def occupied(self, version: Version, *, replace_unfinished: bool = False) -> bool:
        self.before("occupied", 0)
        return self.inner.occupied(version, replace_unfinished=replace_unfinished)

    def staging(self, version: Version, sizes: Collection[int], journals: Path | None = None) -> Staging | None:
        self.before("staging", 0)
        found = self.inner.staging(version, sizes, journals)
        return found and WrappedStaging(self, found)

    def leftovers(self, older_than: float) -> Sequence[Leftover]:
        self.before("leftovers", 0)
        return self.inner.leftovers(older_than)

    def collect(self, leftover: Leftover, older_than: float) -> bool:
        self.before("collect", 0)
        return self.inner.collect(leftover, older_than)

    def begin(self, version: Version, digest: str, *, replace_unfinished: bool = False) -> Publication:
        self.before("begin", 0)
        return WrappedPublication(self, self.inner.begin(version, digest, replace_unfinished=replace_unfinished))

    def begin_ahead(self, version: Version) -> Publication | None:
        self.before("begin", 0)
        publication = self.inner.begin_ahead(version)
        return WrappedPublication(self, publication) if publication else None

    def set_tag(self, tag: Tag, *, before: Tag | Whatever | None = ANY, note: str = "") -> None:
        self.before("set_tag", 0)
        self.inner.set_tag(tag, before=before, note=note)

    def tag_moves(self, name: str, tag: str = "") -> Sequence[TagMove]:
        self.before("tag_moves", 0)
        return self.inner.tag_moves(name, tag)

    def remove_tag(self, name: str, tag: str) -> None:
        self.before("remove_tag", 0)
        self.inner.remove_tag(name, tag)

    def remove(self, version: Version, *, unless_tagged: bool = False) -> None:
        self.before("remove", 0)
        self.inner.remove(version, unless_tagged=unless_tagged)

    def signatures(self, version: Version, hints: Collection[str] = ()) -> Sequence[bytes]:
        self.before("signatures", 0)
        return self.inner.signatures(version, hints)

    def add_signature(self, version: Version, digest: str, data: bytes) -> None:
        self.before("add_signature", len(data))
        self.inner.add_signature(version, digest, data)

    def unlisted(self) -> Mapping[Version, str]:
        return self.inner.unlisted()

    def stored_sizes(self, version: Version, path: str = "") -> Mapping[str, int] | None:
        self.before("stored_sizes", 0)
        return self.inner.stored_sizes(version, path)

    def restore_file(
        self, version: Version, entry: FileEntry, content: Content, neighbours: Neighbours | None = None
    ) -> None:
        self.before("restore_file", entry.size)
        self.inner.restore_file(version, entry, content, neighbours)

    def restore_from(self, version: Version, entry: FileEntry, held: StoredFile) -> bool:
        self.before("restore_from", 0)
        return self.inner.restore_from(version, entry, held)

    def restore_document(self, version: Version, data: bytes) -> None:
        self.before("restore_document", len(data))
        self.inner.restore_document(version, data)

    def restore_manifest(self, version: Version, data: bytes) -> None:
        self.before("restore_manifest", len(data))
        self.inner.restore_manifest(version, data)

    def exclusive(self) -> bool:
        return self.inner.exclusive()

    def close(self) -> None:
        self.inner.close()


class WrappedPublication(Publication):
    """A publication whose operations its storage's wrapper is told of."""

    def __init__(self, wrapper: Wrapper, inner: Publication) -> None:
        self._wrapper = wrapper
        self._inner = inner

    def expect(self, entries: Sequence[FileEntry]) -> None:
        self._inner.expect(entries)

    def has(self, entry: FileEntry) -> bool:
        self._wrapper.before("has", 0)
        return self._inner.has(entry)

    def adopt(self, entry: FileEntry) -> bool:
        self._wrapper.before("adopt", 0)
        return self._inner.adopt(entry)

    def put_file(self, entry: FileEntry, source: Path, on_bytes: OnBytes) -> bool:
        self._wrapper.before("put_file", entry.size)
        return self._inner.put_file(entry, source, on_bytes)

    def put_content(self, entry: FileEntry, content: Content, on_bytes: OnBytes) -> bool:
        self._wrapper.before("put_file", entry.size)
        return self._inner.put_content(entry, content, on_bytes)

    def link(self, entry: FileEntry) -> bool:
        self._wrapper.before("link", 0)
        return self._inner.link(entry)

    def place(self, entry: FileEntry, staged: Staged) -> bool:
        self._wrapper.before("place", 0)
        return self._inner.place(entry, staged.inner if isinstance(staged, WrappedStaged) else staged)

    def put_blob(self, data: bytes) -> None:
        self._wrapper.before("put_blob", len(data))
        self._inner.put_blob(data)

    def put_data(self, entry: FileEntry, data: bytes | memoryview) -> None:
        self._wrapper.before("put_file", entry.size)
        self._inner.put_data(entry, data)

    def has_pack(self, pack: Pack) -> bool:
        self._wrapper.before("has", 0)
        return self._inner.has_pack(pack)

    def adopt_pack(self, pack: Pack) -> bool:
        self._wrapper.before("adopt", 0)
        return self._inner.adopt_pack(pack)

    def put_pack(self, pack: Pack, data: bytes | memoryview) -> None:
        self._wrapper.before("put_pack", len(data))
        self._inner.put_pack(pack, data)

    def put_packs(self, index: PackIndex) -> None:
        self._wrapper.before("put_packs", 0)
        self._inner.put_packs(index)

    def commit(self, manifest: Manifest) -> None:
        self._wrapper.before("commit", len(manifest.data))
        self._inner.commit(manifest)


class WrappedStaging(Staging):
    """A staging whose operations its storage's wrapper is told of."""

    def __init__(self, wrapper: Wrapper, inner: Staging) -> None:
        self._wrapper = wrapper
        self._inner = inner
        self.from_bytes = inner.from_bytes

    def open(self, path: str, size: int, source: Path) -> Staged:
        self._wrapper.before("stage", 0)
        return WrappedStaged(self._wrapper, self._inner.open(path, size, source))

    def find(self, digest: bytes, following: Held | None) -> Held | None:
        return self._inner.find(digest, following)


class WrappedStaged(Staged):
    """A staged file whose operations its storage's wrapper is told of."""

    def __init__(self, wrapper: Wrapper, inner: Staged) -> None:
        self._wrapper = wrapper
        self.inner = inner
        self.limits = inner.limits

    def has(self, part: Part) -> bool:
        return self.inner.has(part)

    def has_blocks(self, part: Part, lengths: Sequence[int]) -> bool:
        return self.inner.has_blocks(part, lengths)

    def copy(self, part: Part) -> bool:
        self._wrapper.before("copy_part", part.size)
        return self.inner.copy(part)

    def put(self, part: Part, body: Body) -> bool:
        self._wrapper.before("put_part", part.size)
        return self.inner.put(part, body)

    def complete(self) -> None:
        self.inner.complete()

    def place(self) -> bool:
        return self.inner.place()

    def discard(self) -> None:
        self.inner.discard()

    def close(self) -> None:
        self.inner.close()
