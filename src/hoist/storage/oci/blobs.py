"""Blobs of a registry, by range and in order. Another host that it sends readers to is kept in mind for a while."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from urllib.parse import quote

from hoist.errors import Damaged, HoistError, PermissionDenied, StorageUnavailable
from hoist.storage.answers import Elsewhere, Unauthorised
from hoist.storage.oci.auth import pull
from hoist.storage.oci.client import MOST_REFUSALS, Client
from hoist.storage.oci.digests import hasher
from hoist.storage.ranges import RangeClient

# Signed URLs live for minutes at least, as a rule; one that has expired is asked for anew.
_KEPT_SECONDS = 60.0
_MOST_KEPT = 4096
# A redirect, a redirect of that, a token that has expired, a signed URL that has.
_MOST_STEPS = 8
SLICE = 1 << 20
WINDOW = 8 << 20
# Windows on their way or being used: more brought no more from a registry on the same machine.
_WINDOWS = 4


class BlobReader:
    """Reads the blobs of one registry. Safe for many threads."""

    def __init__(self, client: Client, ranges: RangeClient) -> None:
        self._client = client
        self._ranges = ranges
        self._lock = Lock()
        self._moved: dict[tuple[str, str], tuple[str, float]] = {}

    def url(self, repository: str, digest: str) -> str:
        """Where the registry has a blob."""
        return self._client.url(f"/v2/{quote(repository)}/blobs/{quote(digest, safe=':')}")

    def name(self, repository: str, digest: str) -> str:
        """A blob, for messages."""
        return f"{self._client.address}: blob {digest} of {repository}"

    def read_into(self, repository: str, digest: str, offset: int, buffer: memoryview) -> None:
        """See Repositories.read_into."""
        key, what, scopes = (repository, digest), self.name(repository, digest), pull(repository)
        url = self._known(key) or self.url(repository, digest)
        anew, refusals = True, 0
        for _ in range(_MOST_STEPS):
            own = self._client.is_own(url)
            headers = self._client.auth.headers(scopes) if own else {}
            try:
                self._ranges.read_into(url, offset, buffer, what, headers)
                return
            except Elsewhere as moved:
                url = self._client.resolve(url, moved.location)
                self._keep(key, url)
            except (Damaged, StorageUnavailable):
                raise
            except HoistError as refused:
                if own and isinstance(refused, Unauthorised) and refusals < MOST_REFUSALS:
                    refusals += 1
                    self._client.auth.refused(refused.challenge, scopes, headers.get("Authorization"), what)
                elif own and isinstance(refused, PermissionDenied):
                    raise self._client.auth.denied(what) from None
                elif own:
                    raise
                elif not anew:
                    raise PermissionDenied(str(refused)) if isinstance(refused, Unauthorised) else refused from None
                else:
                    # A signed URL expires, and what its server says then is any error.
                    anew = False
                    self._forget(key)
                    url = self.url(repository, digest)
        raise HoistError(f"{what}: the registry sends from one place to the next")

    @contextmanager
    def stream(self, repository: str, digest: str, size: int) -> Iterator[Iterator[memoryview]]:
        """See Repositories.stream_blob."""
        whole = hasher(digest, self.name(repository, digest))
        # One for each window on its way, and one that hashes behind them.
        pool = ThreadPoolExecutor(_WINDOWS + 1, "hoist-stream")
        try:
            yield self._slices(repository, digest, size, whole, pool)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _slices(
        self, repository: str, digest: str, size: int, whole: hashlib._Hash, pool: ThreadPoolExecutor
    ) -> Iterator[memoryview]:
        buffers = [memoryview(bytearray(min(WINDOW, size))) for _ in range(min(_WINDOWS, -(-size // WINDOW)))]
        coming: dict[int, Future[memoryview]] = {}

        def fetch(number: int) -> memoryview:
            begin = number * WINDOW
            view = buffers[number % len(buffers)][: min(WINDOW, size - begin)]
            self._client.patiently(lambda: self.read_into(repository, digest, begin, view))
            return view

        count = -(-size // WINDOW)
        for number in range(min(_WINDOWS, count)):
            coming[number] = pool.submit(fetch, number)
        for number in range(count):
            view = coming.pop(number).result()
            hashed = pool.submit(whole.update, view)
            for at in range(0, len(view), SLICE):
                yield view[at : at + SLICE]
            hashed.result()
            if number + _WINDOWS < count:
                coming[number + _WINDOWS] = pool.submit(fetch, number + _WINDOWS)
        if whole.hexdigest() != digest.partition(":")[2]:
            raise Damaged(f"{self.name(repository, digest)} has other content: its digest is another")

    def _known(self, key: tuple[str, str]) -> str | None:
        with self._lock:
            url, until = self._moved.get(key, ("", 0.0))
            return url if time.monotonic() < until else None

    def _keep(self, key: tuple[str, str], url: str) -> None:
        with self._lock:
            if len(self._moved) >= _MOST_KEPT:
                self._moved.clear()
            self._moved[key] = (url, time.monotonic() + _KEPT_SECONDS)

    def _forget(self, key: tuple[str, str]) -> None:
        with self._lock:
            self._moved.pop(key, None)
