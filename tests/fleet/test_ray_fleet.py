"""Fleets on a real Ray cluster of three nodes on this machine, each with a host cache of its own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fleet_making import LOCATION, environ_of, publish_model, wait_until_gone

from conftest import require
from hoist.accelerator.origin import parse_origin
from hoist.accelerator.run import Accelerator
from hoist.accelerator.settings import Settings
from hoist.errors import UsageError
from hoist.fleet.instance import FAILED, LOADED, Instance, Task
from hoist.fleet.ray import RayFleet
from hoist.testing.ray_cluster import ray_cluster
from hoist.testing.servers.nginx import NginxBucket
from hoist.testing.servers.ports import free_port
from hoist.verbs import warm

pytestmark = pytest.mark.long

NODES, EACH = 3, 4
PARTS = {"a.safetensors": 24, "b.safetensors": 8}


@dataclass
class Cluster:
    """The cluster, the model's server, and the folder that has it all."""

    inner: Any
    fleet: RayFleet
    folder: Path
    server: NginxBucket

    def sent(self) -> int:
        """The bytes that the origin has served so far."""
        return self.server.traffic()[1]


def environ_of_node(folder: Path, number: int, server: NginxBucket, accelerator: str) -> dict[str, str]:
    home = folder / f"node-{number}"
    home.mkdir()
    near = {
        "HOIST_STORAGE_NEAR_URL": "s3://models",
        "HOIST_STORAGE_NEAR_ENDPOINT": server.endpoint,
        "HOIST_STORAGE_NEAR_ANONYMOUS": "true",
        "HOIST_STORAGE_NEAR_ACCELERATOR": accelerator,
    }
    return environ_of(server, home, NOTES=str(folder), **near)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if os.environ.get("HOIST_REQUIRE_SERVERS") != "1":
        pytest.importorskip("ray")
    require(NginxBucket)
    folder = tmp_path_factory.mktemp("ray")
    for label in ("v1", "v2", "v3", "x1"):
        publish_model(folder, PARTS, label)
    with NginxBucket(folder / "bucket") as server, accelerated(folder, server) as accelerator:
        environs = [environ_of_node(folder, number, server, accelerator) for number in range(NODES)]
        with ray_cluster(environs, EACH) as inner, RayFleet(inner.address) as fleet:
            yield Cluster(inner, fleet, folder, server)


@contextmanager
def accelerated(folder: Path, server: NginxBucket) -> Iterator[str]:
    """The address of an accelerator before the bucket."""
    address = f"127.0.0.1:{free_port()}"
    origin = parse_origin("near", f"{server.endpoint}/models", None)
    settings = Settings(origin, address, cache=folder / "slices", size=256 << 20)
    with Accelerator(settings, print):
        yield f"http://{address}"


@pytest.fixture(scope="module")
def size(cluster: Cluster) -> int:
    return sum(path.stat().st_size for path in (cluster.folder / "source-v1").iterdir())


def by_node(found: list[Instance]) -> dict[str, int]:
    nodes: dict[str, int] = {}
    for each in found:
        nodes[each.node] = nodes.get(each.node, 0) + 1
    return nodes


def test_each_node_fetches_one_copy_for_its_instances(cluster: Cluster, size: int) -> None:
    before = cluster.sent()
    with cluster.fleet.start(Task(LOCATION), NODES * EACH) as running:
        told: list[Instance] = []
        found = running.wait(told.append)
        pids = [each.pid for each in found if each.pid]
    assert [each.state for each in found] == [LOADED] * NODES * EACH, found
    assert list(by_node(found).values()) == [EACH] * NODES
    assert cluster.sent() - before <= 1.05 * NODES * size
    assert {each.number for each in told if each.state == LOADED} == set(range(NODES * EACH))
    wait_until_gone(*pids)


def test_all_nodes_fetch_one_copy_through_an_accelerator(cluster: Cluster, size: int) -> None:
    before = cluster.sent()
    with cluster.fleet.start(Task(LOCATION.replace("here", "near").replace("v1", "x1")), NODES * EACH) as running:
        found = running.wait()
    assert [each.state for each in found] == [LOADED] * NODES * EACH, found
    assert list(by_node(found).values()) == [EACH] * NODES
    assert sum(each.fetched_bytes for each in found) >= 0.99 * NODES * size, "each node had its own"
    assert cluster.sent() - before <= 1.05 * size


def test_warm_brings_a_version_once_and_instances_go_where_it_is(cluster: Cluster, size: int) -> None:
    location = LOCATION.replace("v1", "v3")
    names = [node.address for node in cluster.fleet.alive().values()]
    (first,) = cluster.fleet.warm(location, names[:1])
    assert (first.node, first.size, first.error) == (names[0], size, None)
    assert 0.99 * size <= first.fetched_bytes <= 1.05 * size
    (again,) = cluster.fleet.warm(location, names[:1])
    assert again.fetched_bytes == 0
    with cluster.fleet.start(Task(location), EACH) as running:
        assert by_node(running.wait()) == {names[0]: EACH}
    with pytest.raises(UsageError, match="has no node nowhere"):
        cluster.fleet.warm(location, ["nowhere"])
    before = cluster.sent()
    assert sorted(each.node for each in cluster.fleet.warm(location)) == sorted(names)
    assert cluster.sent() - before <= 1.05 * (NODES - 1) * size
    failed = warm(LOCATION.replace("v1", "v9"), ray="auto")
    assert len(failed) == NODES
    assert all("v9" in str(each.error) for each in failed)


def test_one_that_fails_harms_no_other(cluster: Cluster) -> None:
    task = Task(LOCATION, "fleet_functions:each_fails_otherwise", ("b.safetensors",))
    with cluster.fleet.start(task, 8) as running:
        found = running.wait()
    assert [each.state for each in found] == [FAILED] * 5 + [LOADED] * 3, [each.error for each in found]
    assert "SIGSEGV" in str(found[0].error)


def test_instances_of_a_node_that_dies_start_elsewhere(cluster: Cluster, size: int) -> None:
    task = Task(LOCATION.replace("v1", "v2"), "fleet_functions:waits_between")
    before = cluster.sent()

    def kill_one() -> None:
        until = time.monotonic() + 120
        while len(list(cluster.folder.glob("waiting-*"))) < NODES * EACH and time.monotonic() < until:
            time.sleep(0.05)
        cluster.inner.remove_node(cluster.inner.list_all_nodes()[-1], allow_graceful=False)
        (cluster.folder / "go").touch()

    with cluster.fleet.start(task, NODES * EACH) as running:
        thread = threading.Thread(target=kill_one)
        thread.start()
        found = running.wait()
        thread.join()
        # Its instances may all have been told of as loaded before the node was missed.
        while sum(each.attempt == 2 for each in found) < EACH or not all(each.decided for each in found):
            time.sleep(0.1)
            found = running.wait()
        pids = [int(path.name.rpartition("-")[2]) for path in cluster.folder.glob("waiting-*")]
    assert [each.state for each in found] == [LOADED] * NODES * EACH, found
    moved = [each for each in found if each.attempt == 2]
    assert len(moved) == EACH
    assert len(by_node(found)) == NODES - 1
    assert cluster.sent() - before <= 1.05 * NODES * size
    wait_until_gone(*pids)
