"""A file on its way into a bucket of S3's kind: an upload in parts that is completed when its version has its label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from hoist.errors import Conflict, FileNotFound, HoistError, StorageUnavailable, StorageUnsupported
from hoist.storage.answers import ServerFailed
from hoist.storage.journal import Journal
from hoist.storage.multipart import MOST_PARTS, SMALLEST_PART, Multipart, SentPart
from hoist.storage.objects import Unfinished
from hoist.storage.staging import BeginAnew, Body, Part, PartLimits, Staged

USUAL_PART = 16 << 20
# A larger copy keeps one request waiting for long; a store makes several at once.
_COPIED_PART = 512 << 20
# An upload of an earlier run that fails so often at one thing is given up: a store may have lost what it needs to go on with
# it (rclone after a full disk), and says only that it is failing.
_MOST_FAILURES = 3
# Room for the parts that end where unchanged blocks begin.
_SPARED_PARTS = MOST_PARTS - 100


class StagedUpload(Staged):
    """See Staged. What an earlier run has sent is kept where its journal and the server agree."""

    def __init__(self, multipart: Multipart, key: str, size: int, source: Path, journals: Path | None) -> None:
        least = -(-size // _SPARED_PARTS)
        self.limits = PartLimits(max(SMALLEST_PART, least), max(USUAL_PART, least), max(_COPIED_PART, least))
        self._multipart = multipart
        self._key = key
        self._size = size
        self._journal = Journal(journals, multipart.place, key, source)
        self._lock = Lock()
        self._etags: dict[int, tuple[int, str]] = {}
        self._there: dict[int, SentPart] = {}
        self._asked: set[int] = set()
        self._resumed = False
        # By part; 0 is the completion.
        self._failures: Counter[int] = Counter()
        self._upload = self._begin()

    def has(self, part: Part) -> bool:
        there, noted = self._there.get(part.number), self._journal.parts.get(part.number)
        if there is None or noted is None or there.size != part.size:
            return False
        digest, etag = noted
        if digest != part.digest.hex() or etag.strip('"') != there.etag.strip('"'):
            return False
        self._note(part, etag)
        return True

    def copy(self, part: Part) -> bool:
        held = part.held
        # S3 copies no range of a small object; radosgw decodes a source's name twice, and may find another object.
        if held is None or not self._multipart.copies or held.size <= SMALLEST_PART or "%" in held.key:
            return False
        self._asked.add(part.number)
        try:
            end = held.offset + part.size
            etag = self._multipart.copy(self._key, self._upload, part.number, held.key, held.offset, end)
        except (StorageUnavailable, FileNotFound):
            # Another one may be there, and be copied.
            return False
        except HoistError:
            self._multipart.copies = False
            return False
        if not etag:
            return False
        self._note(part, etag, new=True)
        return True

    def put(self, part: Part, body: Body) -> bool:
        try:
            etag = self._multipart.put(self._key, self._upload, part.number, body, part.size)
        except FileNotFound:
            raise BeginAnew(f"the upload of {self._key} was swept away") from None
        except ServerFailed:
            if self._is_beyond_help(part.number):
                raise BeginAnew(f"the store cannot go on with the upload of {self._key}") from None
            raise
        except StorageUnsupported:
            if part.number not in self._there and part.number not in self._asked:
                raise
            # rclone's server takes no part twice; what it makes of a copy that it cannot make counts as once.
            self._multipart.copies = False
            raise BeginAnew(f"part {part.number} of {self._key} cannot be sent again") from None
        finally:
            self._asked.add(part.number)
        self._note(part, etag, new=True)
        return True

    def complete(self) -> None:
        if set(self._there) - set(self._etags):
            # Some stores refuse an upload that leaves any part out.
            raise BeginAnew(f"the upload of {self._key} has parts of another cut")
        assert sum(size for size, _ in self._etags.values()) == self._size

    def place(self) -> bool:
        etags = {number: etag for number, (_, etag) in self._etags.items()}
        try:
            self._multipart.complete(self._key, self._upload, etags)
        except FileNotFound:
            self._journal.forget()
            return False
        except StorageUnavailable as error:
            # radosgw says so too of an upload that is gone.
            if self._is_gone():
                self._journal.forget()
            elif isinstance(error, ServerFailed) and self._is_beyond_help(0):
                self.discard()
            else:
                raise
            return False
        self._journal.forget()
        return True

    def discard(self) -> None:
        self._multipart.abort(self._key, self._upload)
        self._journal.forget()

    def close(self) -> None:
        self._journal.close()

    def _is_gone(self) -> bool:
        try:
            self._multipart.parts(self._key, self._upload)
        except FileNotFound:
            return True
        return False

    def _is_beyond_help(self, number: int) -> bool:
        """Whether this is an earlier run's upload that keeps failing; a new one is tried for as long as patience lasts."""
        with self._lock:
            self._failures[number] += 1
            return self._resumed and self._failures[number] >= _MOST_FAILURES

    def _begin(self) -> str:
        if self._journal.upload:
            try:
                self._there = self._multipart.parts(self._key, self._journal.upload)
                self._resumed = True
                return self._journal.upload
            except FileNotFound:
                pass
        upload = self._multipart.begin(self._key)
        self._journal.begin(upload)
        return upload

    def _note(self, part: Part, etag: str, *, new: bool = False) -> None:
        with self._lock:
            self._etags[part.number] = (part.size, etag)
            if new:
                self._journal.note(part.number, part.digest.hex(), etag)


def open_uploads(multipart: Multipart) -> Iterator[Unfinished]:
    """Uploads that nobody has completed, with the bytes of each and the time of its newest part."""
    try:
        for item in multipart.open_uploads():
            size, modified = _state(multipart, item.key, item.upload)
            yield Unfinished(item.key, item.upload, size, max(item.began, modified))
    except (StorageUnsupported, FileNotFound):
        # rclone's server knows of no uploads where there is none.
        return


def drop_upload(multipart: Multipart, item: Unfinished) -> None:
    """Give an upload up. Raises Conflict if a part has come since it was listed."""
    if _state(multipart, item.key, item.token)[1] > item.modified:
        raise Conflict(f"{item.key} is being sent")
    multipart.abort(item.key, item.token)


def _state(multipart: Multipart, key: str, upload: str) -> tuple[int, float]:
    try:
        parts = multipart.parts(key, upload).values()
    except FileNotFound:
        return 0, 0.0
    return sum(part.size for part in parts), max((part.modified for part in parts), default=0.0)
