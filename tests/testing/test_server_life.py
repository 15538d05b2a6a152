"""Servers that are killed, started again, frozen and let go on: what tests of lost regions stand on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import obstore
import pytest

from conftest import require
from hoist.errors import LocalError
from hoist.testing.servers import DockerRegistry, LocalServer, RadosgwServer, RcloneServer
from hoist.testing.servers.ports import listens


@pytest.fixture(params=[RcloneServer, DockerRegistry])
def server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    kind: type[LocalServer] = request.param
    require(kind)
    with kind() as started:
        yield started


def test_killed_and_started_again_it_has_its_port(server: LocalServer) -> None:
    endpoint, before = server.endpoint, server.pids
    (server.data_folder / "kept").mkdir()
    server.kill()
    assert not listens(int(endpoint.rpartition(":")[2]), before)
    server.restart()
    assert server.endpoint == endpoint
    assert set(server.pids) != set(before)
    server.check()
    assert (server.data_folder / "kept").is_dir()


def test_objects_outlive_a_kill() -> None:
    require(RcloneServer)
    with RcloneServer() as server:
        server.create_bucket("kept")
        body = os.urandom(100_000)
        obstore.put(server.open_store("kept"), "a/b", body)
        server.kill()
        server.restart()
        assert bytes(obstore.get(server.open_store("kept"), "a/b").bytes()) == body


def test_frozen_it_does_not_run(server: LocalServer) -> None:
    server.freeze()
    own = server.pids[1:]
    _wait_until(lambda: {_state(pid) for pid in own} == {"T"})
    server.thaw()
    _wait_until(lambda: "T" not in {_state(pid) for pid in own})
    server.check()


def test_a_cluster_cannot_be_started_again() -> None:
    with pytest.raises(LocalError, match="cannot be started again"):
        RadosgwServer().restart()


def _wait_until(holds: Callable[[], bool]) -> None:
    """A signal is acted upon when its process has its turn."""
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
