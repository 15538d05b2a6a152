"""Uploads in parts that a store cannot go on with: what an earlier run has left does not stand in the way for ever."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from hoist.config import EngineConfig, StorageConfig
from hoist.errors import StorageUnavailable
from hoist.progress import Progress
from hoist.storage import open_storage
from hoist.storage.base import Storage
from hoist.storage.wrap import Wrapper
from hoist.testing.servers import Answer, DockerRegistry, FaultServer, RadosgwServer, ServerOrigin
from hoist.transfer.copy import Options, copy_version
from hoist.transfer.verify import verify_version
from makers import V1, memory_storage, noise, opened, publish, write_files
from storage_fixtures import OpenOn

pytest_plugins = ["storage_fixtures"]
MIB = 1 << 20
FAILED = Answer(500, {"content-type": "application/xml"}, b"<Error><Code>InternalError</Code></Error>")


class LostUpload:
    """A store that has lost what it needs to go on with its first upload (as rclone has after a full disk), and says of each
    request of some method for it that it failed; of a part, only from the second one on."""

    def __init__(self, origin: ServerOrigin, method: str) -> None:
        self._origin, self._method = origin, method
        self._parts = 0
        self.first = ""
        self.uploads: set[str] = set()

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The store's answer, or its failure."""
        upload = parse_qs(urlsplit(target).query).get("uploadId", [""])[0]
        if upload:
            self.first = self.first or upload
            self.uploads.add(upload)
        if upload == self.first and upload and method == self._method:
            self._parts += 1
            if self._parts > 1 or method == "POST":
                return FAILED
        return self._origin.answer(method, target, headers, body)

    def close(self) -> None:
        """Close the store's connections."""
        self._origin.close()


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_an_upload_that_the_store_has_lost_is_begun_anew_by_the_next_run(
    method: str, radosgw_server: RadosgwServer, open_on: OpenOn, tmp_path: Path
) -> None:
    source = memory_storage()
    publish(write_files(tmp_path / "src", {"w.bin": noise(40 * MIB, 1)}), source)
    origin = LostUpload(ServerOrigin(radosgw_server.endpoint), method)
    with FaultServer(origin) as front:
        target = open_on(radosgw_server, endpoint=front.endpoint)
        options = Options(uploads=tmp_path / "uploads", retry_seconds=0.5)
        (first,) = copy_version(opened(source), [target], options, Progress())
        assert isinstance(first.error, StorageUnavailable)
        assert list(target.versions()) == []
        (second,) = copy_version(opened(source), [target], Options(uploads=options.uploads), Progress())
        assert second.error is None
        assert len(origin.uploads) == 2
        assert not verify_version(opened(target), Progress()).damaged


class LostForAMoment(Wrapper):
    """A source whose second and third reads fail."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.reads = 0

    def before(self, operation: str, size: int) -> None:
        if operation == "read_into":
            self.reads += 1
            if self.reads in (2, 3):
                raise StorageUnavailable("lost for a moment")


def test_a_registry_gets_a_file_whose_source_was_lost_for_a_moment(
    docker_registry: DockerRegistry, tmp_path: Path
) -> None:
    """The engine gives up at once here: who sends the file asks it again for what has failed."""
    source = memory_storage()
    publish(write_files(tmp_path / "src", {"w.bin": noise(40 * MIB, 1)}), source)
    lost = LostForAMoment(source)
    url = f"oci://{docker_registry.host}/lost-{tmp_path.name.replace('_', '-').lower()}"
    with open_storage(StorageConfig("reg", url), {"HOME": str(tmp_path)}) as target:
        found = opened(lost, V1, EngineConfig(retry_seconds=0.0))
        (done,) = copy_version(found, [target], Options(retry_seconds=5.0), Progress())
        assert done.error is None
        assert lost.reads > 3
        assert not verify_version(opened(target), Progress()).damaged
