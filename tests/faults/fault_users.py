"""Users whose storage is a directory or a bucket; their commands run in forks of one Python.

A plugin of the modules here (`pytest_plugins`), which import from it too: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from hoist.testing.servers import RadosgwServer, S3Server
from zygote import User, Zygote


@pytest.fixture
def directory_user(zygote: Zygote, tmp_path: Path) -> User:
    """A user whose storage `here` is a directory."""
    (tmp_path / "models").mkdir()
    return User(zygote, tmp_path, {"HOIST_STORAGE_HERE_URL": str(tmp_path / "models")})


def bucket_env(server: S3Server, endpoint: str | None = None) -> dict[str, str]:
    """The environment of a user whose storage `here` is a new bucket of `server`, reached at `endpoint` if given."""
    bucket = f"faults-{uuid4().hex[:12]}"
    server.create_bucket(bucket)
    return {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "HOIST_STORAGE_HERE_URL": f"s3://{bucket}/models",
        "HOIST_STORAGE_HERE_ENDPOINT": endpoint or server.endpoint,
        "HOIST_STORAGE_HERE_REGION": server.region,
        "HOIST_RETRY_SECONDS": "2",
    }


@pytest.fixture
def bucket_user(zygote: Zygote, tmp_path: Path, radosgw_server: RadosgwServer) -> User:
    """A user whose storage `here` is a bucket of a store that honours conditional writes."""
    return User(zygote, tmp_path, bucket_env(radosgw_server))


@pytest.fixture(params=["directory", "bucket"])
def user(request: pytest.FixtureRequest) -> User:
    """Each kind of user in turn."""
    found = request.getfixturevalue(f"{request.param}_user")
    assert isinstance(found, User)
    return found
