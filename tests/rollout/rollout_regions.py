"""Three regions of three kinds (a directory, a bucket, a registry) with a model in them, as a user's configuration has them.

A plugin of the modules here (`pytest_plugins`), which import from it too: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from hoist.config import Config, load_config
from hoist.model.reference import parse_reference
from hoist.read.connect import connect
from hoist.storage.base import Storage, Tag
from hoist.testing.servers import DockerRegistry, RadosgwServer
from makers import publish

NAME = "sd15/any"


@dataclass(frozen=True)
class World:
    """Regions, and what lies in them."""

    home: Path
    config: Config
    regions: tuple[str, ...]

    def open(self, region: str) -> Storage:
        """A region's storage; the caller closes it."""
        return connect(region, self.config)[0]

    def publish(self, region: str, label: str) -> None:
        """Put a version there; its content depends on its label alone."""
        source = self.home / f"{label}.bin"
        source.write_bytes(label.encode() * 100)
        with self.open(region) as storage:
            publish(source, storage, f"{NAME}:{label}")

    def tag(self, region: str, label: str, tag: str = "stable") -> None:
        """Move a tag there."""
        with self.open(region) as storage:
            version, manifest = storage.resolve(parse_reference(f"{NAME}:{label}"))
            storage.set_tag(Tag(NAME, tag, version.label, manifest.digest))

    def remove(self, region: str, label: str) -> None:
        """Remove a version."""
        with self.open(region) as storage:
            storage.remove(storage.resolve(parse_reference(f"{NAME}:{label}"))[0], unless_tagged=True)

    def stands(self, region: str, tag: str = "stable") -> str | None:
        """The label that a tag names there; what it names is there."""
        with self.open(region) as storage:
            found = storage.find_tag(NAME, tag)
            if found is None:
                return None
            assert storage.resolve(parse_reference(f"{NAME}:{tag}"))[0].label == found.label
            return found.label

    def all_stand(self, tag: str = "stable") -> list[str | None]:
        """The same of all regions."""
        return [self.stands(region, tag) for region in self.regions]

    def notes(self, region: str) -> list[str]:
        """Why `stable` was moved there, the oldest first."""
        with self.open(region) as storage:
            return [move.note for move in storage.tag_moves(NAME, "stable")]

    def with_env(self, **more: str) -> Config:
        """The configuration with other variables."""
        return load_config({**self.config.environ, **more}, self.home)


def make_world(home: Path, env: dict[str, str], regions: tuple[str, ...]) -> World:
    """Regions by their variables; v1 is `stable` in each, v2 lies in the first alone."""
    environ = {"HOME": str(home), "PATH": "/usr/bin:/bin", "HOIST_RETRY_SECONDS": "2", **env}
    world = World(home, load_config(environ, home), regions)
    for region in regions:
        world.publish(region, "v1")
        world.tag(region, "v1")
    world.publish(regions[0], "v2")
    return world


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Three directories."""
    for name in "abc":
        (tmp_path / name).mkdir()
    env = {f"HOIST_STORAGE_{name.upper()}_URL": str(tmp_path / name) for name in "abc"}
    return make_world(tmp_path, env, ("a", "b", "c"))


@pytest.fixture
def mixed_world(tmp_path: Path, radosgw_server: RadosgwServer, docker_registry: DockerRegistry) -> Iterator[World]:
    """A directory, a bucket and a registry."""
    (tmp_path / "dir").mkdir()
    bucket = f"rollout-{uuid4().hex[:12]}"
    radosgw_server.create_bucket(bucket)
    env = {
        "AWS_ACCESS_KEY_ID": radosgw_server.access_key,
        "AWS_SECRET_ACCESS_KEY": radosgw_server.secret_key,
        "HOIST_STORAGE_DIR_URL": str(tmp_path / "dir"),
        "HOIST_STORAGE_BUCKET_URL": f"s3://{bucket}/models",
        "HOIST_STORAGE_BUCKET_ENDPOINT": radosgw_server.endpoint,
        "HOIST_STORAGE_BUCKET_REGION": radosgw_server.region,
        "HOIST_STORAGE_REGISTRY_URL": f"oci://{docker_registry.host}/{uuid4().hex}",
    }
    yield make_world(tmp_path, env, ("dir", "bucket", "registry"))
