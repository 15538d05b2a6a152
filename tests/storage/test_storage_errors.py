"""What really goes wrong with a store: each has its own error, said quickly and without a secret."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from conftest import require
from hoist.config import StorageConfig
from hoist.errors import HoistError, PermissionDenied, StorageNotFound, StorageUnavailable
from hoist.storage import open_storage
from hoist.storage.base import Storage, StoredFile, Tag
from hoist.testing.conformance.base import publish, ref, small, source_of, ver
from hoist.testing.servers import RadosgwServer, RcloneServer, S3Server
from hoist.testing.servers.ports import free_port
from storage_fixtures import BUCKET, OpenOn

pytest_plugins = ["storage_fixtures"]
CONTENT = small("one")
ENTRY = CONTENT.entries["config.json"]
QUICKLY_SECONDS = 10.0


def verbs(storage: Storage) -> dict[str, Callable[[], object]]:
    """One call of each method."""
    return {
        "versions": lambda: list(storage.versions()),
        "tags": lambda: list(storage.tags("a")),
        "find_tag": lambda: storage.find_tag("a", "b"),
        "tag_moves": lambda: storage.tag_moves("a", "b"),
        "read_manifest": lambda: storage.read_manifest(ver("a:v1")),
        "resolve": lambda: storage.resolve(ref("a:v1")),
        "read_blob": lambda: storage.read_blob(ver("a:v1"), ENTRY.digest, 5),
        "read_into": lambda: storage.read_into(StoredFile(ver("a:v1"), ENTRY), 0, memoryview(bytearray(4))),
        "begin": lambda: storage.begin(ver("a:v1"), CONTENT.digest),
        "set_tag": lambda: storage.set_tag(Tag("a", "b", "v1", CONTENT.digest)),
        "remove_tag": lambda: storage.remove_tag("a", "b"),
        "remove": lambda: storage.remove(ver("a:v1")),
        "exclusive": storage.exclusive,
    }


def check(storage: Storage, error: type[HoistError], secrets: list[str], leave_out: tuple[str, ...] = ()) -> None:
    """Each verb raises `error`, and no message holds a secret or a signature."""
    for name, verb in verbs(storage).items():
        if name in leave_out:
            continue
        with pytest.raises(HoistError) as caught:
            verb()
        told = f"{caught.value} {caught.value.__cause__}"
        assert type(caught.value) is error, (name, told)
        assert storage.address in told
        for secret in (*secrets, "Signature=", "X-Amz-Credential="):
            assert secret not in told, name


@pytest.mark.parametrize("server_name", ["radosgw_server", "moto_server", "rclone_server"])
def test_missing_bucket(request: pytest.FixtureRequest, server_name: str, open_on: OpenOn) -> None:
    server: S3Server = request.getfixturevalue(server_name)
    storage = open_on(server, url=f"s3://no-such-{uuid4().hex[:8]}/prefix")
    check(storage, StorageNotFound, [server.secret_key])


@pytest.mark.parametrize("server_name", ["radosgw_server", "rclone_server"])
def test_wrong_secret(request: pytest.FixtureRequest, server_name: str, open_on: OpenOn) -> None:
    server: S3Server = request.getfixturevalue(server_name)
    wrong = "wrong" + server.secret_key[5:]
    check(open_on(server, secret=wrong), PermissionDenied, [server.secret_key, wrong])


def test_no_keys_at_all(radosgw_server: RadosgwServer, open_on: OpenOn, tmp_path: Path) -> None:
    private = open_on(radosgw_server)
    publish(private, "a:v1", CONTENT, tmp_path)
    check(open_on(radosgw_server, anonymous=True), PermissionDenied, [radosgw_server.secret_key])


def test_store_down(tmp_path: Path) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cretXX", "HOME": str(tmp_path)}
    config = StorageConfig("down", f"s3://{BUCKET}", endpoint=f"http://127.0.0.1:{free_port()}", region="us-east-1")
    with open_storage(config, environ) as storage:
        for name, verb in verbs(storage).items():
            began = time.monotonic()
            with pytest.raises(StorageUnavailable) as caught:
                verb()
            assert time.monotonic() - began < QUICKLY_SECONDS, name
            told = str(caught.value)
            assert "down" in told
            assert not any(secret in told for secret in ("AKIDEXAMPLE", "s3cretXX", "Signature"))


def test_store_that_goes_down_while_it_is_used(tmp_path: Path) -> None:
    require(RcloneServer)
    with RcloneServer(tmp_path / "data") as server:
        server.create_bucket(BUCKET)
        environ = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
        config = StorageConfig("s", f"s3://{BUCKET}", endpoint=server.endpoint, region=server.region)
        storage = open_storage(config, environ)
        publish(storage, "a:v1", CONTENT, tmp_path)
        begun = storage.begin(ver("b:v1"), CONTENT.digest)
    with storage:
        with pytest.raises(StorageUnavailable):
            storage.read_into(StoredFile(ver("a:v1"), ENTRY), 0, memoryview(bytearray(4)))
        with pytest.raises(StorageUnavailable):
            begun.put_file(ENTRY, source_of(CONTENT.files[ENTRY.path], tmp_path), lambda count: None)
