"""Four regions of four kinds on real servers: two buckets, a registry and a directory."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from sync_making import Regions

from hoist.testing.servers import DockerRegistry, RadosgwServer

BUCKET = f"sync-tests-{uuid4().hex[:8]}"


@pytest.fixture
def directories(tmp_path: Path) -> Regions:
    """Three directories."""
    for name in ("eu", "us", "ap"):
        (tmp_path / name).mkdir()
    return Regions(tmp_path, {name: f'url = "./{name}"' for name in ("eu", "us", "ap")}, {})


@pytest.fixture
def regions(tmp_path: Path, radosgw_server: RadosgwServer, docker_registry: DockerRegistry) -> Regions:
    """`eu` and `us` are buckets, `hub` a registry, `nas` a directory."""
    radosgw_server.create_bucket(BUCKET)
    (tmp_path / "nas").mkdir()
    storages = {name: bucket(radosgw_server, radosgw_server.endpoint) for name in ("eu", "us")}
    storages["hub"] = f'url = "oci://{docker_registry.host}/{uuid4().hex}"'
    storages["nas"] = 'url = "./nas"'
    return Regions(tmp_path, storages, keys(radosgw_server))


def bucket(server: RadosgwServer, endpoint: str) -> str:
    """A prefix of its own, as hoist.toml has it."""
    return f'url = "s3://{BUCKET}/{uuid4().hex}"\nendpoint = "{endpoint}"\nregion = "{server.region}"'


def keys(server: RadosgwServer) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
