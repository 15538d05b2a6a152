"""Four regions of four kinds: a bucket behind a server that can go wrong, one of a real store, a directory, a registry.

A plugin of the modules here (`pytest_plugins`), which import from it too: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

import pytest

import hoist
from hoist.config import Config, load_config
from hoist.status.look import Look
from hoist.status.run import Observer, Options, subject_of
from hoist.status.state import Status, StorageStatus
from hoist.testing.servers import DockerRegistry, FaultServer, RadosgwServer, ServerOrigin
from makers import noise

SIZES = {"v1": 300_000, "v2": 5_000}
QUICK = Options(limit_seconds=20.0, sample_seconds=0.0)


@dataclass(frozen=True)
class Regions:
    """eu, the source of the plan `production`, us, reached through `sick`, nas and reg; `home` has the hoist.toml."""

    home: Path
    env: dict[str, str]
    sick: FaultServer

    @property
    def config(self) -> Config:
        return load_config(self.env, self.home)

    def observer(self, *words: str, options: Options = QUICK) -> Observer:
        return Observer(subject_of(words, self.config), options)

    def look(self, *words: str, options: Options = QUICK) -> Status:
        return self.observer(*words, options=options).look()

    def publish(self, location: str, *tags: str) -> None:
        """A version of as many bytes as its label says."""
        label = location.rpartition(":")[2]
        source = self.home / f"{label}.bin"
        source.write_bytes(noise(SIZES[label], len(label) + SIZES[label]))
        hoist.publish(source, location, tags=tags, config=self.config)


def look_until(observer: Observer, when: Callable[[Mapping[str, Look]], bool]) -> Status:
    """A look that is ended when the looks at the storages have come so far, however long that takes."""
    stop, before = Event(), observer._looks

    def end() -> None:
        while not stop.wait(0.02):
            if observer._looks is not before and when(observer._looks):
                stop.set()

    Thread(target=end, daemon=True).start()
    try:
        return observer.look(stop)
    finally:
        stop.set()


def only(address: str) -> Callable[[Mapping[str, Look]], bool]:
    """Whether this one has not answered, and all others have."""
    return lambda looks: [name for name, look in looks.items() if look.going_on] == [address]


def by_name(status: Status) -> dict[str, StorageStatus]:
    return {storage.address: storage for storage in status.storages}


@pytest.fixture
def regions(tmp_path: Path, radosgw_server: RadosgwServer, docker_registry: DockerRegistry) -> Iterator[Regions]:
    """eu has m/one with v1 and v2 (stable); the others are empty."""
    buckets = [f"status-{uuid4().hex[:12]}" for _ in range(2)]
    for bucket in buckets:
        radosgw_server.create_bucket(bucket)
    (tmp_path / "nas").mkdir()
    with FaultServer(ServerOrigin(radosgw_server.endpoint)) as sick:
        (tmp_path / "hoist.toml").write_text(f"""
[storage.eu]
url = "s3://{buckets[0]}/models"
endpoint = "{radosgw_server.endpoint}"
region = "{radosgw_server.region}"
[storage.us]
url = "s3://{buckets[1]}/models"
endpoint = "{sick.endpoint}"
region = "{radosgw_server.region}"
[storage.nas]
url = "nas"
region = "cn-hangzhou"
[storage.reg]
url = "oci://{docker_registry.host}/{uuid4().hex}"
[sync.production]
from = "eu"
to = ["us", "nas", "reg"]
""")
        keys = {"AWS_ACCESS_KEY_ID": radosgw_server.access_key, "AWS_SECRET_ACCESS_KEY": radosgw_server.secret_key}
        found = Regions(
            tmp_path,
            {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run"), "HOIST_RETRY_SECONDS": "2", **keys},
            sick,
        )
        found.publish("eu//m/one:v1")
        found.publish("eu//m/one:v2", "stable")
        yield found
