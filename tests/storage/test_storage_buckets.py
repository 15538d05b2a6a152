"""Buckets on real servers: swapping, schemes, anonymous reading, and the same plain files for every tool."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from conftest import require
from hoist.config import StorageConfig
from hoist.errors import FileNotFound, InvalidConfig, LocalError, VersionNotFound
from hoist.model.reference import parse_reference
from hoist.progress import Progress
from hoist.storage import layout, open_storage
from hoist.storage.base import Storage, StoredFile
from hoist.storage.bucket import BucketObjects
from hoist.storage.tree import TreeStorage
from hoist.testing.conformance.base import Content, assert_holds, publish, ref, sample, source_of, ver
from hoist.testing.servers import NginxServer, RadosgwServer, RcloneServer, S3Server
from hoist.testing.servers.rclone import _binary as rclone_binary
from hoist.transfer.publish import Options, publish_version
from storage_fixtures import BUCKET, OpenOn

pytest_plugins = ["storage_fixtures"]
SERVERS = ("radosgw_server", "moto_server", "rclone_server")
ODD = Content({"a b/#1%20+&?.bin": sample("odd", 5000), "汉字.txt": b"text", "config.json": b"{}"})


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> S3Server:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, S3Server)
    return found


def objects_of(storage: Storage) -> BucketObjects:
    assert isinstance(storage, TreeStorage)
    assert isinstance(storage.objects, BucketObjects)
    return storage.objects


def test_create_and_swap(server: S3Server, open_on: OpenOn) -> None:
    objects = objects_of(open_on(server))
    assert not objects.swap("key", b"0", '"0123456789abcdef0123456789abcdef"')
    assert objects.create("key", b"1")
    assert not objects.create("key", b"2")
    assert not objects.swap("key", b"2", None)
    first = objects.get("key")
    assert first.data == b"1"
    assert objects.swap("key", b"2", first.stamp)
    # The stamp is spent: who holds it has seen an older state.
    assert not objects.swap("key", b"3", first.stamp)
    second = objects.get("key")
    assert second.data == b"2"
    assert objects.swap("key", b"3", second.stamp)
    objects.delete(["key", "never-there"])
    assert not objects.swap("key", b"4", second.stamp)
    with pytest.raises(FileNotFound):
        objects.get("key")
    objects.delete(["key"])


@pytest.mark.parametrize("server", SERVERS[:2], indirect=True)
def test_swap_is_conditional_on_the_store_not_on_a_look_before(server: S3Server, open_on: OpenOn) -> None:
    """radosgw compares If-Match with the bare tag: the swap must find the form that its store takes."""
    objects = objects_of(open_on(server))
    objects.put("key", b"1")
    stamp = objects.get("key").stamp
    assert stamp is not None
    assert objects._put_if_match("key", b"2", stamp) is server.traits.if_match_takes_quotes
    objects.put("key", b"other")
    for form in (stamp, stamp.strip('"')):
        assert not objects._put_if_match("key", b"3", form)
    assert objects.get("key").data == b"other"


def test_exclusive_is_found_out_and_leaves_nothing(server: S3Server, open_on: OpenOn) -> None:
    storage = open_on(server)
    assert storage.exclusive() is server.traits.honours_if_none_match
    assert list(objects_of(storage).list("")) == []


def test_delete_of_many(server: S3Server, open_on: OpenOn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoist.storage.bucket._DELETE_AT_ONCE", 3)
    objects = objects_of(open_on(server))
    keys = [f"folder/key & <{number}>" for number in range(8)]
    for key in keys:
        objects.put(key, b"x")
    assert [info.key for info in objects.list("folder/")] == keys
    objects.delete([*keys[:4], "folder/never", *keys[4:]])
    assert list(objects.list("folder/")) == []


def test_large_file_goes_in_parts(server: S3Server, open_on: OpenOn, tmp_path: Path) -> None:
    objects = objects_of(open_on(server))
    data = sample("parts", (33 << 20) + 1)
    objects.put_file("large", source_of(data, tmp_path), len(data), lambda count: None)
    got = bytearray(len(data))
    objects.read_into("large", 0, memoryview(got))
    assert got == data
    assert objects.copy("large", "copy")
    objects.read_into("copy", 0, memoryview(got))
    assert got == data
    with pytest.raises(LocalError, match="changed"):
        objects.put_file("large", source_of(data[:-1], tmp_path), len(data), lambda count: None)
    with pytest.raises(FileNotFound):
        objects.head("large")
    assert not objects.copy("large", "copy-of-nothing")


def test_signed_url_that_ended_is_signed_again(radosgw_server: RadosgwServer, open_on: OpenOn) -> None:
    objects = objects_of(open_on(radosgw_server))
    objects.put("key", b"data")
    url = objects.url("key")
    assert objects.url("key") == url
    until = objects._signed["key"][1]
    objects._signed["key"] = (url.replace("X-Amz-Signature=", "X-Amz-Signature=0"), until)
    got = bytearray(4)
    objects.read_into("key", 0, memoryview(got))
    assert got == b"data"
    objects._signed["key"] = ("http://127.0.0.1:9/never", 0.0)
    objects.read_into("key", 0, memoryview(got))


def test_two_prefixes_of_one_bucket(server: S3Server, open_on: OpenOn, tmp_path: Path) -> None:
    prefix = uuid4().hex
    outer, other = (open_on(server, url=f"s3://{BUCKET}/{prefix}{tail}") for tail in ("", "-2"))
    deep = open_on(server, url=f"s3://{BUCKET}/{prefix}-3/with space/")
    for storage in (outer, other, deep):
        assert list(storage.versions()) == []
        publish(storage, "a:v1", ODD, tmp_path)
        assert_holds(storage, "a:v1", ODD)
        assert list(storage.versions()) == [ver("a:v1")]


def test_oss_scheme_with_an_endpoint(server: S3Server, tmp_path: Path) -> None:
    server.create_bucket(BUCKET)
    environ = {"OSS_ACCESS_KEY_ID": server.access_key, "OSS_ACCESS_KEY_SECRET": server.secret_key}
    environ |= {"OSS_ENDPOINT": server.endpoint, "HOME": str(tmp_path)}
    url = f"oss://{BUCKET}/{uuid4().hex}"
    with open_storage(StorageConfig("oss", url, region=server.region), environ) as storage:
        publish(storage, "a:v1", ODD, tmp_path)
        assert_holds(storage, "a:v1", ODD)
        assert storage.kind == "oss"
    # The configuration's own endpoint wins.
    config = StorageConfig("oss", url, endpoint=server.endpoint, region=server.region)
    with open_storage(config, environ | {"OSS_ENDPOINT": "http://127.0.0.1:9"}) as storage:
        assert list(storage.versions()) == [ver("a:v1")]


def test_bucket_in_the_host_name(radosgw_server: RadosgwServer, tmp_path: Path) -> None:
    """Alibaba's endpoints want `BUCKET.HOST`; what is asked for can be seen without them."""
    for endpoint in ("oss-cn-hangzhou.aliyuncs.com", "https://s3.oss-cn-hangzhou.aliyuncs.com", None):
        config = StorageConfig(
            "oss", "oss://models/p", endpoint=endpoint, region=None if endpoint else "oss-cn-hangzhou", anonymous=True
        )
        with open_storage(config, {"HOME": str(tmp_path)}) as storage:
            assert objects_of(storage).url("a b") == "https://models.s3.oss-cn-hangzhou.aliyuncs.com/p/a%20b"
        signed = StorageConfig("oss", "oss://models/p", endpoint=endpoint, region=config.region)
        keys = {"OSS_ACCESS_KEY_ID": "id", "OSS_ACCESS_KEY_SECRET": "s3cret", "HOME": str(tmp_path)}
        with open_storage(signed, keys) as storage:
            url = objects_of(storage).url("key")
        assert url.startswith("https://models.s3.oss-cn-hangzhou.aliyuncs.com/p/key?")
        assert "cn-hangzhou%2Fs3%2Faws4_request" in url
        assert "s3cret" not in url


def test_urls_that_mean_nothing(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    for url in (
        "s3://",
        "s3:///prefix",
        "s3://b/p?region=x",
        "s3://key:secret@b/p",
        "ftp://h/p",
        "oss://b/p",
        "az://c",
    ):
        with pytest.raises(InvalidConfig) as caught:
            open_storage(StorageConfig("x", url), environ)
        assert "secret@" not in str(caught.value)
    with pytest.raises(InvalidConfig, match="ca_bundle"):
        open_storage(StorageConfig("x", "s3://b", ca_bundle=str(tmp_path / "none.pem")), environ)
    (tmp_path / "bad.pem").write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    with pytest.raises(InvalidConfig):
        open_storage(StorageConfig("x", "s3://b", ca_bundle=str(tmp_path / "bad.pem")), environ)


def test_anonymous_bucket(nginx_server: NginxServer, tmp_path: Path) -> None:
    bucket = f"public-{uuid4().hex[:8]}"
    nginx_server.create_bucket(bucket)
    root = nginx_server.data_folder / bucket / "a prefix"
    root.mkdir()
    publish(open_storage(StorageConfig("nas", str(root)), {}), "sd15/any:v1", ODD, tmp_path)
    config = StorageConfig("public", f"s3://{bucket}/a prefix", endpoint=nginx_server.endpoint, anonymous=True)
    with open_storage(config, {"HOME": str(tmp_path)}) as storage:
        assert_holds(storage, "sd15/any:v1", ODD)
        with pytest.raises(FileNotFound):
            storage.read_into(StoredFile(ver("sd15/any:v2"), ODD.entries["config.json"]), 0, memoryview(bytearray(1)))
        # It cannot be listed, so there is no nearest name to tell; that is no reason to say something else.
        with pytest.raises(VersionNotFound, match="sd15/any:v2"):
            storage.resolve(ref("sd15/any:v2"))


def test_same_files_have_the_same_digest_everywhere(server: S3Server, open_on: OpenOn, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for path, data in ODD.files.items():
        if "?" not in path:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
    (folder / "large.safetensors.bin").write_bytes(sample("large", 9 << 20))
    (tmp_path / "nas").mkdir()
    storages = (open_storage(StorageConfig("nas", str(tmp_path / "nas")), {}), open_on(server))
    digests = set()
    for storage in storages:
        done = publish_version(folder, storage, parse_reference("sd15/any:v1"), Options(), Progress())
        digests.add(done.digest)
        assert storage.resolve(ref(f"sd15/any@{done.digest}"))[0] == ver("sd15/any:v1")
    assert len(digests) == 1


def test_plain_files_for_rclone(radosgw_server: RadosgwServer, open_on: OpenOn, tmp_path: Path) -> None:
    require(RcloneServer)
    binary = rclone_binary()
    assert binary is not None
    storage = open_on(radosgw_server)
    publish(storage, "sd15/any:v1", ODD, tmp_path)
    environ = {
        "PATH": os.defpath,
        "HOME": str(tmp_path),
        "RCLONE_CONFIG": "",
        "RCLONE_CONFIG_RGW_TYPE": "s3",
        "RCLONE_CONFIG_RGW_PROVIDER": "Ceph",
        "RCLONE_CONFIG_RGW_ENDPOINT": radosgw_server.endpoint,
        "RCLONE_CONFIG_RGW_ACCESS_KEY_ID": radosgw_server.access_key,
        "RCLONE_CONFIG_RGW_SECRET_ACCESS_KEY": radosgw_server.secret_key,
    }
    remote = f"rgw:{BUCKET}/{objects_of(storage).store.prefix}/{layout.file_key(ver('sd15/any:v1'), '')}"

    def rclone(*arguments: str) -> bytes:
        return subprocess.run([binary, *arguments], env=environ, capture_output=True, check=True, timeout=60).stdout

    lines = rclone("ls", remote).decode().splitlines()
    found = {path: int(size) for size, path in (line.strip().split(" ", 1) for line in lines)}
    assert found == {path: len(data) for path, data in ODD.files.items()}
    for path, data in ODD.files.items():
        assert rclone("cat", remote + path) == data
