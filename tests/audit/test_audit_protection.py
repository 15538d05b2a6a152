"""What is open to others: folders and files by their permissions, buckets by what anybody is answered."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from audit_making import config_of, folders, only, published, told

import hoist
from conftest import require
from hoist.audit.finding import Finding
from hoist.config import Config, StorageConfig
from hoist.storage import layout
from hoist.testing.servers import DockerRegistry, GaneshaServer, RadosgwServer
from hoist.testing.servers.docker_registry import PASSWORD, USER

SMALL = {"w.bin": b"w" * 1000}
ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"


def check(config: Config, *storages: str) -> list[Finding]:
    found = hoist.audit(*storages, sample="none", config=config).findings
    assert all(item.kind == "unprotected" for item in found)
    return list(found)


def test_folders_that_everybody_may_write(tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir()
    config = config_of(StorageConfig("a", str(tmp_path / "srv/a")), home=tmp_path)
    root = tmp_path / "srv/a"
    root.mkdir()
    published(config, tmp_path, "a//m/one:v1", files=SMALL)
    assert check(config) == []
    for folder, word in ((root, "everybody may write it"), (root.parent, "replace the storage")):
        folder.chmod(0o777)
        found = only(hoist.audit(sample="none", config=config))
        assert (found.kind, found.severity, found.what) == ("unprotected", "error", str(folder))
        assert word in found.detail
        assert found.mend == f"chmod o-w {folder}"
        # A sticky one keeps others from renaming what is in it, not from adding to it.
        folder.chmod(0o1777)
        assert len(check(config)) == (1 if folder == root else 0)
        folder.chmod(0o755)
    inner = root / "m/one/v1"
    inner.chmod(0o757)
    (root / ".hoist/tmp").chmod(0o777)
    found = only(hoist.audit(sample="none", config=config))
    assert "2 of its folders: .hoist/tmp, m/one/v1" in found.detail
    assert os.system(found.mend) == 0
    assert check(config) == []


def test_files_that_are_not_read_only(tmp_path: Path) -> None:
    config = folders(tmp_path, "a")
    published(config, tmp_path, "a//m/one:v1", files=SMALL)
    weights, manifest = tmp_path / "a/m/one/v1/w.bin", tmp_path / "a/.hoist/versions/m/one/v1/manifest.json"
    (tmp_path / "a/.hoist/tmp/half").write_bytes(b"of a file on its way")
    weights.chmod(0o644)
    manifest.chmod(0o466)
    errors, warnings = (next(item for item in check(config) if item.severity == each) for each in ("error", "warning"))
    assert "1 of its files: .hoist/versions/m/one/v1/manifest.json" in errors.detail
    assert "m/one/v1/w.bin" in warnings.detail
    for found in (errors, warnings):
        assert os.system(found.mend) == 0
    assert check(config) == []
    assert (tmp_path / "a/.hoist/tmp/half").stat().st_mode & 0o777 == 0o644


def test_files_of_other_users(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    config = folders(tmp_path, "a")
    published(config, tmp_path, "a//m/one:v1", files=SMALL)
    os.chown(tmp_path / "a/m/one/v1/w.bin", 12345, -1)
    found = only(hoist.audit(sample="none", config=config))
    assert (found.severity, "m/one/v1/w.bin" in found.detail) == ("warning", True)
    # Where a group may write, several users publish.
    (tmp_path / "a").chmod(0o775)
    assert check(config) == []
    (tmp_path / "a").chmod(0o755)
    os.chown(tmp_path / "a/m/one/v1/w.bin", 0, -1)
    os.chown(tmp_path, 12345, -1)
    found = only(hoist.audit(sample="none", config=config))
    assert (found.what, found.severity, "user 12345" in found.detail) == (str(tmp_path), "warning", True)


def test_a_layout_folder(tmp_path: Path) -> None:
    config = config_of(StorageConfig("a", f"oci-layout://{tmp_path}/layout"), home=tmp_path)
    published(config, tmp_path, "a//m/one:v1", files=SMALL)
    assert check(config) == []
    (tmp_path / "layout").chmod(0o777)
    assert [(item.severity, item.what) for item in check(config)] == [("error", str(tmp_path / "layout"))]


Bucket = Callable[[], Config]


@pytest.fixture
def bucket(radosgw_server: RadosgwServer, tmp_path: Path) -> tuple[Config, str]:
    """A configuration of one storage `a`, a bucket with a version in it, and the bucket's name."""
    name = f"audit-{uuid4().hex[:12]}"
    radosgw_server.create_bucket(name)
    storage = StorageConfig(
        "a", f"s3://{name}/deep/models", endpoint=radosgw_server.endpoint, region=radosgw_server.region
    )
    keys = {"AWS_ACCESS_KEY_ID": radosgw_server.access_key, "AWS_SECRET_ACCESS_KEY": radosgw_server.secret_key}
    config = config_of(storage, home=tmp_path, **keys)
    published(config, tmp_path, "a//m/one:v1", files=SMALL)
    return config, name


def keys_of(server: RadosgwServer, bucket: str) -> set[str]:
    return {item["path"] for page in server.open_store(bucket).list() for item in page}


def test_a_private_bucket(radosgw_server: RadosgwServer, bucket: tuple[Config, str]) -> None:
    config, name = bucket
    before = keys_of(radosgw_server, name)
    assert check(config) == []
    assert keys_of(radosgw_server, name) == before


@pytest.mark.parametrize(
    "acl", ["public-read-write", "authenticated-read", pytest.param("public-read", marks=pytest.mark.matrix)]
)
def test_a_public_access_list(radosgw_server: RadosgwServer, bucket: tuple[Config, str], acl: str) -> None:
    config, name = bucket
    before = keys_of(radosgw_server, name)
    assert radosgw_server.request("PUT", f"/{name}", query="acl=", headers={"x-amz-acl": acl}).status == 200
    found = check(config)
    said = " / ".join(item.detail for item in found)
    assert ("everybody may list it" in said) == acl.startswith("public")
    assert ("everybody may write it" in said) == (acl == "public-read-write")
    assert ("everybody with an account" in said) == (acl == "authenticated-read")
    assert all(item.severity == "error" for item in found)
    assert not any(secret in said for secret in (radosgw_server.secret_key, "Signature"))
    # What was written to try it is gone.
    assert keys_of(radosgw_server, name) == before


def test_a_public_policy(radosgw_server: RadosgwServer, bucket: tuple[Config, str]) -> None:
    """Everybody may read the objects, and not list them."""
    config, name = bucket
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{name}/deep/models/m/*"],
    }
    body = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()
    assert radosgw_server.request("PUT", f"/{name}", query="policy=", body=body).status in (200, 204)
    found = only(hoist.audit("a", sample="none", config=config))
    assert (
        f"everybody may read it, without credentials: {layout.file_key(hoist.list('a', config=config)[0].version, 'w.bin')}"
        in found.detail
    )


def test_public_on_purpose(radosgw_server: RadosgwServer, bucket: tuple[Config, str]) -> None:
    """Where the storage is configured to need no credentials, that others need none is no failure."""
    config, name = bucket
    assert radosgw_server.request("PUT", f"/{name}", query="acl=", headers={"x-amz-acl": "public-read"}).status == 200
    body = json.dumps({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"],
    }]}).encode()  # fmt: skip
    assert radosgw_server.request("PUT", f"/{name}", query="policy=", body=body).status in (200, 204)
    reader = config_of(replace(config.storages["a"], anonymous=True), home=Path(config.environ["HOME"]))
    done = hoist.audit("a", sample="whole", config=reader)
    assert {item.severity for item in done.findings} == {"note"}, told(done)
    assert done.clean
    assert done.storages[0].read_bytes == 1000


def test_a_registry_without_a_login(docker_registry: DockerRegistry, tmp_path: Path) -> None:
    storage = StorageConfig("a", f"oci://{docker_registry.host}/audit-{uuid4().hex[:8]}")
    config = config_of(storage, home=tmp_path)
    published(config, tmp_path, "a//m/one:v1", files=SMALL)
    assert [(item.severity, "may push" in item.detail) for item in check(config)] == [("error", False), ("error", True)]
    # That others need no login either is no failure where none is configured; that they may push is.
    public = config_of(replace(storage, anonymous=True), home=tmp_path)
    assert [(item.severity, "may push" in item.detail) for item in check(public)] == [("note", False), ("error", True)]


def test_a_registry_with_a_login(tmp_path: Path) -> None:
    from base64 import b64encode

    require(DockerRegistry)
    with DockerRegistry(login=True) as server:
        auth = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {server.host: {"auth": auth}}}))
        storage = StorageConfig("a", f"oci://{server.host}/models")
        config = config_of(storage, home=tmp_path, DOCKER_CONFIG=str(tmp_path))
        published(config, tmp_path, "a//m/one:v1", files=SMALL)
        assert check(config) == []


def test_an_nfs_share(ganesha: GaneshaServer, tmp_path: Path) -> None:
    for mode, wrong in ((0o755, 0), (0o777, 1)):
        root = ganesha.data_folder / f"audit-{uuid4().hex}"
        root.mkdir()
        root.chmod(mode)
        config = config_of(StorageConfig("a", f"{ganesha.url}/{root.name}"), home=tmp_path)
        published(config, tmp_path, "a//m/one:v1", files=SMALL)
        found = check(config)
        assert len(found) == wrong
        assert all("everybody who may mount it may write it (drwxrwxrwx)" in item.detail for item in found)
