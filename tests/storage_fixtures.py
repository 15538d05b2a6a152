"""Storages on the local servers: each test gets a prefix of its own, so that it finds its storage empty.

A plugin of the modules here (`pytest_plugins`), as a second conftest.py would be a second module of that name. They
import from it too, before it is a plugin: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from hoist.accelerator.origin import parse_origin
from hoist.accelerator.run import Accelerator
from hoist.accelerator.settings import Settings
from hoist.config import StorageConfig
from hoist.storage import open_storage
from hoist.storage.base import Storage
from hoist.testing.servers import DockerRegistry, NginxServer, RadosgwServer, S3Server
from hoist.testing.servers.ports import free_port
from makers import directory_storage

# Of this process alone: it is emptied after each file.
BUCKET = f"storage-tests-{uuid4().hex[:8]}"
KINDS = ("directory", "radosgw", "registry", "layout")
Opener = Callable[[str], Storage]
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


@pytest.fixture
def place(
    open_on: OpenOn, radosgw_server: RadosgwServer, docker_registry: DockerRegistry, tmp_path: Path
) -> Iterator[Opener]:
    """Opens a new, empty storage of one of KINDS, and closes it after the test."""
    made: list[Storage] = []

    def make(kind: str) -> Storage:
        name = uuid4().hex
        if kind == "directory":
            return directory_storage(tmp_path / name)
        if kind == "radosgw":
            return open_on(radosgw_server)
        url = f"oci://{docker_registry.host}/{name}" if kind == "registry" else f"oci-layout://{tmp_path / name}"
        made.append(open_storage(StorageConfig(url, url), {"HOME": str(tmp_path)}))
        return made[-1]

    yield make
    for storage in made:
        storage.close()


@pytest.fixture(scope="module")
def accelerator_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The URL of an accelerator before an origin's URL, started at first use and the same for all tests of a module."""
    from conftest import require

    require(NginxServer)
    running: dict[str, str] = {}
    with ExitStack() as stack:

        def find(base: str) -> str:
            if base not in running:
                listen = f"127.0.0.1:{free_port()}"
                cache = tmp_path_factory.mktemp("accelerator")
                stack.enter_context(Accelerator(Settings(parse_origin("origin", base), listen, cache, 256 << 20)))
                running[base] = f"http://{listen}"
            return running[base]

        yield find
