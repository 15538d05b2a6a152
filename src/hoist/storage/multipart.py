"""Uploads in parts, as S3 and its kin have them: nothing of one is seen before it is completed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from html import unescape
from threading import Lock
from urllib.parse import quote
from xml.sax.saxutils import escape

from hoist.errors import FileNotFound, HoistError, StorageUnavailable
from hoist.storage.answers import code_of, refusal
from hoist.storage.presign import Presigner
from hoist.storage.staging import Body
from hoist.storage.wire import Answer, Wire

SMALLEST_PART = 5 << 20
MOST_PARTS = 10_000
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class SentPart:
    """A part that a server has: its size in bytes, its ETag, and when it came (seconds since the epoch)."""

    size: int
    etag: str
    modified: float


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """An upload that nobody has completed: its key, id, and when it was begun (seconds since the epoch)."""

    key: str
    upload: str
    began: float


class Multipart:
    """The requests of uploads to one bucket. Raises FileNotFound for an upload that is gone, and what `refusal` gives."""

    def __init__(self, signer: Presigner, wire: Wire, address: str) -> None:
        self._signer = signer
        self._wire = wire
        self._address = address
        # Whether this store makes parts of other objects: one that has refused is not asked again.
        self.copies = True
        self.place = f"{signer.base}/{signer.prefix}"
        self._echo = Echo() if signer.base.startswith("http:") else None

    def begin(self, key: str) -> str:
        """Open an upload; its id."""
        answer = self._ask("POST", key, {"uploads": ""})
        return _text(answer.body, "UploadId")

    def put(self, key: str, upload: str, number: int, body: Body, size: int) -> str:
        """Send one part; its ETag."""
        query = {"partNumber": str(number), "uploadId": upload}
        if self._echo is None:
            return self._ask("PUT", key, query, body=body, size=size).headers.get("etag", "")
        whole = hashlib.md5(usedforsecurity=False)
        heard = self._ask("PUT", key, query, body=lambda: _noting(body, whole), size=size).headers.get("etag", "")
        self._echo.check(heard, whole.hexdigest(), f"{self._address} at {key!r}")
        return heard

    def copy(self, key: str, upload: str, number: int, source: str, begin: int, end: int) -> str:
        """Make one part of the half-open range of another object of this storage; its ETag."""
        held = f"/{self._signer.bucket}/{self._signer.prefix}{source}"
        headers = {
            "x-amz-copy-source": quote(held, safe="/~"),
            "x-amz-copy-source-range": f"bytes={begin}-{end - 1}",
        }
        answer = self._ask("PUT", key, {"partNumber": str(number), "uploadId": upload}, headers=headers)
        return _text(answer.body, "ETag")

    def parts(self, key: str, upload: str) -> dict[int, SentPart]:
        """The parts that the server has, by their numbers."""
        found: dict[int, SentPart] = {}
        marker = "0"
        while True:
            answer = self._ask("GET", key, {"uploadId": upload, "part-number-marker": marker})
            for item in _items(answer.body, "Part"):
                part = SentPart(int(_text(item, "Size")), _text(item, "ETag"), _time(_text(item, "LastModified")))
                found[int(_text(item, "PartNumber"))] = part
            following = _text(answer.body, "NextPartNumberMarker", "")
            if _text(answer.body, "IsTruncated", "false") != "true" or following in ("", marker):
                return found
            marker = following

    def complete(self, key: str, upload: str, etags: Mapping[int, str]) -> None:
        """Make the object of its parts."""
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
            for number, etag in sorted(etags.items())
        )
        document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        self._ask("POST", key, {"uploadId": upload}, body=lambda: iter([memoryview(document)]), size=len(document))

    def abort(self, key: str, upload: str) -> None:
        """Give an upload up; one that is gone is no error."""
        with suppress(FileNotFound):
            self._ask("DELETE", key, {"uploadId": upload})

    def open_uploads(self) -> Iterator[OpenUpload]:
        """Every upload below the storage's prefix that nobody has completed."""
        # Not asked for coded keys: radosgw codes them then without saying so, and ours are all fit for XML.
        query = {"uploads": "", "prefix": self._signer.prefix}
        after: dict[str, str] = {}
        while True:
            answer = self._ask("GET", None, query | after)
            for item in _items(answer.body, "Upload"):
                key = _text(item, "Key")
                if key.startswith(self._signer.prefix):
                    key = key.removeprefix(self._signer.prefix)
                    yield OpenUpload(key, _text(item, "UploadId"), _time(_text(item, "Initiated")))
            markers = {name: _text(answer.body, f"Next{name}", "") for name in ("KeyMarker", "UploadIdMarker")}
            following = {"key-marker": markers["KeyMarker"], "upload-id-marker": markers["UploadIdMarker"]}
            if _text(answer.body, "IsTruncated", "false") != "true" or following == after or not any(markers.values()):
                return
            after = following

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    def _ask(
        self,
        method: str,
        key: str | None,
        query: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        size: int = 0,
    ) -> Answer:
        what = f"{self._address} at {key!r}" if key is not None else self._address
        url = self._sign(method, key, query, headers or {}, what)
        answer = self._wire.exchange(method, url, headers or {}, body, size, what)
        if answer.status >= 300:
            raise refusal(answer.status, answer.reason, answer.body[:4096], what, answer.headers.get)
        if code_of(answer.body[:4096]) and b"<Error>" in answer.body[:4096]:
            # A store may begin to answer before it knows how a completion or a copy ends.
            raise StorageUnavailable(f"{what}: the server failed after it had begun ({code_of(answer.body[:4096])})")
        return answer

    def _sign(
        self, method: str, key: str | None, query: Mapping[str, str], headers: Mapping[str, str], what: str
    ) -> str:
        try:
            return self._signer.url(method, key, query, headers)
        except HoistError:
            raise
        except Exception as error:  # noqa: BLE001 a role's keys come from anywhere; what that raises may hold a secret
            raise StorageUnavailable(f"{what}: no credentials to sign with ({type(error).__name__})") from None


class Echo:
    """Over plain HTTP nothing guards what is sent on its way: the ETag of a part, which is its MD5 with most stores, tells
    what arrived. A store of which no ETag ever was one (it encrypts) is believed after a few."""

    _STRANGE = 3

    def __init__(self) -> None:
        self._lock = Lock()
        self._matched = False
        self._strange = 0

    def check(self, etag: str, sent: str, what: str) -> None:
        """Raises StorageUnavailable, so that the part is sent again, if something else has arrived."""
        heard = etag.strip('"')
        with self._lock:
            if heard == sent:
                self._matched = True
                return
            if not _MD5.fullmatch(heard):
                return
            self._strange += 1
            if self._matched or self._strange <= self._STRANGE:
                raise StorageUnavailable(f"{what}: a part of it arrived damaged")


def _noting(body: Body, whole: hashlib._Hash) -> Iterator[memoryview]:
    # A body that has to be sent anew begins anew.
    for view in body():
        whole.update(view)
        yield view


def _items(body: bytes, name: str) -> list[bytes]:
    return re.findall(rf"<{name}>(.*?)</{name}>".encode(), body, re.DOTALL)


def _text(body: bytes, name: str, default: str | None = None) -> str:
    found = re.search(rf"<{name}>([^<]*)</{name}>".encode(), body)
    if found is None:
        if default is None:
            raise StorageUnavailable(f"the server's answer has no {name}")
        return default
    return unescape(found[1].decode(errors="replace"))


def _time(text: str) -> float:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0
