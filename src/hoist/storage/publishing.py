"""What every storage does for one version on its way into it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from hoist.errors import StorageUnsupported
from hoist.model.manifest import FileEntry, Manifest
from hoist.model.packs import Pack, PackIndex
from hoist.storage.staging import Staged

OnBytes = Callable[[int], None]
"""Told of bytes that have been moved (and, when reading, verified), from any thread."""
Content = Callable[[int, memoryview], None]
"""Fills memory with a file's bytes from an offset."""
Neighbours = Callable[[FileEntry], Content]
"""The same of other files of the version."""

_NO_PACKS = "this storage keeps no packs of small files: publish without --pack-below"


class Publication(ABC):
    """One version on its way into a storage; nobody sees it before `commit`.

    It may be given up at any point: running the same publish again goes on where it stopped. Several threads may put
    different files at once.
    """

    def expect(self, entries: Sequence[FileEntry]) -> None:
        """Which files there will be, told before the first is put, so that those that belong together lie together; digests
        may be empty. Sources have to stay until `commit` then. Only who puts a hundred large files and more has to tell."""
        return

    @abstractmethod
    def has(self, entry: FileEntry) -> bool:
        """Whether an earlier run of this same publish has put the whole file already."""

    @abstractmethod
    def adopt(self, entry: FileEntry) -> bool:
        """Copy the file inside the storage from a version that holds the same digest; False if there is none."""

    @abstractmethod
    def put_file(self, entry: FileEntry, source: Path, on_bytes: OnBytes) -> bool:
        """Store `source` as the file; `on_bytes` is told of bytes sent. Atomic: a killed put leaves no file.

        False if the storage turned out to have its bytes, and nothing was sent.
        """

    def put_content(self, entry: FileEntry, content: Content, on_bytes: OnBytes) -> bool:
        """As `put_file`, of what `content` gives: verified bytes, asked for in order. Several may be asked for again.

        It must stay usable until `commit`, where `expect` was told. Raises what `content` does.
        """
        from hoist.storage.spooled import put_spooled

        return put_spooled(self, entry, content, on_bytes)

    def link(self, entry: FileEntry) -> bool:
        """Lay the symbolic link that the file was; False where it has to be put as a file."""
        return False

    def place(self, entry: FileEntry, staged: Staged) -> bool:
        """Make a staged file the version's file; False if it is gone meanwhile, and has to be put. See Staging."""
        raise NotImplementedError

    @abstractmethod
    def put_blob(self, data: bytes) -> None:
        """Store a small document (config, block table) under its digest."""

    def put_data(self, entry: FileEntry, data: bytes | memoryview) -> None:
        """Store a small file from memory, atomically. Asked only by who makes packs."""
        raise StorageUnsupported(_NO_PACKS)

    def has_pack(self, pack: Pack) -> bool:
        """Whether an earlier run of this same publish has put the pack."""
        return False

    def adopt_pack(self, pack: Pack) -> bool:
        """Copy the pack inside the storage from a version that has it; False if there is none."""
        return False

    def put_pack(self, pack: Pack, data: bytes | memoryview) -> None:
        """Store a pack, atomically. Raises StorageUnsupported where a storage has no place for packs."""
        raise StorageUnsupported(_NO_PACKS)

    def put_packs(self, index: PackIndex) -> None:
        """Store the pack index, after its packs."""
        raise StorageUnsupported(_NO_PACKS)

    @abstractmethod
    def commit(self, manifest: Manifest) -> None:
        """Make the version exist. Raises Conflict if another one took its label first."""
