"""A bucket as a storage: S3 and every store that speaks it, Alibaba OSS, Google Cloud Storage, Azure.

The object store library lists, heads, writes and signs; weight bytes come through `ranges` on the signed URL.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from datetime import timedelta
from functools import cache
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, cast
from uuid import uuid4

import obstore
from obstore import exceptions

from hoist.errors import FileNotFound, HoistError, PermissionDenied
from hoist.model.manifest import digest_of
from hoist.storage import layout
from hoist.storage.accelerated import Accelerated
from hoist.storage.base import OnBytes, Traits
from hoist.storage.multipart import Multipart
from hoist.storage.objects import ObjectInfo, Stamped, Unfinished, exists
from hoist.storage.posix import changed, open_source
from hoist.storage.ranges import RangeClient
from hoist.storage.staged_bucket import USUAL_PART, StagedUpload, drop_upload, open_uploads
from hoist.storage.translate import translated

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

    Store = S3Store | GCSStore | AzureStore

_SIGNED_SECONDS = 3600
_RESIGN_SECONDS = 600
_PART_BYTES = 16 << 20
_PARTS_AT_ONCE = 3
# S3 takes 10,000 parts at most; larger files need larger parts.
_MOST_PARTS = 9_000
_DELETE_AT_ONCE = 500


class BucketObjects:
    """Keys as objects of `store`, below its prefix. `public` gives the URL of a key that needs no signature.

    `uploads` gives uploads in parts that nobody sees before they are one; None where the store has none that can be
    signed. Weights are read through `accelerated`, where that is given; all else always comes from the store.
    """

    links = False

    def __init__(
        self,
        store: Store,
        address: str,
        traits: Traits,
        client: RangeClient,
        public: Callable[[str], str] | None = None,
        uploads: Callable[[], Multipart | None] = lambda: None,
        accelerated: Accelerated | None = None,
    ) -> None:
        self.address = address
        self.traits = traits
        self.store = store
        self._client = client
        self._accelerated = accelerated
        self._public = public
        self._uploads = cache(uploads)
        self._lock = Lock()
        self._large_file = Lock()
        self._signed: dict[str, tuple[str, float]] = {}
        self._conditional: bool | None = None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with translated(self.address, prefix):
            for page in obstore.list(self.store, prefix or None):
                for meta in page:
                    modified = meta["last_modified"].timestamp()
                    yield ObjectInfo(meta["path"], meta["size"], modified, meta["e_tag"] or "")

    def head(self, key: str) -> ObjectInfo:
        with translated(self.address, key):
            meta = obstore.head(self.store, key)
        return ObjectInfo(key, meta["size"], meta["last_modified"].timestamp())

    def get(self, key: str) -> Stamped:
        with translated(self.address, key):
            found = obstore.get(self.store, key)
            data = found.bytes().to_bytes()
        tag = found.meta["e_tag"]
        # A store without ETags honours no condition on them either: any stamp that tells the states apart will do.
        return Stamped(data, tag if tag and tag.strip('"') else digest_of(data))

    def read_into(self, key: str, offset: int, buffer: memoryview) -> None:
        what = f"{self.address} at {key!r}"
        client = self._accelerated if self._accelerated and layout.is_weight(key) else self._client
        try:
            client.read_into(self.url(key), offset, buffer, what)
        except PermissionDenied:
            if self._public:
                raise
            # A signature ends with the role's session, which may be sooner than it says.
            client.read_into(self.url(key, fresh=True), offset, buffer, what)

    def first_byte_seconds(self) -> float | None:
        return (self._accelerated or self._client).first_byte_seconds()

    def throttled(self) -> int:
        return self._client.throttled

    def local_path(self, key: str) -> Path | None:
        return None

    def put(self, key: str, data: bytes | memoryview) -> None:
        with translated(self.address, key):
            obstore.put(self.store, key, data, use_multipart=False)

    def create(self, key: str, data: bytes) -> bool:
        if not self.conditional():
            if exists(self, key):
                return False
            self.put(key, data)
            return True
        with translated(self.address, key):
            try:
                obstore.put(self.store, key, data, use_multipart=False, mode="create")
            except exceptions.AlreadyExistsError:
                return False
        return True

    def swap(self, key: str, data: bytes, expected: str | None) -> bool:
        if expected is None:
            return self.create(key, data)
        if not self.conditional():
            if not exists(self, key) or self.get(key).stamp != expected:
                return False
            self.put(key, data)
            return True
        if self._put_if_match(key, data, expected):
            return True
        # Some stores (radosgw) compare the bare tag, and refuse the quoted one that they gave: see whether it did change.
        try:
            changed = self.get(key).stamp != expected
        except FileNotFound:
            return False
        return not changed and self._put_if_match(key, data, expected.strip('"'))

    def put_file(self, key: str, source: Path, size: int, on_bytes: OnBytes) -> None:
        part = max(_PART_BYTES, -(-size // _MOST_PARTS))
        # Parts wait in memory until they are sent: files of large parts go one by one, and part by part.
        large = part > _PART_BYTES
        with self._large_file if large else nullcontext(), open_source(source) as file:
            counted = _Counted(file, on_bytes)
            try:
                with translated(self.address, key):
                    obstore.put(
                        self.store,
                        key,
                        cast(IO[bytes], counted),
                        use_multipart=size > _PART_BYTES,
                        chunk_size=part,
                        max_concurrency=1 if large else _PARTS_AT_ONCE,
                    )
            except HoistError:
                # The library turns what reading raised into an error of its own.
                if counted.failed:
                    raise counted.failed from None
                raise
        if counted.sent != size or self.head(key).size != size:
            self.delete([key])
            raise changed(source)

    @property
    def staged_from(self) -> int | None:
        """See Objects. Asked only by who publishes: it looks for keys to sign with."""
        return USUAL_PART if self._uploads() else None

    def stage(self, key: str, size: int, source: Path, journals: Path | None) -> StagedUpload:
        uploads = self._uploads()
        assert uploads is not None
        return StagedUpload(uploads, key, size, source, journals)

    def unfinished(self) -> Iterator[Unfinished]:
        # Probes of ours that outlived their writer.
        yield from (Unfinished(info.key, "", info.size, info.modified) for info in self.list(layout.TMP))
        if uploads := self._uploads():
            yield from open_uploads(uploads)

    def drop_unfinished(self, item: Unfinished) -> None:
        uploads = self._uploads()
        if not item.token:
            self.delete([item.key])
        elif uploads:
            drop_upload(uploads, item)

    def copy(self, source: str, target: str) -> bool:
        if "%" in source:
            # radosgw decodes a source's name twice, and may find another object.
            return False
        try:
            with translated(self.address, target):
                obstore.copy(self.store, source, target)
        except HoistError:
            # Stores refuse for reasons of their own (S3: over 5 GiB): the file is sent instead.
            return False
        return self.head(target).size == self.head(source).size

    def copy_over(self, source: str, target: str) -> bool:
        return self.copy(source, target)

    def symlink(self, key: str, target: str) -> bool:
        return False

    def delete(self, keys: Sequence[str]) -> None:
        rest = iter(keys)
        while some := list(islice(rest, _DELETE_AT_ONCE)):
            try:
                with translated(self.address, some[0]):
                    obstore.delete(self.store, some)
            except FileNotFound:
                pass

    def conditional(self) -> bool:
        """Found out once, with a small object of our own: some stores take the condition and ignore it."""
        with self._lock:
            if self._conditional is None:
                self._conditional = self._probe()
            return self._conditional

    def close(self) -> None:
        self._client.close()
        if self._accelerated:
            self._accelerated.close()
        uploads = self._uploads.cache_info().currsize and self._uploads()
        if uploads:
            uploads.close()

    def _probe(self) -> bool:
        key = f"{layout.TMP}probe-{uuid4().hex}"
        with translated(self.address, key):
            obstore.put(self.store, key, b"1", use_multipart=False, mode="create")
            try:
                obstore.put(self.store, key, b"2", use_multipart=False, mode="create")
            except exceptions.AlreadyExistsError:
                return True
            except exceptions.NotSupportedError:
                return False
            finally:
                self.delete([key])
        return False

    def _put_if_match(self, key: str, data: bytes, tag: str) -> bool:
        with translated(self.address, key):
            try:
                obstore.put(self.store, key, data, use_multipart=False, mode={"e_tag": tag})
            except (exceptions.PreconditionError, FileNotFoundError):
                return False
        return True

    def url(self, key: str, *, fresh: bool = False) -> str:
        """Where the object can be read by plain HTTP, for an hour at least; holds a signature: keep it out of messages."""
        if self._public:
            return self._public(key)
        now = time.monotonic()
        url, until = self._signed.get(key, ("", 0.0))
        if fresh or until - now < _RESIGN_SECONDS:
            with translated(self.address, key):
                url = obstore.sign(self.store, "GET", key, timedelta(seconds=_SIGNED_SECONDS))
            self._signed[key] = (url, now + _SIGNED_SECONDS)
        return url


class _Counted:
    """A file that tells how much was read from it."""

    def __init__(self, file: IO[bytes], on_bytes: OnBytes) -> None:
        self._file = file
        self._on_bytes = on_bytes
        self.sent = 0
        self.failed: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            data = self._file.read(size)
            self.sent += len(data)
            self._on_bytes(len(data))
        except Exception as error:
            self.failed = error
            raise
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
