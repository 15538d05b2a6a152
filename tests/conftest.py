"""The real local servers and the forking Python, each started once a session and only when a test asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from uuid import uuid4
from zlib import crc32

import pytest

import sharing
from hoist.testing.servers import (
    SERVERS,
    DockerRegistry,
    GaneshaServer,
    LocalServer,
    MotoServer,
    NginxServer,
    RadosgwServer,
    RcloneServer,
    S3Server,
)
from zygote import Zygote

pytest_plugins = ["sharing"]
# Of every table of faults, one row in so many is tried: CI says 5, which takes other rows of one table than of the next.
ONE_IN = int(os.environ.get("HOIST_TEST_ONE_IN", "1"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Thin out the tests marked `matrix`; the same ones stay in every worker and every run."""
    left_out = [
        item for item in items if item.get_closest_marker("matrix") and crc32(item.nodeid.encode()) % ONE_IN != 0
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]


def require(server: type[LocalServer]) -> None:
    """Skip when `server` cannot run here; fail instead when HOIST_REQUIRE_SERVERS=1, as in CI."""
    reason = server.unavailable()
    if reason is None:
        return
    if os.environ.get("HOIST_REQUIRE_SERVERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def rclone_server() -> Iterator[RcloneServer]:
    require(RcloneServer)
    with RcloneServer() as server:
        yield server


@pytest.fixture(scope="session")
def radosgw_server(request: pytest.FixtureRequest) -> Iterator[RadosgwServer]:
    """One for all workers: it takes long to start, and much memory."""
    require(RadosgwServer)
    with sharing.radosgw(request.config) as server:
        yield server


@pytest.fixture(scope="session")
def moto_server() -> Iterator[MotoServer]:
    require(MotoServer)
    with MotoServer() as server:
        yield server


@pytest.fixture(scope="session")
def nginx_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxServer]:
    """Serves the files that a test puts under `nginx_server.data_folder / BUCKET`."""
    require(NginxServer)
    with NginxServer(tmp_path_factory.mktemp("nginx")) as server:
        yield server


@pytest.fixture(scope="session")
def docker_registry() -> Iterator[DockerRegistry]:
    """A registry that anybody may write to; each test takes repositories of its own."""
    require(DockerRegistry)
    with DockerRegistry() as server:
        yield server


@pytest.fixture(scope="session")
def ganesha() -> Iterator[GaneshaServer]:
    """An NFS server; each test takes a folder of its own below `ganesha.data_folder`."""
    require(GaneshaServer)
    with GaneshaServer() as server:
        yield server


@pytest.fixture(scope="session", params=sorted(SERVERS))
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Each server that can be written to, in turn; `@pytest.mark.parametrize(..., indirect=True)` picks some."""
    server = request.getfixturevalue(f"{request.param}_server")
    assert isinstance(server, S3Server)
    return server


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """A new, empty bucket on `s3_server`."""
    name = f"bucket-{uuid4().hex[:12]}"
    s3_server.create_bucket(name)
    return name


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """A Python whose forks run commands, for tests that run very many."""
    with Zygote(tmp_path_factory.mktemp("zygote")) as found:
        yield found
