"""Nothing is served, cached or not, that the origin does not grant to this very request."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import obstore
import pytest
from accelerator_fixtures import HOUR, MIB, Accelerate, Bucket
from obstore.store import S3Store

from hoist.testing.servers import RadosgwServer
from hoist.testing.servers.base import find_program

pytest_plugins = ["accelerator_fixtures"]
KEY = "models/a/weights.bin"


class User:
    """A second user of radosgw, made and unmade by its own tool."""

    def __init__(self, server: RadosgwServer) -> None:
        self.server = server
        self.name, self.key, self.secret = f"user-{uuid4().hex[:8]}", uuid4().hex[:20], uuid4().hex
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in server.pids]
        self._configuration = next(c[c.index(b"-c") + 1].decode() for c in commands if c[0].endswith(b"/radosgw"))
        self.admin("create", "--display-name=x", f"--access-key={self.key}", f"--secret-key={self.secret}")

    def admin(self, verb: str, *more: str) -> None:
        program = find_program("radosgw-admin")
        assert program
        command = [program, "-c", self._configuration, "user", verb, f"--uid={self.name}", *more]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def store(self, bucket: str) -> S3Store:
        return S3Store(
            bucket,
            endpoint=self.server.endpoint,
            region=self.server.region,
            access_key_id=self.key,
            secret_access_key=self.secret,
            client_options={"allow_http": True},
        )

    def sign(self, bucket: str, key: str) -> str:
        return obstore.sign(self.store(bucket), "GET", key, HOUR)


@contextmanager
def denied(bucket: Bucket, key: str) -> Iterator[None]:
    """A policy of the bucket that takes the right to read one key from everybody."""
    policy = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", '
        f'"Resource": "arn:aws:s3:::{bucket.name}/{key}"}}]}}'
    )
    answer = bucket.server.request("PUT", f"/{bucket.name}", query="policy=", body=policy.encode())
    assert answer.status in (200, 204), answer.body
    try:
        yield
    finally:
        bucket.server.request("DELETE", f"/{bucket.name}", query="policy=")


def refused_within(ask: object, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if ask() == 403:  # type: ignore[operator]
            return True
        time.sleep(0.1)
    return False


def test_only_who_may_read_it_gets_it(rgw_bucket: Bucket, accelerate: Accelerate) -> None:
    data = rgw_bucket.put(KEY, 9 * MIB)
    running = accelerate(rgw_bucket.base)
    url = rgw_bucket.sign(KEY)
    assert running.ask(url) == (200, data)
    # It lies in the cache now.
    assert running.ask(url, "8388600-8388700") == (206, data[8388600:8388701])
    unsigned = url.partition("?")[0]
    signature = url.rpartition("X-Amz-Signature=")[2]
    tampered = url.replace(signature, ("0" if signature[0] != "0" else "1") + signature[1:])
    other = rgw_bucket.put("models/b/weights.bin", MIB)
    assert len(other) == MIB
    borrowed = f"{rgw_bucket.sign('models/b/weights.bin').partition('?')[2]}"
    for wrong in (
        unsigned,
        tampered,
        f"{unsigned}?{borrowed}",
        url.replace("X-Amz-Expires=3600", "X-Amz-Expires=7200"),
    ):
        for span in (None, "0-9"):
            status, body = running.ask(wrong, span)
            assert status == 403 and data[:10] not in body, wrong
            assert running.ask(wrong, span, "HEAD") == (403, b"")


def test_an_expired_signature(rgw_bucket: Bucket, accelerate: Accelerate) -> None:
    data = rgw_bucket.put(KEY, MIB)
    running = accelerate(rgw_bucket.base, check_seconds=1)
    url = rgw_bucket.sign(KEY, timedelta(seconds=2))
    assert running.ask(url, "0-9") == (206, data[:10])
    assert refused_within(lambda: running.ask(url, "0-9")[0], 10)
    assert running.ask(rgw_bucket.sign(KEY), "0-9") == (206, data[:10])


def test_a_grant_that_was_taken_away(rgw_bucket: Bucket, accelerate: Accelerate) -> None:
    data = rgw_bucket.put(KEY, MIB)
    running = accelerate(rgw_bucket.base, check_seconds=1)
    url = rgw_bucket.sign(KEY)
    assert running.ask(url, "0-9") == (206, data[:10])
    with denied(rgw_bucket, KEY):
        assert refused_within(lambda: running.ask(url, "0-9")[0], 10)
        assert running.ask(rgw_bucket.sign(KEY), "0-9")[0] == 403


def test_without_memory_each_request_is_checked(rgw_bucket: Bucket, accelerate: Accelerate) -> None:
    data = rgw_bucket.put(KEY, MIB)
    running = accelerate(rgw_bucket.base, check_seconds=0)
    url = rgw_bucket.sign(KEY)
    assert running.ask(url, "0-9") == (206, data[:10])
    with denied(rgw_bucket, KEY):
        assert running.ask(url, "0-9")[0] == 403


def test_other_users(rgw_bucket: Bucket, accelerate: Accelerate) -> None:
    """One with a bucket of its own, whom the owner lets read, and who is suspended then."""
    data = rgw_bucket.put(KEY, MIB)
    running = accelerate(rgw_bucket.base, check_seconds=1)
    assert running.ask(rgw_bucket.sign(KEY), "0-9") == (206, data[:10])
    user = User(rgw_bucket.server)
    assert running.ask(user.sign(rgw_bucket.name, KEY), "0-9")[0] == 403
    policy = (
        f'{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Principal": {{"AWS": '
        f'"arn:aws:iam:::user/{user.name}"}}, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::{rgw_bucket.name}/*"}}]}}'
    )
    rgw_bucket.server.request("PUT", f"/{rgw_bucket.name}", query="policy=", body=policy.encode())
    url = user.sign(rgw_bucket.name, KEY)
    assert running.ask(url, "0-9") == (206, data[:10])
    user.admin("suspend")
    assert refused_within(lambda: running.ask(url, "0-9")[0], 15)
    assert running.ask(rgw_bucket.sign(KEY), "0-9") == (206, data[:10])


def test_signatures_in_headers(rgw_bucket: Bucket, accelerate: Accelerate) -> None:
    from hoist.testing.servers.sigv4 import Signer

    data = rgw_bucket.put(KEY, MIB)
    running = accelerate(rgw_bucket.base)
    server, path = rgw_bucket.server, f"/{rgw_bucket.name}/{KEY}"
    host = server.endpoint.removeprefix("http://")
    headers = Signer(server.access_key, server.secret_key, server.region).headers("GET", host, path, "", {}, b"")
    headers = {name: value for name, value in headers.items() if name.lower() != "host"}
    assert running.ask(f"{server.endpoint}{path}", "0-9", **headers) == (206, data[:10])
    wrong = {name: value[:-4] + "0000" if name.lower() == "authorization" else value for name, value in headers.items()}
    assert running.ask(f"{server.endpoint}{path}", "0-9", **wrong)[0] == 403


def test_what_was_granted_is_in_no_file_that_stays_and_in_no_log(rgw_bucket: Bucket, accelerate: Accelerate) -> None:
    rgw_bucket.put(KEY, MIB)
    running = accelerate(rgw_bucket.base)
    url = rgw_bucket.sign(KEY)
    signature = url.rpartition("X-Amz-Signature=")[2][:64].encode()
    assert running.ask(url, "0-9")[0] == 206
    assert running.ask(rgw_bucket.sign("models/none"), "0-9")[0] == 404
    files = [path for path in running.accelerator.settings.cache.rglob("*") if path.is_file()]
    assert any(path.stat().st_size > MIB for path in files)
    for path in files:
        data = path.read_bytes()
        assert signature not in data and b"X-Amz-" not in data, path
    assert not any("X-Amz-" in line for line in running.said)


@pytest.mark.parametrize("status", [500, 503])
def test_an_origin_that_cannot_answer_grants_nothing(tmp_path: Path, accelerate: Accelerate, status: int) -> None:
    from hoist.testing.servers import FaultServer, FolderOrigin, Rule
    from hoist.testing.servers.fault_kinds import Refusal

    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "key").write_bytes(b"x" * 1000)
    with FaultServer(FolderOrigin(tmp_path)) as origin:
        running = accelerate(f"{origin.endpoint}/bucket", check_seconds=0)
        url = f"{origin.endpoint}/bucket/key"
        assert running.ask(url) == (200, b"x" * 1000)
        origin.plan(Rule(Refusal(status)))
        assert running.ask(url)[0] == (503 if status == 503 else 502)
        with origin.down():
            assert running.ask(url)[0] == 502
        origin.plan()
        assert running.ask(url) == (200, b"x" * 1000)
