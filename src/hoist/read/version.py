"""An opened version: its manifest and block table, checked against each other, and its files as sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from io import BufferedReader
from itertools import count
from typing import Self

from hoist.errors import Damaged, FileNotFound, InvalidManifest
from hoist.model.blocks import BlockTable, FileBlocks
from hoist.model.manifest import FileEntry, Manifest, digest_of
from hoist.model.packs import MOST_PACK_BELOW
from hoist.model.reference import Reference
from hoist.read.cache.host import HostCache
from hoist.read.engine import Engine
from hoist.read.file import RangeReader, VerifiedFile
from hoist.read.jitter import wait_once
from hoist.read.packs import PLAIN_READS, PackedFiles, open_packs
from hoist.read.signed import check_signed
from hoist.read.source import Source, stored_source
from hoist.storage.base import Storage, StoredFile, Version


@dataclass(frozen=True)
class OpenedVersion:
    """One version of one storage, ready to be read. As a context manager, or by `close`, it closes the storage."""

    storage: Storage
    version: Version
    manifest: Manifest
    engine: Engine = field(default_factory=Engine)
    cache: HostCache | None = None
    _reads: Iterator[int] = field(default_factory=count, repr=False, compare=False)

    @cached_property
    def table(self) -> BlockTable:
        """The block table, fetched and checked at its first use. Raises InvalidManifest, FileNotFound."""
        blob = self.manifest.blocks
        cache = self.kept_in
        kept = cache.document(blob.digest) if cache else None
        if kept is not None and digest_of(kept) == blob.digest:
            return BlockTable.parse(kept)
        try:
            data = self.storage.read_blob(self.version, blob.digest, blob.size)
        except Damaged:
            data = b""
        if len(data) != blob.size or digest_of(data) != blob.digest:
            raise InvalidManifest(
                f"the block table of {self.version} in {self.storage.address} is damaged: publish the version again"
            )
        table = BlockTable.parse(data)
        if cache:
            cache.keep_document(blob.digest, data)
        return table

    @property
    def files(self) -> Mapping[str, FileEntry]:
        """The files by path."""
        return self.manifest.by_path

    def entry(self, path: str) -> FileEntry:
        """One file. Raises FileNotFound with the nearest names."""
        try:
            return self.files[path]
        except KeyError:
            near = get_close_matches(path, self.files, 3, 0.4) or list(self.files)[:3]
            raise FileNotFound(f"{self.version} has no file {path!r}; it has {', '.join(near)}") from None

    def blocks(self, path: str) -> FileBlocks:
        """The blocks of one file. Raises FileNotFound, InvalidManifest."""
        entry = self.entry(path)
        return self.table.of(entry.digest, entry.size)

    def source(self, path: str) -> Source:
        """One file as a source for the engine, and for the host cache unless it is local anyway.

        Raises FileNotFound, InvalidManifest.
        """
        entry = self.entry(path)
        source = stored_source(self.storage, StoredFile(self.version, entry), self.blocks(path))
        return replace(source, cache=self.cache) if self.cache and not self._is_local(entry) else source

    @property
    def kept_in(self) -> HostCache | None:
        """The host cache if it is to keep what is read of this version: not what lies on a disk of this host anyway."""
        return self.cache if self.cache and self.is_remote else None

    @property
    def is_remote(self) -> bool:
        """Whether the files lie elsewhere than on a disk of this host."""
        return not self._is_local(self.manifest.files[0])

    def reader(self, path: str) -> RangeReader:
        """Verified bytes of any range of one file."""
        return RangeReader(self.source(path), self.engine)

    def open(self, path: str) -> BufferedReader:
        """One file as a seekable, read-only, binary file object. Raises FileNotFound."""
        return BufferedReader(VerifiedFile(self.reader(path)))

    def read(self, path: str) -> bytes:
        """The whole of one (small) file. Raises FileNotFound, DamagedBlock, and what a storage may.

        Who reads several gets those that lie beside them along, where the version has packs.
        """
        size = self.entry(path).size
        if size < MOST_PACK_BELOW and next(self._reads) >= PLAIN_READS:
            packed = self.small_files()
            if packed and path in packed:
                return packed.read(path)
        return self.reader(path).read(0, size)

    def small_files(self) -> PackedFiles | None:
        """The files that lie in packs, for reading many of them; None if none do. Raises StorageUnavailable."""
        return self._packed

    @cached_property
    def _packed(self) -> PackedFiles | None:
        return open_packs(self)

    def _is_local(self, entry: FileEntry) -> bool:
        return self.storage.is_local(StoredFile(self.version, entry))

    def close(self) -> None:
        """Close the storage."""
        self.storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_version(
    storage: Storage,
    reference: Reference,
    engine: Engine | None = None,
    cache: HostCache | None = None,
    *,
    check: bool = True,
) -> OpenedVersion:
    """Open what `reference` means in `storage`. Raises VersionNotFound, InvalidManifest, and what a storage may; Unsigned
    where the storage requires a signature and the version has none (`check=False`: for who signs it)."""
    version, manifest = storage.resolve(reference)
    if check and storage.required_signers:
        check_signed(storage, version, manifest)
    opened = OpenedVersion(storage, version, manifest, engine or Engine(), cache)
    jitter = opened.engine.config.start_jitter
    # Where this host has the block table, it has had the version: the weights are here, or mostly.
    if jitter and opened.is_remote and not (cache and cache.document(manifest.blocks.digest)):
        wait_once(jitter)
    return opened
