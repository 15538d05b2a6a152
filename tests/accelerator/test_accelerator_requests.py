"""What clients send to be served what is not theirs, or to leave in the cache what others shall get."""

from __future__ import annotations

import obstore
import pytest
from accelerator_fixtures import MIB, Accelerate, Bucket

pytest_plugins = ["accelerator_fixtures"]
KEY = "in/a/weights.bin"


def status_of(answer: bytes) -> int:
    return int(answer.split()[1])


def test_only_reads_below_the_prefix_of_one_host(rgw_bucket: Bucket, accelerate: Accelerate) -> None:
    data, secret = rgw_bucket.put(KEY, MIB), rgw_bucket.put("out/secret.bin", MIB)
    running = accelerate(f"{rgw_bucket.base}/in")
    url = rgw_bucket.sign(KEY)
    outside = rgw_bucket.sign("out/secret.bin")
    assert running.ask(url, "0-9") == (206, data[:10])
    # Signed by the owner, and yet not this accelerator's to serve.
    assert running.ask(outside, "0-9")[0] == 403
    assert running.ask(rgw_bucket.base, "0-9")[0] == 403
    assert running.ask(f"{rgw_bucket.server.endpoint}/hoist-check", "0-9")[0] in (403, 404)
    for method in ("PUT", "POST", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "CONNECTED"):
        assert running.ask(url, None, method)[0] == 405, method
    for host in ("example.com", "127.0.0.1", "127.0.0.1:1", f"{rgw_bucket.server.endpoint[7:]}.example.com", ""):
        assert running.ask(url, "0-9", Host=host)[0] in (400, 403), host
    assert secret[:10] not in running.ask(outside)[1]


def test_paths_that_can_be_read_in_two_ways(rgw_bucket: Bucket, accelerate: Accelerate) -> None:
    rgw_bucket.put(KEY, MIB)
    rgw_bucket.put("out/secret.bin", MIB)
    running = accelerate(f"{rgw_bucket.base}/in")
    base, query = f"/{rgw_bucket.name}/in", rgw_bucket.sign("out/secret.bin").partition("?")[2]
    host = rgw_bucket.server.endpoint.removeprefix("http://")
    for path in (
        f"{base}/../out/secret.bin",
        f"{base}/a/../../out/secret.bin",
        f"{base}/%2e%2e/out/secret.bin",
        f"{base}/.%2E/out/secret.bin",
        f"{base}/..%2fout/secret.bin",
        f"{base}/..%5cout/secret.bin",
        f"{base}/..\\out\\secret.bin",
        f"{base}//../out/secret.bin",
        f"{base}/./a/weights.bin",
        f"{base}//a/weights.bin",
        f"//{rgw_bucket.name}/in/a/weights.bin",
        f"/{rgw_bucket.name}/out/../in/a/weights.bin",
        f"/{rgw_bucket.name}/out/secret.bin?/in/",
        f"/{rgw_bucket.name}%2fin/a/weights.bin",
        f"/{rgw_bucket.name}/i%6e/a/weights.bin",
        f"{base}/a/weights.bin%00",
        f"{base}/a/weights.bin#",
        f"{base}/a/weights.bin/..",
    ):
        query_after = "&" if "?" in path else "?"
        answer = running.raw(f"GET {path}{query_after}{query} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
        assert status_of(answer) in (400, 403), (path, answer[:200])


def test_requests_that_name_another_host(rgw_bucket: Bucket, accelerate: Accelerate) -> None:
    data = rgw_bucket.put(KEY, MIB)
    running = accelerate(f"{rgw_bucket.base}/in")
    parts = rgw_bucket.sign(KEY).partition("://")[2]
    host, _, target = parts.partition("/")
    close = "Range: bytes=0-9\r\nConnection: close\r\n\r\n"
    assert status_of(running.raw(f"GET http://{host}/{target} HTTP/1.1\r\nHost: {host}\r\n{close}")) == 206
    for text in (
        f"GET http://example.com/{target} HTTP/1.1\r\nHost: {host}\r\n{close}",
        f"GET http://{host}/{target} HTTP/1.1\r\nHost: example.com\r\n{close}",
        f"GET http://{host}@example.com/{target} HTTP/1.1\r\nHost: {host}\r\n{close}",
        f"GET /{target} HTTP/1.1\r\nHost: {host}\r\nHost: example.com\r\n{close}",
        f"GET /{target} HTTP/1.1\r\nHost: example.com\r\nHost: {host}\r\n{close}",
        f"GET /{target} HTTP/1.1\r\nHost: example.com\r\nX-Forwarded-Host: {host}\r\n{close}",
        f"GET /{target} HTTP/1.0\r\n{close}",
        f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{close}",
    ):
        answer = running.raw(text)
        assert status_of(answer) in (400, 403, 405), (text, answer[:200])
        assert data[:10] not in answer


@pytest.mark.parametrize(
    "query",
    [
        "versionId=x",
        "partNumber=1",
        "response-content-type=text/html",
        "acl",
        "uploads",
        "tagging",
        "list-type=2",
        "a=1",
    ],
)
def test_queries_that_change_what_a_path_means(rgw_bucket: Bucket, accelerate: Accelerate, query: str) -> None:
    rgw_bucket.put(KEY, MIB)
    running = accelerate(rgw_bucket.base)
    url = rgw_bucket.sign(KEY)
    assert running.ask(f"{url}&{query}", "0-9")[0] == 403
    assert running.ask(f"{url.partition('?')[0]}?{query}", "0-9")[0] == 403


def test_what_one_key_brings_is_never_served_for_another(rgw_bucket: Bucket, accelerate: Accelerate) -> None:
    keys = ["a/b", "a/b%41", "a/bA", "a/b c", "a/b+c", "a/汉字"]
    content = {key: rgw_bucket.put(key, 1000) for key in keys}
    running = accelerate(rgw_bucket.base)
    for _ in range(2):
        for key, data in content.items():
            assert running.ask(rgw_bucket.sign(key)) == (200, data), key


def test_headers_that_would_spoil_the_cache_for_others(rgw_bucket: Bucket, accelerate: Accelerate) -> None:
    data = rgw_bucket.put(KEY, MIB)
    running = accelerate(rgw_bucket.base)
    url = rgw_bucket.sign(KEY)
    spoil = {
        "If_None_Match": "*",
        "If_Modified_Since": "Wed, 25 Nov 2099 00:00:00 GMT",
        "If_Range": '"x"',
        "Accept_Encoding": "gzip",
        "X_HTTP_Method_Override": "DELETE",
        "X_Accel_Redirect": "/hoist-check",
        "X_Original_URL": "/other",
        "x_amz_server_side_encryption_customer_algorithm": "AES256",
    }
    assert running.ask(url, None, "HEAD") == (200, b"")
    running.ask(url, "100-199", **spoil)
    for span in ("-10", "0-9,20-29", "5-1", "bytes=0-1", "1048570-9999999", "0-"):
        running.ask(url, span)
    host = url.split("/")[2]
    twice = f"GET {url.partition(host)[2]} HTTP/1.1\r\nHost: {host}\r\nRange: bytes=7-9\r\nRange: bytes=0-0\r\n"
    running.raw(f"{twice}Connection: close\r\n\r\n")
    assert running.ask(url) == (200, data)
    assert running.ask(url, "0-9") == (206, data[:10])


def test_an_object_that_was_published_anew(rgw_bucket: Bucket, accelerate: Accelerate) -> None:
    old = rgw_bucket.put(KEY, 9 * MIB)
    running = accelerate(rgw_bucket.base, check_seconds=0)
    url = rgw_bucket.sign(KEY)
    assert running.ask(url) == (200, old)
    new = rgw_bucket.put(KEY, 9 * MIB)
    assert running.ask(url) == (200, new)
    obstore.delete(rgw_bucket.server.open_store(rgw_bucket.name), KEY)
    assert running.ask(url)[0] == 404


def test_an_answer_of_another_object_is_not_kept(rgw_bucket: Bucket, accelerate: Accelerate) -> None:
    """The check is remembered, and the object changes: what comes then must not be kept as the old one's."""
    old = rgw_bucket.put(KEY, 17 * MIB)
    running = accelerate(rgw_bucket.base, check_seconds=3600)
    url = rgw_bucket.sign(KEY)
    assert running.ask(url, "0-9") == (206, old[:10])
    new = rgw_bucket.put(KEY, 17 * MIB)
    assert running.ask(url, "9000000-9000009") == (206, new[9000000:9000010])
    held = [path.read_bytes() for path in (running.accelerator.settings.cache / "slices").rglob("*") if path.is_file()]
    assert len(held) == 1 and new[9000000:9000010] not in held[0]
