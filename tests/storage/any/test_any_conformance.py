"""Logical storages pass what every storage passes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from hoist.config import StorageConfig
from hoist.storage import open_storage
from hoist.storage.any.storage import AnyStorage
from hoist.storage.base import Storage
from hoist.testing.conformance import StorageConformance
from hoist.testing.servers import RadosgwServer
from storage_fixtures import OpenOn

pytest_plugins = ["storage_fixtures"]


def open_any(*members: Storage) -> Storage:
    return AnyStorage("models", [(member.address, lambda member=member: member) for member in members])  # type: ignore[misc]


class TestAnyOfDirectoryAndMemory(StorageConformance):
    """Writes go to the directory, and all else asks both."""

    examples = 5
    restores = False

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Storage]:
        (tmp_path / "root").mkdir()
        members = (StorageConfig("nas", str(tmp_path / "root")), StorageConfig("mem", f"memory://{uuid4().hex}"))
        with open_storage(StorageConfig("models", "any://nas,mem", "any", members=members), {}) as opened:
            yield opened


class TestAnyOfBucketAndDirectory(StorageConformance):
    examples = 2
    restores = False

    @pytest.fixture
    def storage(self, radosgw_server: RadosgwServer, open_on: OpenOn, tmp_path: Path) -> Storage:
        (tmp_path / "root").mkdir()
        return open_any(open_on(radosgw_server), open_storage(StorageConfig("nas", str(tmp_path / "root")), {}))
