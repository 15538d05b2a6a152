"""nginx as a bucket that can be listed: what its listings say, page by page, and that it counts what it sends."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import obstore
import pytest
from obstore.store import S3Store

from hoist.testing.servers import NginxBucket
from hoist.testing.servers.listing import list_objects

KEYS = ["a/1.bin", "a/2.bin", "a/b/3.bin", "a.bin", "c & d/ü.txt", ".hidden/x"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxBucket]:
    reason = NginxBucket.unavailable()
    if reason and os.environ.get("HOIST_REQUIRE_SERVERS") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    with NginxBucket(tmp_path_factory.mktemp("www")) as server:
        server.create_bucket("models")
        for key in KEYS:
            path = server.data_folder / "models" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(key)
        yield server


def _store(server: NginxBucket) -> S3Store:
    return S3Store(
        "models",
        endpoint=server.endpoint,
        region=server.region,
        skip_signature=True,
        client_options={"allow_http": True},
    )


def test_a_client_lists_and_reads(server: NginxBucket) -> None:
    store = _store(server)
    assert sorted(item["path"] for page in obstore.list(store) for item in page) == sorted(KEYS)
    found = obstore.list_with_delimiter(store, "a/")
    assert [item["path"] for item in found["objects"]] == ["a/1.bin", "a/2.bin"]
    assert [prefix.rstrip("/") for prefix in found["common_prefixes"]] == ["a/b"]
    for key in KEYS:
        assert obstore.get(store, key).bytes().to_bytes().decode() == key
        assert obstore.head(store, key)["size"] == len(key.encode())


def test_folders_and_absent_keys_are_no_objects(server: NginxBucket) -> None:
    for path in ("/models/a", "/models/none", "/models/a/"):
        assert server.request("HEAD", path).status in (403, 404), path
    assert server.request("GET", "/none", query=urlencode({"list-type": 2})).status == 404


def test_it_counts_what_it_sends(server: NginxBucket) -> None:
    before = server.traffic()
    assert server.request("GET", "/models/a/1.bin").body == b"a/1.bin"
    assert server.request("GET", "/models/a/1.bin", headers={"Range": "bytes=0-2"}).body == b"a/1"
    after = server.traffic()
    assert (after[0] - before[0], after[1] - before[1]) == (2, 10)


@pytest.mark.parametrize("second", [True, False], ids=["version 2", "version 1"])
@pytest.mark.parametrize("delimiter", ["", "/"])
def test_pages_join_to_the_whole(tmp_path: Path, second: bool, delimiter: str) -> None:
    for key in KEYS:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_text(key)
    names: list[str] = []
    query = {"max-keys": "1", "delimiter": delimiter, "encoding-type": "none"} | ({"list-type": "2"} if second else {})
    mark = ""
    for _ in range(len(KEYS) + 1):
        text = list_objects(tmp_path, {**query, "continuation-token" if second else "marker": mark})
        names += re.findall(r"<Key>(.*?)</Key>", text) + re.findall(r"<CommonPrefixes><Prefix>(.*?)</Prefix>", text)
        following = re.search(r"<Next(?:ContinuationToken|Marker)>(.*?)</Next", text)
        if not following:
            break
        mark = following[1].replace("&amp;", "&")
    if delimiter:
        assert names == [".hidden/", "a.bin", "a/", "c &amp; d/"]
    else:
        assert names == [".hidden/x", "a.bin", "a/1.bin", "a/2.bin", "a/b/3.bin", "c &amp; d/ü.txt"]


def test_a_prefix_need_not_end_with_a_folder(tmp_path: Path) -> None:
    for key in KEYS:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_text(key)
    assert re.findall(r"<Key>(.*?)</Key>", list_objects(tmp_path, {"prefix": "a/b"})) == ["a/b/3.bin"]
    assert re.findall(r"<Key>(.*?)</Key>", list_objects(tmp_path, {"prefix": "a."})) == ["a.bin"]
    assert "<Key>" not in list_objects(tmp_path, {"prefix": "none/"})
