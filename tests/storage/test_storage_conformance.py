"""Every storage kind, and every wrapper, passes the one suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest

from hoist.config import StorageConfig
from hoist.storage import open_storage
from hoist.storage.base import Storage
from hoist.storage.wrap import Counting, Faulty, Latency, Throttled
from hoist.testing.conformance import StorageConformance
from hoist.testing.servers import DockerRegistry, GaneshaServer, MotoServer, RadosgwServer, RcloneServer
from storage_fixtures import BUCKET, OpenOn

pytest_plugins = ["storage_fixtures"]


def open_memory() -> Storage:
    address = f"memory://{uuid4().hex}"
    return open_storage(StorageConfig(address, address), {})


def open_layout(root: Path) -> Storage:
    root.mkdir()
    return open_storage(StorageConfig("images", f"oci-layout://{quote(str(root))}"), {})


class TestDirectory(StorageConformance):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        root = tmp_path / "root with space # and 汉字"
        root.mkdir()
        return open_storage(StorageConfig("nas", str(root)), {})


class TestNfs(StorageConformance):
    examples = 5

    @pytest.fixture
    def storage(self, ganesha: GaneshaServer) -> Iterator[Storage]:
        name = f"root with space # and 汉字 {uuid4().hex}"
        (ganesha.data_folder / name).mkdir()
        with open_storage(StorageConfig("nfs", f"{ganesha.url}/{quote(name)}"), {}) as opened:
            yield opened


class TestMemory(StorageConformance):
    examples = 100

    @pytest.fixture
    def storage(self) -> Storage:
        return open_memory()


class TestRadosgw(StorageConformance):
    examples = 3

    @pytest.fixture
    def storage(self, radosgw_server: RadosgwServer, open_on: OpenOn) -> Storage:
        return open_on(radosgw_server)


class TestAccelerated(StorageConformance):
    """A bucket on radosgw whose weights come through an accelerator."""

    examples = 2

    @pytest.fixture
    def storage(self, radosgw_server: RadosgwServer, open_on: OpenOn, accelerator_of: Callable[[str], str]) -> Storage:
        url = accelerator_of(f"{radosgw_server.endpoint}/{BUCKET}")
        opened = open_on(radosgw_server, accelerator=(url,))
        assert opened.kind == "accl"
        return opened


@pytest.mark.long
class TestMoto(StorageConformance):
    examples = 2

    @pytest.fixture
    def storage(self, moto_server: MotoServer, open_on: OpenOn) -> Storage:
        return open_on(moto_server)


class TestRclone(StorageConformance):
    exclusive = False
    examples = 3

    @pytest.fixture
    def storage(self, rclone_server: RcloneServer, open_on: OpenOn) -> Storage:
        return open_on(rclone_server)


class ImageConformance(StorageConformance):
    """What no place of OCI content has: claims, folders that are in the way, tags of nothing, staged files, packs."""

    exclusive = False
    claims = False
    nests = True
    loose_tags = False
    adopts_across = False
    adopted_bytes = (4 << 20) + 1
    stages = False
    packs = False
    restores = False


class TestImageLayout(ImageConformance):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return open_layout(tmp_path / "root with space # and 汉字")


class TestImageRegistry(ImageConformance):
    examples = 3

    @pytest.fixture
    def storage(self, tmp_path: Path, docker_registry: DockerRegistry) -> Iterator[Storage]:
        url = f"oci://{docker_registry.host}/{uuid4().hex}"
        with open_storage(StorageConfig("registry", url), {"HOME": str(tmp_path)}) as opened:
            yield opened


class TestWrappedImageLayout(ImageConformance):
    examples = 3

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return Counting(Latency(Throttled(Faulty(open_layout(tmp_path / "root")), 10e9), 0.0001))


class TestCounting(StorageConformance):
    @pytest.fixture
    def storage(self) -> Storage:
        return Counting(open_memory())


class TestLatency(StorageConformance):
    examples = 3

    @pytest.fixture
    def storage(self) -> Storage:
        return Latency(open_memory(), 0.0005)


class TestThrottled(StorageConformance):
    @pytest.fixture
    def storage(self) -> Storage:
        return Throttled(open_memory(), 10e9)


class TestFaultless(StorageConformance):
    @pytest.fixture
    def storage(self) -> Storage:
        return Faulty(open_memory())
