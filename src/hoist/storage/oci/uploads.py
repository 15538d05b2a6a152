"""One blob on its way into a registry: a session that takes chunks in order, and goes on where it was cut off.

The session's URL is journalled. After a cut, or in the next run, the registry is asked how far it has come; one that
has forgotten the session, or cannot go on with it (docker-registry 2.8 after a cut within a chunk), gets the blob anew.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar
from urllib.parse import quote

from hoist.errors import Damaged, HoistError, StorageUnavailable
from hoist.storage.answers import ServerFailed
from hoist.storage.base import OnBytes
from hoist.storage.journal import Journal
from hoist.storage.oci.auth import delete, push
from hoist.storage.oci.client import Client, errors_of
from hoist.storage.oci.digests import hasher
from hoist.storage.oci.repositories import Chunks
from hoist.storage.oci.source import Source
from hoist.storage.wire import Answer

CHUNK_BYTES = 64 << 20
# Smaller blobs go in one request, and are not worth a journal.
WHOLE_BYTES = 4 << 20
# How often a blob is begun anew, when its session is lost again and again.
_MOST_SESSIONS = 10
_MOST_FAILURES = 3
Result = TypeVar("Result")
_OCTETS = "application/octet-stream"
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,19})")
_DONE = (200, 201, 202, 204)
_GONE = (400, 404, 410, 416)
# What a registry answers to a chunk if it takes none.
_NO_CHUNKS = (400, 405, 411, 413, 415, 416, 501)


class _Lost(Exception):
    """The registry has no such session any more, or cannot go on with it."""


class Upload:
    """Sends one blob; see Repositories.put_blob. `journal` keeps its session for the next run, if `kept`."""

    def __init__(
        self,
        client: Client,
        repository: str,
        digest: str | None,
        size: int,
        chunks: Chunks,
        on_bytes: OnBytes,
        journal: Journal,
        *,
        kept: bool,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self._client, self._repository, self._digest, self._size = client, repository, digest, size
        self._what = f"{client.address}: blob {digest + ' ' if digest else ''}of {repository}"
        self._chunks, self._on_bytes = chunks, on_bytes
        self._journal, self._kept = journal, kept
        self._chunk = chunk_bytes
        # The registry checks what arrives against a digest that is known.
        self._whole = None if digest else hashlib.sha256()
        self._source = Source(chunks, size, self._whole, on_bytes, self._what)
        self._session = journal.upload or ""
        self._offset = 0
        # Whether the registry has to say first how far it has come.
        self._unsure = self._resumed = bool(self._session)
        self._failures = 0
        self._in_one = size <= WHOLE_BYTES

    def run(self) -> str:
        """Send it; its digest. Raises Damaged, and what the source raises."""
        try:
            for _ in range(_MOST_SESSIONS):
                with suppress(_Lost):
                    digest = self._send_in_one() if self._in_one else self._send_chunks()
                    self._journal.forget()
                    return digest
                self._session, self._offset, self._unsure, self._resumed = "", 0, False, False
        except Exception:
            self._give_up()
            raise
        raise StorageUnavailable(f"{self._what}: the registry loses its uploads again and again")

    def _send_chunks(self) -> str:
        if not self._session:
            self._client.patiently(self._begin)
        while self._offset < self._size:
            self._patiently(self._send_chunk)
        return self._finish()

    def _patiently(self, action: Callable[[], Result]) -> Result:
        """As the client's; an earlier run's session at which the registry fails again and again is lost."""

        def attempt() -> Result:
            try:
                return action()
            except ServerFailed:
                self._failures += 1
                if self._resumed and self._failures >= _MOST_FAILURES:
                    raise _Lost from None
                raise

        return self._client.patiently(attempt)

    def _send_in_one(self) -> str:
        self._client.patiently(self._begin)
        self._source.hash_up_to(self._size)
        return self._finish()

    def _begin(self) -> None:
        url = self._client.url(f"/v2/{quote(self._repository)}/blobs/uploads/")
        answer = self._client.once("POST", url, push(self._repository), self._what)
        if answer.status not in _DONE:
            raise self._client.refuse(answer, self._what)
        self._moved(url, answer)
        least = answer.headers.get("oci-chunk-min-length", "")
        if least.isascii() and least.isdigit():
            self._chunk = max(self._chunk, int(least))

    def _send_chunk(self) -> None:
        if self._unsure:
            before = self._offset
            self._ask_how_far()
            if self._offset != before:
                # Some of it has come, so patience begins anew.
                return
        begin, end = self._offset, min(self._offset + self._chunk, self._size)
        if begin == end:
            return
        self._unsure = True
        headers = {"Content-Type": _OCTETS, "Content-Range": f"{begin}-{end - 1}"}
        answer = self._client.once(
            "PATCH",
            self._session,
            push(self._repository),
            self._what,
            headers=headers,
            body=lambda: self._source.take(begin, end),
            size=end - begin,
        )
        if answer.status in _NO_CHUNKS and not begin:
            self._in_one = True
            raise _Lost
        if answer.status in _GONE:
            raise _Lost
        if answer.status not in _DONE:
            raise self._client.refuse(answer, self._what)
        self._moved(self._session, answer)
        self._offset = _how_far(answer, end)
        self._unsure = False

    def _ask_how_far(self) -> None:
        answer = self._client.once("GET", self._session, push(self._repository), self._what)
        if answer.status not in _DONE:
            raise _Lost
        offset = _how_far(answer, 0)
        if offset > self._size:
            raise _Lost
        self._moved(self._session, answer)
        self._source.skip(offset)
        self._offset, self._unsure = offset, False

    def _finish(self) -> str:
        digest = self._digest or f"sha256:{self._whole.hexdigest() if self._whole else ''}"
        url = f"{self._session}{'&' if '?' in self._session else '?'}digest={quote(digest, safe=':')}"
        size = self._size if self._in_one else 0
        tried = False

        def action() -> Answer | None:
            nonlocal tried
            if tried and self._is_there(digest):
                return None
            tried = True
            return self._client.once(
                "PUT",
                url,
                push(self._repository),
                self._what,
                headers={"Content-Type": _OCTETS},
                body=lambda: self._source.take(self._size - size, self._size),
                size=size,
            )

        answer = self._patiently(action)
        if answer is not None and answer.status not in _DONE:
            self._not_finished(answer, digest)
        return digest

    def _not_finished(self, answer: Answer, digest: str) -> None:
        if answer.status not in _GONE:
            raise self._client.refuse(answer, self._what)
        if self._is_there(digest):
            return
        codes = [code for code, _ in errors_of(answer.body)]
        if self._digest and "DIGEST_INVALID" in codes:
            self._blame(self._digest)
        raise _Lost

    def _blame(self, digest: str) -> None:
        """Something else than was promised has arrived: the source is another, or the way has damaged it."""
        whole = hasher(digest, self._what)
        Source(self._chunks, self._size, whole, lambda count: None, self._what).hash_up_to(self._size)
        if whole.hexdigest() != digest.partition(":")[2]:
            raise Damaged(f"{self._what}: what is to be sent has another digest, {whole.name}:{whole.hexdigest()}")

    def _is_there(self, digest: str) -> bool:
        url = self._client.url(f"/v2/{quote(self._repository)}/blobs/{quote(digest, safe=':')}")
        return self._client.once("HEAD", url, push(self._repository), self._what).status == 200

    def _moved(self, url: str, answer: Answer) -> None:
        """The session's next URL; it may carry the registry's state, so it is kept to the letter."""
        location = answer.headers.get("location", "")
        if location:
            self._session = self._client.resolve(url, location)
        elif not self._session:
            raise HoistError(f"{self._what}: the registry began an upload ({answer.status}) and does not say where")
        if not self._in_one:
            self._journal.begin(self._session)

    def _give_up(self) -> None:
        if self._kept or not self._session:
            return
        with suppress(HoistError):
            self._client.once("DELETE", self._session, delete(self._repository), self._what)


def _how_far(answer: Answer, default: int) -> int:
    """How many bytes the registry has. docker-registry says 0-0 of an upload without any."""
    found = _RANGE.fullmatch(answer.headers.get("range", "").strip())
    if found is None:
        return default
    return int(found[1]) + 1 if found[1] != "0" else 0
