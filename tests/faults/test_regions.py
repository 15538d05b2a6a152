"""A region is lost in the middle of a load, in every way that a server can be lost: the other one gives the rest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from threading import Lock, Timer
from typing import Any

import pytest
import torch
from test_reading import ALWAYS

import hoist
from conftest import require
from hoist.config import EngineConfig, StorageConfig, load_config
from hoist.errors import HoistWarning
from hoist.integrations.fsspec import HoistFileSystem
from hoist.model.reference import parse_reference
from hoist.read.engine import Engine, Job
from hoist.read.plan import plan_file
from hoist.read.sink import BufferSink
from hoist.read.version import open_version
from hoist.storage import open_storage
from hoist.storage.any.storage import AnyStorage
from hoist.testing.servers import GaneshaServer, RcloneServer, Rule
from hoist.testing.servers.fault_kinds import Fault, Flip, Refusal, Reset, Short, Slow, Stalled
from makers import Raw, directory_storage, files_below, noise, put_version, safetensors_bytes
from regions import Regions, two_regions
from zygote import User, Zygote

NAMES = [f"block.{n}.weight" for n in range(32)]
WEIGHTS = safetensors_bytes([Raw(name, "F16", [1 << 15], noise(1 << 16, n)) for n, name in enumerate(NAMES)])
FILES = {"model.safetensors": WEIGHTS, "config.json": b"{}"}
BLOCK = 64 << 10
LOST: dict[str, Fault] = {name: fault for name, (fault, _) in ALWAYS.items()} | {
    "frozen before": Stalled("before"),
    "frozen behind the headers": Stalled("headers"),
    "frozen in the middle": Stalled("body"),
    "trickling": Slow(5e3),
}
# Until this many requests of the weights, all is well: of about 34.
WELL = 9


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("regions")
    with directory_storage(root / "models") as storage:
        put_version(storage, FILES, BLOCK)
    return root


@pytest.fixture
def regions(served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Regions]:
    with two_regions(served) as found:
        for key, value in {**found.env, "HOME": str(tmp_path), "HOIST_CONNECTIONS": "4"}.items():
            monkeypatch.setenv(key, value)
        yield found


def load_file(regions: Regions, user: User) -> None:
    found = hoist.load_file("models//m/one:v1")
    assert found.keys() == set(NAMES)
    for n, name in enumerate(NAMES):
        assert found[name].view(torch.uint8).numpy().tobytes() == noise(1 << 16, n), name


def pull(regions: Regions, user: User) -> None:
    user.run("pull", "models//m/one:v1", "out", "--quiet")
    assert FILES.items() <= files_below(user.home / "out").items()


def verify(regions: Regions, user: User) -> None:
    assert "is whole" in user.run("verify", "models//m/one:v1", "--quiet").out


def fsspec(regions: Regions, user: User) -> None:
    files = HoistFileSystem(skip_instance_cache=True)
    with closing(files), files.open("models//m/one:v1/model.safetensors") as file:
        assert file.read() == WEIGHTS


READERS: dict[str, Callable[[Regions, User], None]] = {
    each.__name__: each for each in (load_file, pull, verify, fsspec)
}


FEW = ("frozen in the middle", "a flipped bit", "404", "503")
ROWS = [(name, reader) for name in LOST for reader in READERS if name in FEW or reader in ("load_file", "pull")]


@pytest.mark.matrix
@pytest.mark.parametrize(("name", "reader"), ROWS)
def test_a_region_is_lost_in_the_middle(
    regions: Regions, zygote: Zygote, tmp_path: Path, name: str, reader: str
) -> None:
    regions.eu.plan(Rule(LOST[name], path="*model.safetensors", first=WELL))
    user = User(zygote, tmp_path, {**regions.env, "HOIST_CONNECTIONS": "4"})
    READERS[reader](regions, user)
    assert regions.eu.struck()


@pytest.mark.parametrize("fault", [Stalled("before"), Refusal(503), Refusal(403, code="AccessDenied")], ids=str)
def test_a_region_that_is_lost_from_the_start(regions: Regions, zygote: Zygote, tmp_path: Path, fault: Fault) -> None:
    regions.eu.plan(Rule(fault))
    pull(regions, User(zygote, tmp_path, regions.env))
    assert regions.eu.struck()


@pytest.mark.parametrize("seed", range(2))
def test_both_regions_go_wrong_at_times(
    regions: Regions, zygote: Zygote, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOIST_RETRY_SECONDS", "30")
    rules = [Rule(fault, chance=0.04) for fault in (Flip(), Short(), Reset("body"), Refusal(500), Refusal(404))]
    rules.append(Rule(Stalled("body"), chance=0.01))
    regions.eu.plan(*(Rule(each.fault, path="*model.safetensors", chance=each.chance) for each in rules), seed=seed)
    regions.us.plan(
        *(Rule(each.fault, path="*model.safetensors", chance=each.chance) for each in rules), seed=99 + seed
    )
    load_file(regions, User(zygote, tmp_path, regions.env))


def test_the_first_region_is_read_again_when_it_is_back(regions: Regions) -> None:
    with open_any(regions) as storage:
        with regions.eu.down():
            assert read(storage) == WEIGHTS
            assert storage.health()[0].state != "closed"
        seen = len(regions.us.seen)
        while storage.health()[0].state != "closed":
            assert read(storage) == WEIGHTS
        seen = len(regions.us.seen)
        assert read(storage) == WEIGHTS
        assert len(regions.us.seen) == seen


def test_both_regions_are_away_for_a_while(regions: Regions) -> None:
    with open_any(regions) as storage, ExitStack() as away:

        def lose() -> None:
            away.enter_context(regions.eu.down())
            away.enter_context(regions.us.down())
            Timer(1.0, away.close).start()

        assert read(storage, lose) == WEIGHTS
        assert read(storage) == WEIGHTS


def open_any(regions: Regions) -> AnyStorage:
    storage = open_storage(load_config().storage("models"), dict(os.environ))
    assert isinstance(storage, AnyStorage)
    return storage


def read(storage: AnyStorage, at_half: Callable[[], None] | None = None) -> bytes:
    """The weights, by the engine; `at_half` is called once half of them are there."""
    config = EngineConfig(retry_seconds=20.0, connections=4)
    source = open_version(storage, parse_reference("m/one:v1"), Engine(config)).source("model.safetensors")
    plan = plan_file(source.blocks, BLOCK)
    buffer = bytearray(plan.size)
    sink = BufferSink(memoryview(buffer))
    lock, come = Lock(), [0]

    def on_bytes(count: int) -> None:
        with lock:
            before, come[0] = come[0], come[0] + count
        if at_half and before < len(WEIGHTS) // 2 <= before + count:
            at_half()

    Engine(config).run([Job(source, request, sink) for request in plan.requests], on_bytes=on_bytes)
    return bytes(buffer)


@pytest.fixture
def real(served: Path, tmp_path: Path) -> Iterator[tuple[RcloneServer, AnyStorage]]:
    """A server of the test's own, which can be killed, before one that stays; both serve the same files."""
    require(RcloneServer)
    with RcloneServer(served) as eu, RcloneServer(served) as us:
        members: list[tuple[str, Any]] = []
        for server in (eu, us):
            config = StorageConfig(server.name, "s3://models", endpoint=server.endpoint, region=server.region)
            keys = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
            members.append((f"at-{len(members)}", lambda config=config, keys=keys: open_storage(config, keys)))
        with AnyStorage("models", members) as storage:
            try:
                yield eu, storage
            finally:
                eu.thaw()


@pytest.mark.parametrize("lose", [RcloneServer.kill, RcloneServer.freeze])
def test_a_server_is_killed_or_frozen_in_the_middle(
    real: tuple[RcloneServer, AnyStorage], lose: Callable[[RcloneServer], None]
) -> None:
    eu, storage = real
    assert read(storage, partial(lose, eu)) == WEIGHTS
    assert storage.health()[0].state != "closed"
    assert read(storage) == WEIGHTS
    with pytest.warns(HoistWarning, match="without at-0"):
        assert [version.label for version in storage.versions()] == ["v1"]
    if lose is RcloneServer.freeze:
        eu.thaw()
        while storage.health()[0].state != "closed":
            assert read(storage) == WEIGHTS


def test_an_nfs_server_is_frozen_in_the_middle(served: Path, tmp_path: Path) -> None:
    """Its library hangs in the middle of a call: who reads waits in vain in another thread, with memory of its own."""
    require(GaneshaServer)
    with GaneshaServer() as server:
        shutil.copytree(served / "models", server.data_folder / "models")
        near = StorageConfig("near", f"{server.url}/models")
        members: list[tuple[str, Any]] = [("nfs", lambda: open_storage(near, {}))]
        members.append(("disk", lambda: open_storage(StorageConfig("disk", str(served / "models")), {})))
        with AnyStorage("models", members) as storage:
            try:
                assert read(storage, server.freeze) == WEIGHTS
                assert storage.health()[0].state != "closed"
                assert read(storage) == WEIGHTS
            finally:
                server.thaw()
