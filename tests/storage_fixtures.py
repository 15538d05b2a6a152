"""Storages on the local servers: each test gets a prefix of its own, so that it finds its storage empty.

A plugin of the modules here (`pytest_plugins`), as a second conftest.py would be a second module of that name. They
import from it too, before it is a plugin: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from hoist.config import StorageConfig
from hoist.storage import open_storage
from hoist.storage.base import Storage
from hoist.testing.servers import S3Server

BUCKET = "storage-tests"
OpenOn = Callable[..., Storage]
"""`open_on(server, **fields)`: a storage on the server's bucket; `fields` replace those of its StorageConfig."""


@pytest.fixture
def keys_file(tmp_path: Path) -> Callable[[S3Server, str | None], dict[str, str]]:
    """An environment whose AWS credentials file holds the server's keys (or its key with another secret)."""

    def write(server: S3Server, secret: str | None = None) -> dict[str, str]:
        path = tmp_path / f"credentials-{uuid4().hex}"
        secret = secret or server.secret_key
        path.write_text(f"[default]\naws_access_key_id={server.access_key}\naws_secret_access_key={secret}\n")
        return {"AWS_SHARED_CREDENTIALS_FILE": str(path), "HOME": str(tmp_path)}

    return write


@pytest.fixture
def open_on(keys_file: Callable[[S3Server, str | None], dict[str, str]]) -> Iterator[OpenOn]:
    """Opens storages on servers, below a new prefix, and closes them after the test."""
    opened: list[Storage] = []

    def open_it(server: S3Server, secret: str | None = None, **fields: object) -> Storage:
        server.create_bucket(BUCKET)
        config = StorageConfig(
            address=server.name,
            url=f"s3://{BUCKET}/{uuid4().hex}",
            endpoint=server.endpoint,
            region=server.region,
        )
        config = replace(config, **fields)  # type: ignore[arg-type]
        opened.append(open_storage(config, keys_file(server, secret)))
        return opened[-1]

    yield open_it
    for storage in opened:
        storage.close()
