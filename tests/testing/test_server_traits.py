"""Each trait that a server states, probed on the server itself."""

from __future__ import annotations

import base64
import re
import threading
import zlib
from datetime import timedelta
from urllib.parse import urlsplit

import obstore

from hoist.testing.servers import Answer, S3Server


def presigned(server: S3Server, bucket: str, key: str) -> tuple[str, str]:
    """The path and the query of a presigned GET."""
    url = urlsplit(obstore.sign(server.open_store(bucket), "GET", key, timedelta(minutes=5)))
    return url.path, url.query


def put(server: S3Server, path: str, body: bytes, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.request("PUT", path, headers=named, body=body)


def test_ranges(s3_server: S3Server, bucket: str) -> None:
    put(s3_server, f"/{bucket}/key", b"0123456789")
    path, query = presigned(s3_server, bucket, "key")
    answer = s3_server.request("GET", path, query=query, headers={"Range": "bytes=2-4"}, signed=False)
    assert answer.body == b"234"
    assert answer.headers["content-range"] == "bytes 2-4/10"
    assert answer.status == (206 if s3_server.traits.ranges_with_206 else 200)


def test_if_none_match(s3_server: S3Server, bucket: str) -> None:
    assert put(s3_server, f"/{bucket}/key", b"first", If_None_Match="*").status == 200
    second = put(s3_server, f"/{bucket}/key", b"second", If_None_Match="*")
    honoured = s3_server.traits.honours_if_none_match
    assert second.status == (412 if honoured else 200)
    now = s3_server.request("GET", f"/{bucket}/key").body
    assert now == (b"first" if honoured else b"second")


def race(server: S3Server, path: str, **headers: str) -> list[int]:
    """The statuses of eight PUTs at once."""
    statuses: list[int] = []
    gate = threading.Barrier(8)

    def write(number: int) -> None:
        gate.wait()
        statuses.append(put(server, path, b"%d" % number, **headers).status)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def test_one_of_racing_creators_wins(s3_server: S3Server, bucket: str) -> None:
    statuses = race(s3_server, f"/{bucket}/raced", If_None_Match="*")
    assert (statuses.count(200) == 1) == s3_server.traits.honours_if_none_match, statuses


def test_if_match(s3_server: S3Server, bucket: str) -> None:
    traits = s3_server.traits
    etag = put(s3_server, f"/{bucket}/key", b"first").headers["etag"]
    bare = etag.strip('"')
    quoted = put(s3_server, f"/{bucket}/key", b"first", If_Match=etag).status
    assert (quoted == 200) == (traits.if_match_takes_quotes or not traits.honours_if_match)
    assert put(s3_server, f"/{bucket}/key", b"second", If_Match=bare).status == 200
    stale = put(s3_server, f"/{bucket}/key", b"third", If_Match=bare)
    absent = put(s3_server, f"/{bucket}/absent", b"x", If_Match=bare)
    if traits.honours_if_match:
        assert stale.status == 412
        assert absent.status in (404, 412)
    else:
        assert (stale.status, absent.status) == (200, 200)


def test_one_of_racing_writers_wins(s3_server: S3Server, bucket: str) -> None:
    etag = put(s3_server, f"/{bucket}/raced", b"before").headers["etag"].strip('"')
    statuses = race(s3_server, f"/{bucket}/raced", If_Match=etag)
    assert (statuses.count(200) == 1) == s3_server.traits.honours_if_match, statuses


def test_signatures(s3_server: S3Server, bucket: str) -> None:
    put(s3_server, f"/{bucket}/key", b"body")
    path, query = presigned(s3_server, bucket, "key")
    assert s3_server.request("GET", path, query=query, signed=False).status == 200

    tampered = re.sub(r"(X-Amz-Signature=)(.)", lambda m: m[1] + ("0" if m[2] != "0" else "1"), query)
    assert tampered != query
    expected = 403 if s3_server.traits.checks_signatures else 200
    assert s3_server.request("GET", path, query=tampered, signed=False).status == expected


def test_anonymous_requests(s3_server: S3Server, bucket: str) -> None:
    put(s3_server, f"/{bucket}/key", b"body")
    status = s3_server.request("GET", f"/{bucket}/key", signed=False).status
    assert status in ((400, 403) if s3_server.traits.refuses_anonymous else (200,))


def test_wrong_checksums(s3_server: S3Server, bucket: str) -> None:
    wrong = base64.b64encode(zlib.crc32(b"other").to_bytes(4, "big")).decode()
    status = put(s3_server, f"/{bucket}/key", b"body", x_amz_checksum_crc32=wrong).status
    assert status == (400 if s3_server.traits.checks_checksums else 200)


def test_versioning(s3_server: S3Server, bucket: str) -> None:
    enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    s3_server.request("PUT", f"/{bucket}", query="versioning=", body=enabled)
    first = put(s3_server, f"/{bucket}/key", b"first").headers.get("x-amz-version-id")
    put(s3_server, f"/{bucket}/key", b"second")
    assert (first is not None) == s3_server.traits.keeps_versions
    if first is not None:
        old = s3_server.request("GET", f"/{bucket}/key", query=f"versionId={first}")
        assert old.body == b"first"
