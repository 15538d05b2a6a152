"""A registry that speaks the OCI distribution specification over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from hoist.errors import Damaged, FileNotFound, HoistError, PermissionDenied, StorageUnsupported
from hoist.storage.base import OnBytes
from hoist.storage.journal import Journal
from hoist.storage.oci.auth import CATALOG, Authorizer, delete, pull, push
from hoist.storage.oci.blobs import BlobReader
from hoist.storage.oci.client import Client, json_of
from hoist.storage.oci.digests import digest_like
from hoist.storage.oci.docker_config import Login
from hoist.storage.oci.manifests import EMPTY_CONFIG, Manifests, twice
from hoist.storage.oci.notes import Notes
from hoist.storage.oci.repositories import Chunks, Descriptor, Document, put_small
from hoist.storage.oci.uploads import CHUNK_BYTES, Upload
from hoist.storage.ranges import RangeClient
from hoist.storage.wire import Answer, Wire

_PAGE = 1000


class Registry:
    """See Repositories. `base` is its URL without `/v2/`, `host` its name in logins, `address` in messages.

    `login` is asked when the registry wants one; `uploads` is the folder of this host's notes (None: none are kept); what
    is passing is tried again for `retry_seconds`, but for `read_into`, which the engine above repeats.
    """

    def __init__(
        self,
        base: str,
        host: str,
        address: str,
        *,
        login: Callable[[], Login | None] = lambda: None,
        ca_bundle: str | None = None,
        uploads: Path | None = None,
        retry_seconds: float = 60.0,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.address = address
        self._wire = Wire(ca_bundle)
        self._ranges = RangeClient(ca_bundle)
        self._client = Client(base, address, self._wire, Authorizer(base, host, self._wire, login), retry_seconds)
        self._blobs = BlobReader(self._client, self._ranges)
        self._manifests = Manifests(self._client, self._put_empty_config)
        self.base = self._client.base
        self.login = login
        self._uploads = uploads
        self._notes = Notes(uploads, self._client.base)
        self._chunk_bytes = chunk_bytes

    def repositories(self, prefix: str) -> Iterator[str]:
        what = f"the list of repositories of {self.address}"
        found: set[str] = set()
        for answer in self._client.pages(f"/v2/_catalog?n={_PAGE}", CATALOG, what):
            if answer.status in (404, 405):
                raise StorageUnsupported(f"{self.address}: the registry does not list its repositories")
            if answer.status != 200:
                raise self._client.refuse(answer, what)
            found.update(_texts(json_of(answer, what).get("repositories")))
        yield from sorted(name for name in found if not prefix or name == prefix or name.startswith(f"{prefix}/"))

    def tags(self, repository: str) -> Sequence[str]:
        what = f"{self.address}: tags of {repository}"
        found: set[str] = set()
        for answer in self._client.pages(f"/v2/{quote(repository)}/tags/list?n={_PAGE}", pull(repository), what):
            if answer.status == 404:
                break
            if answer.status != 200:
                raise self._client.refuse(answer, what)
            found.update(_texts(json_of(answer, what).get("tags")))
        return sorted(found)

    def manifest(self, repository: str, reference: str) -> Document:
        return self._manifests.get(repository, reference)

    def put_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> None:
        self._manifests.put(repository, reference, data, media_type)

    def delete_manifest(self, repository: str, digest: str) -> None:
        self._manifests.delete(repository, digest)

    def untag(self, repository: str, tag: str) -> None:
        self._manifests.untag(repository, tag)

    def referrers(self, repository: str, digest: str) -> Sequence[Descriptor]:
        return self._manifests.referrers(repository, digest)

    def blob_size(self, repository: str, digest: str) -> int | None:
        what = self._blobs.name(repository, digest)
        answer = self._client.ask("HEAD", self._blobs.url(repository, digest), pull(repository), what)
        if answer.status == 404:
            self._notes.drop(digest, repository)
            return None
        if answer.status != 200:
            raise self._client.refuse(answer, what)
        size = answer.headers.get("content-length", "")
        if not (size.isascii() and size.isdigit()):
            raise HoistError(f"{what}: the registry does not say how large it is")
        self._notes.note(digest, repository)
        return int(size)

    def read_blob(self, repository: str, digest: str, most: int) -> bytes:
        return twice(lambda: self._read_blob(repository, digest, most))

    def read_into(self, repository: str, digest: str, offset: int, buffer: memoryview) -> None:
        self._blobs.read_into(repository, digest, offset, buffer)

    def stream_blob(self, repository: str, digest: str, size: int) -> AbstractContextManager[Iterator[memoryview]]:
        return self._blobs.stream(repository, digest, size)

    def put_blob(
        self, repository: str, digest: str | None, size: int, chunks: Chunks, on_bytes: OnBytes, resume: str = ""
    ) -> str:
        if digest:
            digest_like(digest, b"", self._blobs.name(repository, digest))
            if self.blob_size(repository, digest) is not None:
                return digest
        key = f"{repository}\0{size}\0{digest or ''}"
        journal = Journal(self._uploads if resume else None, self._client.base, key, Path("/", resume))
        try:
            upload = Upload(
                self._client,
                repository,
                digest,
                size,
                chunks,
                on_bytes,
                journal,
                kept=bool(resume),
                chunk_bytes=self._chunk_bytes,
            )
            found = upload.run()
        finally:
            journal.close()
        self._notes.note(found, repository)
        return found

    def restore_blob(self, repository: str, digest: str, size: int, chunks: Chunks) -> None:
        if self.blob_size(repository, digest) is not None:
            raise StorageUnsupported(
                f"{self._blobs.name(repository, digest)}: a registry takes no blob that it believes to have; have its data "
                "deleted where the registry keeps it, then repair it again"
            )
        self.put_blob(repository, digest, size, chunks, lambda count: None)

    def try_push(self, repository: str) -> None:
        """Begin an upload and give it up, which leaves nothing. Raises PermissionDenied, and what else is in the way."""
        what = f"{self.address}: an upload to {repository}"
        url = self._client.url(f"/v2/{quote(repository)}/blobs/uploads/")
        answer = self._client.ask("POST", url, push(repository), what)
        if answer.status not in (201, 202) or not answer.headers.get("location"):
            raise self._client.refuse(answer, what)
        self._give_up(url, answer, repository, what)

    def mount_blob(self, repository: str, digest: str, size: int, source: str) -> bool:
        what = self._blobs.name(repository, digest)
        query = urlencode({"mount": digest, "from": source}, quote_via=quote, safe=":/")
        url = self._client.url(f"/v2/{quote(repository)}/blobs/uploads/?{query}")
        try:
            answer = self._client.ask("POST", url, push(repository, source), what)
        except PermissionDenied:
            # That of `source` may be what is missing.
            return False
        if answer.status == 201:
            self._notes.note(digest, repository)
            return True
        self._notes.drop(digest, source)
        if answer.status == 202 and answer.headers.get("location"):
            # It has begun an upload instead.
            self._give_up(url, answer, repository, what)
        return False

    def known_holders(self, digest: str) -> Sequence[str]:
        return self._notes.holders(digest)

    def first_byte_seconds(self) -> float | None:
        return self._ranges.first_byte_seconds()

    def close(self) -> None:
        self._client.stop.set()
        self._wire.close()
        self._ranges.close()

    def _give_up(self, url: str, begun: Answer, repository: str, what: str) -> None:
        session = self._client.resolve(url, begun.headers["location"])
        with suppress(HoistError):
            self._client.once("DELETE", session, delete(repository), what)

    def _read_blob(self, repository: str, digest: str, most: int) -> bytes:
        what = self._blobs.name(repository, digest)
        answer = self._client.ask("GET", self._blobs.url(repository, digest), pull(repository), what, most=most + 1)
        if answer.status == 404:
            raise FileNotFound(f"{what} is not there")
        if answer.status != 200:
            raise self._client.refuse(answer, what)
        if len(answer.body) > most:
            raise Damaged(f"{what} has more than {most} bytes")
        if digest_like(digest, answer.body, what) != digest:
            raise Damaged(f"{what} has other content: its digest is another")
        return answer.body

    def _put_empty_config(self, repository: str) -> str:
        return put_small(self, repository, EMPTY_CONFIG)


def _texts(found: Any) -> list[str]:
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []
