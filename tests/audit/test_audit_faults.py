"""Stores that fail or lie while they are audited and repaired."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from audit_making import FILES, MIB, flip, folders, published

from hoist.audit.contents import Held, look_at
from hoist.audit.finding import Finding
from hoist.audit.healing import Place
from hoist.audit.reading import Reading
from hoist.audit.repair import repair
from hoist.audit.sample import Sample
from hoist.audit.storage import StorageAudit
from hoist.config import EngineConfig
from hoist.errors import PermissionDenied, StorageUnavailable
from hoist.model.manifest import FileEntry
from hoist.progress import Progress
from hoist.read.engine import Engine
from hoist.storage.base import Content, Leftover, Neighbours, Storage, StoredFile, Version
from hoist.storage.wrap import Wrapper
from makers import directory_storage

ENGINE = Engine(EngineConfig(retry_seconds=0.1))
MODEL = "m/one/v1/unet/model.bin"


class BadSector(Wrapper):
    """A disk that cannot read the bytes at `MIB` of a large file."""

    def read_into(self, file: StoredFile, offset: int, buffer: memoryview) -> None:
        if file.entry.path == "unet/model.bin" and offset <= MIB < offset + len(buffer):
            raise StorageUnavailable("Input/output error") from OSError(errno.EIO, "Input/output error")
        self.inner.read_into(file, offset, buffer)


class Lying(Wrapper):
    """A store that flips a bit of what it is given."""

    def restore_file(
        self, version: Version, entry: FileEntry, content: Content, neighbours: Neighbours | None = None
    ) -> None:
        def spoilt(offset: int, buffer: memoryview) -> None:
            content(offset, buffer)
            buffer[0] ^= 1

        self.inner.restore_file(version, entry, spoilt, neighbours)


class Away(Wrapper):
    """A store that is away while some versions are read, and is there again for others."""

    def __init__(self, inner: Storage, away: Callable[[Version], bool]) -> None:
        super().__init__(inner)
        self._away = away

    def read_into(self, file: StoredFile, offset: int, buffer: memoryview) -> None:
        if self._away(file.version):
            raise StorageUnavailable("it is away")
        self.inner.read_into(file, offset, buffer)


def held(storage: Storage) -> list[Held]:
    looked = [look_at(storage, version, documents=True) for version in storage.versions()]
    assert not [finding for each in looked for finding in each.findings]
    return [each.held for each in looked if each.held]


def whole(storage: Storage) -> list[Finding]:
    return list(Reading(storage, ENGINE, Progress()).whole(held(storage)))


def test_a_sector_that_cannot_be_read_is_damage(tmp_path: Path) -> None:
    config = folders(tmp_path, "a", "b")
    published(config, tmp_path, "a//m/one:v1", "b//m/one:v1")
    storage = BadSector(directory_storage(tmp_path / "a"))
    # What stands around the directory is looked through: it lies on a disk of this machine.
    (found,) = whole(storage)
    assert (found.kind, found.what) == ("damaged", "m/one:v1/unet/model.bin")
    ((begin, end),) = found.spans
    assert begin <= MIB < end < len(FILES["unet/model.bin"])


def test_a_store_that_spoils_what_it_is_given(tmp_path: Path) -> None:
    config = folders(tmp_path, "a", "b")
    published(config, tmp_path, "a//m/one:v1", "b//m/one:v1")
    flip(tmp_path / "a" / MODEL, MIB)
    places = [Place(Lying(directory_storage(tmp_path / "a")), ENGINE), Place(directory_storage(tmp_path / "b"), ENGINE)]
    found = whole(places[0].storage)
    (after,) = repair(places[0], places, found, Progress())
    assert not after.repaired
    assert "read back wrong" in after.not_repaired


def test_a_finding_that_is_right_by_now_is_left_alone(tmp_path: Path) -> None:
    config = folders(tmp_path, "a", "b")
    published(config, tmp_path, "a//m/one:v1", "b//m/one:v1")
    flip(tmp_path / "a" / MODEL, MIB)
    places = [Place(directory_storage(tmp_path / name), ENGINE) for name in "ab"]
    found = whole(places[0].storage)
    flip(tmp_path / "a" / MODEL, MIB)
    before = (tmp_path / "a" / MODEL).stat()
    (after,) = repair(places[0], places, found, Progress())
    assert after.repaired
    now = (tmp_path / "a" / MODEL).stat()
    assert (now.st_ino, now.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_versions_that_cannot_be_read_now(tmp_path: Path) -> None:
    config = folders(tmp_path, "a")
    published(config, tmp_path, *(f"a//m/{number}:v1" for number in range(6)), files={"w.bin": b"w" * 1000})
    flip(tmp_path / "a/m/5/v1/w.bin", 3)
    once = Away(directory_storage(tmp_path / "a"), lambda version: version.name in ("m/1", "m/2"))
    assert [(item.kind, item.what) for item in whole(once)][:2] == [
        ("unreachable", "m/1:v1"),
        ("unreachable", "m/2:v1"),
    ]
    assert whole(once)[-1].kind == "damaged"
    gone = Away(directory_storage(tmp_path / "a"), lambda version: version.name != "m/0")
    with pytest.raises(StorageUnavailable, match="away"):
        # Three in a row say that it is the storage.
        list(Reading(gone, ENGINE, Progress()).whole(held(gone)))
    sampled = Reading(once, ENGINE, Progress()).sampled(held(once), Sample(1.0, 1 << 20), 1)
    assert sorted((item.kind, item.what) for item in sampled) == [
        ("damaged", "m/5:v1/w.bin"),
        ("unreachable", "m/1:v1"),
        ("unreachable", "m/2:v1"),
    ]


class ReadOnly(Wrapper):
    """A store whose keys let nobody see what is on its way."""

    def leftovers(self, older_than: float) -> Sequence[Leftover]:
        raise PermissionDenied("no permission to list uploads")


def test_who_may_only_read_is_not_blamed_for_it(tmp_path: Path) -> None:
    config = folders(tmp_path, "a")
    published(config, tmp_path, "a//m/one:v1", files={"w.bin": b"w" * 1000})
    audit = StorageAudit(ReadOnly(directory_storage(tmp_path / "a")), config.storages["a"], {}, ENGINE)
    audit.look(documents=True)
    assert [(item.kind, item.severity, item.left) for item in audit.findings] == [("unreachable", "note", False)]
    assert audit.looked.versions == 1
