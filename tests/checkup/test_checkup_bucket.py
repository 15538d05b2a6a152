"""The doctor at buckets: real servers, and plain ones that are wrong in one thing."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import pytest
from plain_server import Ranges, plain_server

import hoist
from hoist.checkup.report import Finding, Report
from hoist.config import Config, StorageConfig, load_config
from hoist.testing.servers import NginxServer, S3Server


def environ_of(server: S3Server, **more: str) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    return keys | {"HOIST_ENDPOINT": server.endpoint, "HOIST_REGION": server.region} | more


def check(address: str, environ: Mapping[str, str], **options: bool) -> dict[str, Finding]:
    """The findings about the storage, by name."""
    return about(hoist.doctor(address, config=load_config(environ), **options), address)


def about(report: Report, address: str) -> dict[str, Finding]:
    return {item.name: item for item in report.findings if item.group == f"storage {address}"}


def check_plain(endpoint: str) -> dict[str, Finding]:
    environ = {"HOIST_ENDPOINT": endpoint, "HOIST_ANONYMOUS": "1", "HOIST_REGION": "us-east-1"}
    return check("s3://b", environ)


def keys_in(server: S3Server, bucket: str) -> list[str]:
    return [meta["path"] for page in server.open_store(bucket).list() for meta in page]


def test_a_bucket_that_works(s3_server: S3Server, bucket: str) -> None:
    found = check(f"s3://{bucket}", environ_of(s3_server))
    statuses = {name: finding.status for name, finding in found.items()}
    conditional = statuses.pop("conditional puts")
    assert conditional == ("ok" if s3_server.traits.honours_if_none_match else "warning")
    names = ("endpoint", "TLS", "clock", "credentials", "write", "read", "ranges", "delete")
    assert statuses == dict.fromkeys(names, "ok")
    assert ("206" if s3_server.traits.ranges_with_206 else "Content-Range") in found["ranges"].detail
    assert keys_in(s3_server, bucket) == []


def test_read_only_writes_nothing(s3_server: S3Server, bucket: str) -> None:
    key = ".hoist/versions/m/v1/manifest.json"
    s3_server.request("PUT", f"/{bucket}/{key}", body=b"x" * 5000)
    found = check(f"s3://{bucket}", environ_of(s3_server), read_only=True)
    assert not {"write", "conditional puts", "delete"} & set(found)
    assert found["read"].status == found["ranges"].status == "ok"
    assert keys_in(s3_server, bucket) == [key]


def test_an_empty_bucket_cannot_be_read_on_trial(rclone_server: S3Server) -> None:
    rclone_server.create_bucket("nothing-there")
    assert check("s3://nothing-there", environ_of(rclone_server), read_only=True)["read"].status == "missing"


@pytest.mark.parametrize("s3_server", ["radosgw", "rclone"], indirect=True)
def test_wrong_credentials(s3_server: S3Server, bucket: str) -> None:
    found = check(f"s3://{bucket}", environ_of(s3_server, AWS_SECRET_ACCESS_KEY="not-the-secret-of-this-user"))
    assert found["endpoint"].status == "ok"
    assert found["credentials"].status == "failed"
    assert "AWS_SECRET_ACCESS_KEY" in found["credentials"].mend
    assert "write" not in found


def test_a_bucket_that_is_not_there(radosgw_server: S3Server) -> None:
    found = check("s3://no-such-bucket", environ_of(radosgw_server))
    assert found["bucket"].status == "failed"
    assert "no such bucket" in found["bucket"].detail


def test_an_endpoint_that_nobody_listens_at() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = check_plain(f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert list(found) == ["endpoint"]
    assert found["endpoint"].status == "failed"
    assert "refused" in found["endpoint"].detail


def test_a_server_that_is_silent_does_not_hold_up_the_others() -> None:
    with socket.socket() as silent, plain_server() as endpoint:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        config = Config(
            {
                name: StorageConfig(name, "s3://b", endpoint=at, anonymous=True, region="us-east-1")
                for name, at in (("silent", f"http://127.0.0.1:{silent.getsockname()[1]}"), ("good", endpoint))
            }
        )
        report = hoist.doctor(limit_seconds=1.5, config=config)
    assert [item.status for item in about(report, "silent").values()] == ["failed"]
    assert "not done in time" in about(report, "silent")["time"].detail
    assert about(report, "good")["ranges"].status == "ok"
    assert not report.healthy


@pytest.mark.parametrize(
    ("ahead", "status"), [(0, "ok"), (30, "ok"), (-90, "warning"), (90, "warning"), (1000, "failed"), (-1000, "failed")]
)
def test_the_clock(ahead: float, status: str) -> None:
    with plain_server(ahead=ahead) as endpoint:
        found = check_plain(endpoint)["clock"]
    assert found.status == status
    assert abs(found.figures["skew_seconds"] - ahead) < 5
    if status != "ok":
        assert ("behind" if ahead > 0 else "ahead of") in found.detail


@pytest.mark.parametrize(
    ("ranges", "name", "status"),
    [
        ("206", "ranges", "ok"),
        ("whole", "ranges", "warning"),
        ("wrong", "read", "failed"),
        ("other bytes", "read", "failed"),
    ],
)
def test_ranges(ranges: Ranges, name: str, status: str) -> None:
    with plain_server(ranges=ranges) as endpoint:
        assert check_plain(endpoint)[name].status == status


def test_a_public_bucket_that_cannot_be_listed_is_no_failure(nginx_server: NginxServer) -> None:
    found = check_plain(nginx_server.endpoint)
    assert found["endpoint"].status == "ok"
    assert found["list"].status == "warning"
    assert all(finding.status != "failed" for finding in found.values())
