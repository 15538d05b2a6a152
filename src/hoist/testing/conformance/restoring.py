"""Writing over a file of a version: right again, whatever it was; and never one that is another's by now."""

from __future__ import annotations

import time
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from hoist.afresh import afresh
from hoist.errors import Conflict, StorageUnsupported
from hoist.model.manifest import FileEntry, digest_of
from hoist.storage.base import Content as FileContent
from hoist.storage.base import Storage, StoredFile, Version
from hoist.testing.conformance.base import Conformance, Content, assert_holds, publish, read_file, sample

SMALL = Content({"sub/small.bin": sample("small", 50_001), "empty": b"", "one": b"1"})
# Of a size that goes in parts, where anything does.
LARGE = Content({"large.bin": sample("large", (16 << 20) + 11)})
ENTRY = SMALL.entries["sub/small.bin"]
DATA = SMALL.files[ENTRY.path]


def _gives(data: bytes) -> FileContent:
    def content(offset: int, buffer: memoryview) -> None:
        buffer[:] = data[offset : offset + len(buffer)]

    return content


def _fails(offset: int, buffer: memoryview) -> None:
    raise Conflict("the source is gone")


def _digest_of(storage: Storage, version: Version, entry: FileEntry) -> str:
    """Of a file as it lies in the storage: an accelerator may have it as it was."""
    with afresh(2):
        return digest_of(read_file(storage, version, entry))


class RestoringConformance(Conformance):
    """`stored_sizes`, `restore_file`, `restore_from`, `restore_document`."""

    def test_what_lies_there_is_told(self, storage: Storage, tmp_path: Path) -> None:
        version = publish(storage, "sd15/any:v1", SMALL, tmp_path)
        publish(storage, "sd15/any:v10", Content({"other": b"x"}), tmp_path)
        sizes = storage.stored_sizes(version)
        assert sizes is None or dict(sizes) == {path: len(data) for path, data in SMALL.files.items()}
        assert not storage.unlisted()

    def test_a_file_is_written_over(self, storage: Storage, tmp_path: Path) -> None:
        for label, content in (("v1", SMALL), ("v2", LARGE)):
            version = publish(storage, f"sd15/any:{label}", content, tmp_path)
            for path, data in content.files.items():
                entry = content.entries[path]
                with suppress(Conflict, StorageUnsupported):
                    storage.restore_file(version, entry, _fails)
                assert _digest_of(storage, version, entry) == entry.digest
                if self.restores:
                    storage.restore_file(version, entry, _gives(bytes(len(data))))
                    assert _digest_of(storage, version, entry) == digest_of(bytes(len(data)))
                # What is known by its digest can only become what it was, if it is taken at all.
                with nullcontext() if self.restores else suppress(StorageUnsupported):
                    storage.restore_file(version, entry, _gives(data))
                assert _digest_of(storage, version, entry) == entry.digest

    def test_a_file_is_made_of_another(self, storage: Storage, tmp_path: Path) -> None:
        version = publish(storage, "sd15/any:v1", SMALL, tmp_path)
        other = publish(storage, "sd15/any:v2", SMALL, tmp_path)
        if self.restores:
            storage.restore_file(version, ENTRY, _gives(bytes(len(DATA))))
        # The second time both may be one file already.
        for _ in range(2):
            if storage.restore_from(version, ENTRY, StoredFile(other, ENTRY)):
                assert read_file(storage, version, ENTRY) == DATA
            assert read_file(storage, other, ENTRY) == DATA
        assert storage.stored_sizes(other) == storage.stored_sizes(version)
        if self.restores:
            assert not storage.leftovers(time.time() + 3600)

    def test_documents(self, storage: Storage, tmp_path: Path) -> None:
        version = publish(storage, "sd15/any:v1", SMALL, tmp_path)
        refused = Conflict if self.restores else StorageUnsupported
        with nullcontext() if self.restores else pytest.raises(StorageUnsupported):
            storage.restore_document(version, SMALL.table)
        with pytest.raises(refused):
            storage.restore_document(version, b"another")
        with pytest.raises(refused):
            storage.restore_manifest(version, SMALL.manifest.data)
        assert_holds(storage, "sd15/any:v1", SMALL)

    def test_what_is_gone_or_another_is_not_written(self, storage: Storage, tmp_path: Path) -> None:
        version = publish(storage, "sd15/any:v1", SMALL, tmp_path)
        stranger = FileEntry(ENTRY.path, 3, "sha256:" + "0" * 64)
        with pytest.raises((Conflict, StorageUnsupported)):
            storage.restore_file(version, stranger, _gives(b"abc"))
        assert read_file(storage, version, ENTRY) == DATA
        storage.remove(version)
        with pytest.raises((Conflict, StorageUnsupported)):
            storage.restore_file(version, ENTRY, _gives(DATA))
        # Nothing is left that holds its label.
        publish(storage, "sd15/any:v1", Content({"other": b"x"}), tmp_path)
