"""Uploads in parts: signing with every kind of keys, what servers answer, and names that need quoting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from hoist.errors import (
    FileNotFound,
    HoistError,
    PermissionDenied,
    StorageNotFound,
    StorageUnavailable,
    StorageUnsupported,
)
from hoist.storage.answers import ServerFailed, refusal
from hoist.storage.journal import Journal
from hoist.storage.multipart import Echo, Multipart
from hoist.storage.presign import Presigner, credential_source
from hoist.storage.staging import Held, Part
from hoist.storage.tree import TreeStorage
from hoist.storage.wire import Wire
from hoist.testing.servers import RadosgwServer, S3Server
from storage_fixtures import BUCKET, OpenOn

pytest_plugins = ["storage_fixtures"]
MIB = 1 << 20
ODD = "a b/#1%20+&?=~'汉字.bin"


def body(data: bytes):  # type: ignore[no-untyped-def]
    def slices() -> Iterator[memoryview]:
        for at in range(0, len(data), MIB):
            yield memoryview(data)[at : at + MIB]

    return slices


def uploads(storage: object) -> Multipart:
    assert isinstance(storage, TreeStorage)
    found = storage.objects._uploads()  # type: ignore[attr-defined]
    assert isinstance(found, Multipart)
    return found


@pytest.mark.parametrize("s3_server", ["radosgw", "moto", "rclone"], indirect=True)
def test_the_whole_life_of_an_upload(s3_server: S3Server, open_on: OpenOn) -> None:
    storage = open_on(s3_server)
    multipart = uploads(storage)
    parts = [b"1" * (5 * MIB), b"2" * (6 * MIB), b"3"]
    upload = multipart.begin(ODD)
    etags = {n: multipart.put(ODD, upload, n, body(data), len(data)) for n, data in enumerate(parts, 1)}
    there = multipart.parts(ODD, upload)
    assert {n: part.size for n, part in there.items()} == {n: len(data) for n, data in enumerate(parts, 1)}
    assert all(part.etag.strip('"') == etags[n].strip('"') for n, part in there.items())
    assert [(each.key, each.upload) for each in multipart.open_uploads()] == [(ODD, upload)]
    assert isinstance(storage, TreeStorage)
    with pytest.raises(FileNotFound):
        storage.objects.head(ODD)
    multipart.complete(ODD, upload, etags)
    got = bytearray(sum(map(len, parts)))
    storage.objects.read_into(ODD, 0, memoryview(got))
    assert got == b"".join(parts)
    with pytest.raises(FileNotFound):
        multipart.parts(ODD, upload)
    other = multipart.begin("other")
    multipart.abort("other", other)
    multipart.abort("other", other)


@pytest.mark.parametrize("name", ["a b/#1 +&?=~'汉字.bin", "plain"])
def test_a_range_of_an_object(radosgw_server: RadosgwServer, open_on: OpenOn, name: str) -> None:
    storage = open_on(radosgw_server)
    assert isinstance(storage, TreeStorage)
    data = bytes(range(256)) * (24 << 10)
    storage.objects.put(name, data)
    multipart = uploads(storage)
    upload = multipart.begin("copy")
    etag = multipart.copy("copy", upload, 1, name, 7, 7 + 5 * MIB)
    multipart.complete("copy", upload, {1: etag})
    assert storage.objects.get("copy").data == data[7 : 7 + 5 * MIB]


def test_an_object_that_a_store_would_take_for_another_is_not_copied(
    radosgw_server: RadosgwServer, open_on: OpenOn, tmp_path: Path
) -> None:
    storage = open_on(radosgw_server)
    assert isinstance(storage, TreeStorage)
    for name in ("a%20b", "a b"):
        storage.objects.put(name, name.encode() * (2 * MIB))
    assert not storage.objects.copy("a%20b", "copy")
    staged = storage.objects.stage("m", 6 * MIB, tmp_path / "m", None)
    assert not staged.copy(Part(1, 0, 6 * MIB, b"", Held("a%20b", 0, 10 * MIB)))
    assert staged.copy(Part(1, 0, 6 * MIB, b"", Held("a b", 0, 6 * MIB)))
    staged.discard()


def test_wrong_keys(radosgw_server: RadosgwServer, open_on: OpenOn) -> None:
    multipart = uploads(open_on(radosgw_server, secret="0" * 40))
    with pytest.raises(PermissionDenied, match="check the credentials") as caught:
        multipart.begin("key")
    assert radosgw_server.access_key not in str(caught.value)
    with pytest.raises(PermissionDenied):
        multipart.put("key", "upload", 1, body(bytes(16 * MIB)), 16 * MIB)


def test_nobody_answers() -> None:
    source = credential_source({"access_key_id": "k", "secret_access_key": "hidden"}, chain=False)
    assert source is not None
    multipart = Multipart(Presigner("http://127.0.0.1:9/b", "b", "", "r", source), Wire(), "rgw")
    with pytest.raises(StorageUnavailable, match=r"rgw at 'key': cannot reach 127\.0\.0\.1:9") as caught:
        multipart.begin("key")
    assert "hidden" not in str(caught.value)
    assert "Signature" not in str(caught.value)


def test_keys_of_every_kind() -> None:
    def query(options: dict[str, object]) -> dict[str, list[str]]:
        source = credential_source(options, chain=False)
        assert source is not None
        signer = Presigner("https://b.s3.oss-cn-x.aliyuncs.com", "b", "p", "cn-x", source)
        url = urlsplit(signer.url("PUT", "k", {"partNumber": "1", "uploadId": "u/+="}, {"x-amz-copy-source": "/b/k"}))
        assert url.path == "/p/k"
        return parse_qs(url.query)

    plain = query({"access_key_id": "id", "secret_access_key": "s"})
    assert plain["X-Amz-Credential"][0].startswith("id/")
    assert "/cn-x/s3/aws4_request" in plain["X-Amz-Credential"][0]
    assert plain["uploadId"] == ["u/+="]
    assert plain["X-Amz-SignedHeaders"] == ["host;x-amz-copy-source"]
    assert "X-Amz-Security-Token" not in plain
    session = {"access_key_id": "id", "secret_access_key": "s", "session_token": "t"}
    assert query(dict(session))["X-Amz-Security-Token"] == ["t"]
    role = {"access_key_id": "role", "secret_access_key": "s", "token": "t2", "expires_at": None}
    provided = query({"credential_provider": lambda: role})
    assert (provided["X-Amz-Credential"][0][:5], provided["X-Amz-Security-Token"]) == ("role/", ["t2"])
    assert credential_source({}, chain=False) is None


def test_keys_that_cannot_be_had_are_no_secret() -> None:
    def fail() -> object:
        raise RuntimeError("secret-in-the-text")

    multipart = Multipart(Presigner("http://127.0.0.1:9/b", "b", "", "r", fail), Wire(), "rgw")
    with pytest.raises(StorageUnavailable, match="RuntimeError") as caught:
        multipart.begin("key")
    assert "secret-in" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (404, "NoSuchBucket", StorageNotFound),
        (404, "NoSuchUpload", FileNotFound),
        (403, "SignatureDoesNotMatch", PermissionDenied),
        (400, "RequestTimeout", StorageUnavailable),
        (503, "SlowDown", StorageUnavailable),
        (500, "", ServerFailed),
        (501, "NotImplemented", StorageUnsupported),
        (301, "PermanentRedirect", PermissionDenied),
        (400, "EntityTooSmall", HoistError),
    ],
)
def test_what_a_refusal_means(status: int, code: str, error: type[HoistError]) -> None:
    found = refusal(status, "Reason", f"<Error><Code>{code}</Code></Error>".encode(), "rgw at 'k'")
    assert type(found) is error
    assert str(found).startswith("rgw at 'k'") or "for rgw at 'k'" in str(found)
    assert f"{status} {code or 'Reason'}" in str(found) or error is StorageNotFound


def test_a_journal_of_two_publishers(tmp_path: Path) -> None:
    """The second one of the same file keeps no notes, and takes none for its own."""
    first = Journal(tmp_path, BUCKET, "key", tmp_path / "m")
    first.begin("upload-1")
    first.note(1, "digest", "etag")
    second = Journal(tmp_path, BUCKET, "key", tmp_path / "m")
    assert (second.upload, second.parts) == (None, {})
    second.begin("upload-2")
    second.forget()
    first.close()
    third = Journal(tmp_path, BUCKET, "key", tmp_path / "m")
    assert (third.upload, third.parts) == ("upload-1", {1: ("digest", "etag")})
    third.forget()
    assert not any(tmp_path.iterdir())
    assert Journal(None, BUCKET, "key", tmp_path / "m").upload is None


def test_what_arrived_damaged_is_sent_again() -> None:
    echo = Echo()
    sent, other = "0" * 32, "1" * 32
    echo.check(f'"{sent}"', sent, "a part")
    for _ in range(10):
        with pytest.raises(StorageUnavailable, match="a part: a part of it arrived damaged"):
            echo.check(f'"{other}"', sent, "a part")


def test_etags_that_are_no_digest_are_believed() -> None:
    Echo().check('"a-name"', "0" * 32, "a part")
    encrypting = Echo()
    for _ in range(3):
        with pytest.raises(StorageUnavailable):
            encrypting.check("1" * 32, "0" * 32, "a part")
    encrypting.check("2" * 32, "0" * 32, "a part")
