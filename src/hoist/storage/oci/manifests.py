"""Manifests and tags of a registry: read and checked, written, removed, and who refers to them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from hoist.errors import Damaged, FileNotFound, StorageUnavailable, StorageUnsupported
from hoist.model.manifest import digest_of
from hoist.storage.oci.auth import delete, pull, push
from hoist.storage.oci.client import Client, errors_of, json_of
from hoist.storage.oci.digests import NO_DIGEST, digest_like, is_digest
from hoist.storage.oci.repositories import MAX_MANIFEST_BYTES, Descriptor, Document
from hoist.storage.wire import Answer

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
_ACCEPTED = ", ".join(
    (
        MANIFEST,
        INDEX,
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.artifact.manifest.v1+json",
    )
)
# What docker-registry 2.8 and other old ones answer who are asked to delete a tag.
_NO_TAG_DELETION = (400, 405, 501)
_ENABLE = "allow it there (docker-registry: REGISTRY_STORAGE_DELETE_ENABLED=true, and garbage-collect frees the space)"
EMPTY_CONFIG = b"{}"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
# How often a registry that refuses a manifest is asked whether it really lacks what it says it lacks.
_MOST_LOOKS = 8
Result = TypeVar("Result")


class Manifests:
    """The manifests of one registry. Safe for many threads. `put_config` stores the empty config in a repository."""

    def __init__(self, client: Client, put_config: Callable[[str], str]) -> None:
        self._client = client
        self._put_config = put_config

    def get(self, repository: str, reference: str) -> Document:
        """See Repositories.manifest."""
        what = self._name(repository, reference)
        return twice(lambda: self._get(repository, reference, what))

    def put(self, repository: str, reference: str, data: bytes, media_type: str) -> None:
        """See Repositories.put_manifest."""
        what = self._name(repository, reference)
        if len(data) > MAX_MANIFEST_BYTES:
            raise StorageUnsupported(f"{what}: a manifest of {len(data)} bytes is more than registries take")
        looks = 0

        def put() -> None:
            nonlocal looks
            looks += 1
            self._put(repository, reference, data, media_type, what, believe=looks > _MOST_LOOKS)

        self._client.patiently(put)

    def delete(self, repository: str, digest: str) -> None:
        """See Repositories.delete_manifest."""
        what = self._name(repository, digest)
        answer = self._delete(repository, digest, what)
        if answer.status in (405, 501) or "UNSUPPORTED" in _codes(answer):
            raise StorageUnsupported(f"{what}: the registry deletes nothing: {_ENABLE}")
        if answer.status >= 300:
            raise self._client.refuse(answer, what)

    def untag(self, repository: str, tag: str) -> None:
        """See Repositories.untag."""
        what = self._name(repository, tag)
        answer = self._delete(repository, tag, what)
        if answer.status < 300:
            return
        if answer.status not in _NO_TAG_DELETION:
            raise self._client.refuse(answer, what)
        self._require(repository, tag, what)
        # A registry that deletes no tags deletes manifests with their tags: the tag moves to one that only it names. First
        # without the tag, as a registry that deletes nothing would leave the tag on it.
        config = self._put_config(repository)
        for reference in ("", tag):
            data = _nobody(config)
            digest = digest_of(data)
            self.put(repository, reference or digest, data, MANIFEST)
            self.delete(repository, digest)

    def referrers(self, repository: str, digest: str) -> Sequence[Descriptor]:
        """See Repositories.referrers."""
        digest_like(digest, b"", repository)
        what = f"{self._client.address}: referrers of {digest} in {repository}"
        found: list[Descriptor] = []
        for answer in self._client.pages(f"{self._path(repository)}/referrers/{digest}", pull(repository), what):
            if answer.status != 200:
                return self._by_tag(repository, digest)
            found += descriptors_of(json_of(answer, what))
        return found

    def _by_tag(self, repository: str, digest: str) -> Sequence[Descriptor]:
        """A registry without the API: clients keep an index of the referrers under a tag."""
        try:
            document = self.get(repository, digest.replace(":", "-"))
        except FileNotFound:
            return []
        try:
            index = json.loads(document.data)
        except (ValueError, RecursionError):
            return []
        return descriptors_of(index) if isinstance(index, dict) else []

    def _get(self, repository: str, reference: str, what: str) -> Document:
        url, headers = self._url(repository, reference), {"Accept": _ACCEPTED}
        most = MAX_MANIFEST_BYTES + 1
        answer = self._client.ask("GET", url, pull(repository), what, headers=headers, most=most)
        if answer.status != 200:
            raise self._client.refuse(answer, what)
        if len(answer.body) > MAX_MANIFEST_BYTES:
            raise Damaged(f"{what} has more than {MAX_MANIFEST_BYTES} bytes: that is no manifest")
        said = answer.headers.get("docker-content-digest", "")
        promised = reference if ":" in reference else said if is_digest(said) else NO_DIGEST
        digest = digest_like(promised, answer.body, what)
        if promised not in (NO_DIGEST, digest):
            raise Damaged(f"{what} has other content: its digest is {digest}")
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
        return Document(answer.body, digest, media_type or MANIFEST)

    def _put(self, repository: str, reference: str, data: bytes, media_type: str, what: str, *, believe: bool) -> None:
        """`believe`: the registry is believed when it says that it lacks a blob."""
        answer = self._client.once(
            "PUT",
            self._url(repository, reference),
            push(repository),
            what,
            headers={"Content-Type": media_type},
            body=lambda: iter([memoryview(data)]),
            size=len(data),
        )
        missing = [detail for code, detail in errors_of(answer.body) if code == "MANIFEST_BLOB_UNKNOWN"]
        if answer.status >= 300 and missing:
            named = [_blob(detail) for detail in missing]
            if not believe and all(is_digest(digest) and self._has(repository, digest, what) for digest in named):
                raise StorageUnavailable(f"{what}: the registry is busy with {', '.join(named)}")
            raise Damaged(f"{what} names what {repository} does not have: {', '.join(named)}")
        if answer.status >= 300:
            raise self._client.refuse(answer, what)
        said = answer.headers.get("docker-content-digest", "")
        if is_digest(said) and said != digest_like(said, data, what):
            raise StorageUnavailable(f"{what} arrived damaged")

    def _has(self, repository: str, digest: str, what: str) -> bool:
        """Whether the repository has a blob. docker-registry 2.8 lacks one for a moment whenever somebody else ends an
        upload of the same: it writes the blob's link anew, in place. Raises StorageUnavailable while it does."""
        url = self._client.url(f"{self._path(repository)}/blobs/{digest}")
        return self._client.once("HEAD", url, pull(repository), what).status == 200

    def _require(self, repository: str, reference: str, what: str) -> None:
        headers = {"Accept": _ACCEPTED}
        answer = self._client.ask("HEAD", self._url(repository, reference), pull(repository), what, headers=headers)
        if answer.status != 200:
            raise self._client.refuse(answer, what)

    def _delete(self, repository: str, reference: str, what: str) -> Answer:
        return self._client.ask("DELETE", self._url(repository, reference), delete(repository), what)

    def _name(self, repository: str, reference: str) -> str:
        return f"{self._client.address}: {repository}{'@' if ':' in reference else ':'}{reference}"

    @staticmethod
    def _path(repository: str) -> str:
        return f"/v2/{quote(repository)}"

    def _url(self, repository: str, reference: str) -> str:
        return self._client.url(f"{self._path(repository)}/manifests/{quote(reference, safe=':')}")


def twice(action: Callable[[], Result]) -> Result:
    """`action`, once more if it found something damaged: what was damaged on its way is right the next time."""
    try:
        return action()
    except Damaged:
        return action()


def descriptors_of(index: Mapping[str, Any]) -> list[Descriptor]:
    """The descriptors in an index; what is none is left out."""
    manifests = index.get("manifests")
    found = [_descriptor(item) for item in manifests] if isinstance(manifests, list) else []
    return [descriptor for descriptor in found if descriptor]


def _descriptor(item: object) -> Descriptor | None:
    if not isinstance(item, dict):
        return None
    digest, size = item.get("digest"), item.get("size")
    if not isinstance(digest, str) or not is_digest(digest) or type(size) is not int or size < 0:
        return None
    notes, platform = item.get("annotations"), item.get("platform")
    pairs = notes.items() if isinstance(notes, dict) else ()
    parts = [platform.get(key) for key in ("os", "architecture", "variant")] if isinstance(platform, dict) else []
    return Descriptor(
        digest,
        size,
        str(item.get("mediaType") or ""),
        tuple(sorted((key, value) for key, value in pairs if isinstance(value, str))),
        str(item.get("artifactType") or ""),
        "/".join(part for part in parts if isinstance(part, str) and part),
    )


def _nobody(config: str) -> bytes:
    """A manifest that nothing else names."""
    # The image specification wants one layer at least: the empty one that it has for this.
    empty = {"mediaType": EMPTY_TYPE, "digest": config, "size": len(EMPTY_CONFIG)}
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "application/vnd.dev.hoist.removed.v1",
            "config": empty,
            "layers": [empty],
            "annotations": {"dev.hoist.removed": secrets.token_hex(16)},
        }
    ).encode()


def _codes(answer: Answer) -> list[str]:
    return [code for code, _ in errors_of(answer.body)]


def _blob(detail: object) -> str:
    """The digest that an error's detail names."""
    if isinstance(detail, dict):
        detail = next((value for key, value in detail.items() if key.lower() in ("digest", "blobsum")), None)
    return detail if isinstance(detail, str) and is_digest(detail) else "a blob that it does not name"
