"""What the parts of the suite share: contents to publish, and publishing and reading them by the bare interface."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

from hoist.afresh import afresh
from hoist.model.blocks import BlockTable, block_digest, file_blocks
from hoist.model.manifest import FileEntry, Manifest, digest_of
from hoist.model.reference import Reference, parse_reference
from hoist.storage.base import OnBytes, Publication, Storage, StoredFile, Version

_BLOCK_BYTES = 1 << 20


class Conformance:
    """The attributes by which a storage's test class says what it is like."""

    exclusive: ClassVar[bool] = True
    """Two publishers of one label cannot both win; must be what `Storage.exclusive()` answers."""
    claims: ClassVar[bool] = True
    """An unfinished publish holds its label against other content, and the next run of the same goes on with its files.

    False: nothing is seen of it, whoever commits first has the label, and the next run begins with no file."""
    nests: ClassVar[bool] = False
    """The versions `a:b` and `a/b:c` can stand side by side, as none of them is a folder."""
    loose_tags: ClassVar[bool] = True
    """A tag is left where its version is removed whatever its tags. False: it goes with it."""
    adopts: ClassVar[bool] = True
    """A file of `adopted_bytes` is copied inside the storage when another version holds its digest."""
    adopts_across: ClassVar[bool] = True
    """That version may be another model's."""
    stages: ClassVar[bool] = True
    """Files can be sent before their version's digest is known, and nobody sees them."""
    packs: ClassVar[bool] = True
    """Packs of small files can be kept beside a version."""
    signs: ClassVar[bool] = True
    """Signatures can be kept beside a version."""
    restores: ClassVar[bool] = True
    """A file that is there can be written over, with whatever is given. False: only what it was, if anything."""
    adopted_bytes: ClassVar[int] = (1 << 20) + 1
    examples: ClassVar[int] = 15
    """How many random histories `test_history_agrees_with_a_plain_model` tries; fewer for a slow server."""


@dataclass(frozen=True)
class Content:
    """The files of a version in memory, with the documents that describe them."""

    files: Mapping[str, bytes]

    def __repr__(self) -> str:
        """Without the bytes, which may be millions."""
        return f"Content({ {path: len(data) for path, data in self.files.items()} })"

    @cached_property
    def entries(self) -> Mapping[str, FileEntry]:
        """The manifest's entries by path."""
        return {path: FileEntry(path, len(data), digest_of(data)) for path, data in self.files.items()}

    @cached_property
    def table(self) -> bytes:
        """The block table."""
        return BlockTable.build(
            file_blocks(self.entries[path].digest, *_blocks(data)) for path, data in self.files.items()
        ).to_bytes()

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest."""
        return Manifest.build(self.entries.values(), self.table)[0]

    @cached_property
    def config(self) -> bytes:
        """The config document."""
        return Manifest.build(self.entries.values(), self.table)[1]

    @property
    def digest(self) -> str:
        """The version's identity."""
        return self.manifest.digest


def sample(seed: str, size: int) -> bytes:
    """`size` bytes that look random and depend on `seed` alone."""
    return hashlib.shake_256(seed.encode()).digest(size)


def small(seed: str) -> Content:
    """A content of two small files; contents of different seeds have files of equal paths and sizes."""
    return Content({"config.json": sample(seed, 64), "unet/weights.bin": sample(f"{seed}!", 1000)})


def ref(text: str) -> Reference:
    """A reference from its text."""
    return parse_reference(text)


def ver(text: str) -> Version:
    """A version from `NAME:LABEL`."""
    name, _, label = text.partition(":")
    return Version(name, label)


def nothing(count: int) -> None:
    """An `OnBytes` that does not care."""


def source_of(data: bytes, folder: Path) -> Path:
    """A new file in `folder` that holds `data`."""
    path = folder / uuid4().hex
    path.write_bytes(data)
    return path


def put(
    publication: Publication, content: Content, folder: Path, paths: Iterable[str], on_bytes: OnBytes = nothing
) -> None:
    """Put some files of a content."""
    for path in paths:
        source = source_of(content.files[path], folder)
        publication.put_file(content.entries[path], source, on_bytes)
        source.unlink()


def finish(publication: Publication, content: Content) -> None:
    """Put the documents of a content, and commit it."""
    publication.put_blob(content.config)
    publication.put_blob(content.table)
    publication.commit(content.manifest)


def publish(
    storage: Storage, version: str, content: Content, folder: Path, *, replace_unfinished: bool = False
) -> Version:
    """Publish `content` as `NAME:LABEL`, as the verb does it: what is there already is kept."""
    publication = storage.begin(ver(version), content.digest, replace_unfinished=replace_unfinished)
    missing = [path for path, entry in content.entries.items() if not publication.has(entry)]
    put(publication, content, folder, missing)
    finish(publication, content)
    return ver(version)


def read_file(storage: Storage, version: Version, entry: FileEntry) -> bytes:
    """The whole of one file; what is wrong is read afresh once, as it may be a cache's on the way, of before."""
    data = bytearray(entry.size)
    storage.read_into(StoredFile(version, entry), 0, memoryview(data))
    if digest_of(data) != entry.digest:
        with afresh(1):
            storage.read_into(StoredFile(version, entry), 0, memoryview(data))
    return bytes(data)


def assert_holds(storage: Storage, version: str, content: Content) -> None:
    """The storage has exactly this content under `NAME:LABEL`: manifest, documents and each file's bytes."""
    found, manifest = storage.resolve(ref(version))
    assert (found, manifest.data) == (ver(version), content.manifest.data)
    assert storage.read_blob(found, manifest.config.digest, manifest.config.size) == content.config
    assert storage.read_blob(found, manifest.blocks.digest, manifest.blocks.size) == content.table
    for entry in manifest.files:
        assert read_file(storage, found, entry) == content.files[entry.path], entry.path


def _blocks(data: bytes) -> tuple[list[int], list[bytes]]:
    cuts = [data[at : at + _BLOCK_BYTES] for at in range(0, len(data), _BLOCK_BYTES)]
    return [len(cut) for cut in cuts], [block_digest(cut) for cut in cuts]
