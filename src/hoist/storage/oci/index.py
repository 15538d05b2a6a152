"""The index.json of an OCI image layout: which manifests are there, and how each is named. Pure.

Each entry is named by its annotation `org.opencontainers.image.ref.name`. Hoist writes `REPOSITORY:TAG`. Other tools write a
tag alone (skopeo), a whole name with its host (podman), or nothing. Such an entry lies in the repository of the model that
the image itself says it holds (`dev.hoist.versions`); one that says nothing, in the repository "" if it has a tag alone.
The repository "" with its tag always finds what has that tag alone. A manifest that was put by digest alone has an
annotation of Hoist's own instead, which says in which repository it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hoist.errors import Damaged, InvalidReference
from hoist.model.reference import is_digest, is_label
from hoist.storage.oci.repositories import Descriptor

REF_NAME = "org.opencontainers.image.ref.name"
REPOSITORY = "dev.hoist.repository"
VERSIONS = "dev.hoist.versions"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
INDEX_TYPES = (INDEX_TYPE, "application/vnd.docker.distribution.manifest.list.v2+json")
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
MAX_INDEX_BYTES = 64 << 20
_HOST = re.compile(r"localhost|.*[.:].*")


@dataclass(frozen=True, slots=True)
class Entry:
    """One manifest of an index: its descriptor as it was read, the repository it lies in, and its tag (empty: none).

    `bare`: the index names it by the tag alone.
    """

    digest: str
    size: int
    media_type: str
    repository: str
    tag: str
    bare: bool
    document: Mapping[str, Any]

    def is_named(self, repository: str, tag: str) -> bool:
        """Whether it is what the tag of the repository means."""
        return self.tag == tag and (self.repository == repository or (self.bare and not repository))

    def is_in(self, repository: str) -> bool:
        """Whether the repository has it."""
        return self.repository == repository or (self.bare and not repository)


def check_tag(tag: str) -> str:
    """The tag if it is well-formed. Raises InvalidReference."""
    if not is_label(tag):
        raise InvalidReference(f"{tag!r} is no tag: letters, digits, '.', '_' and '-', 128 characters at most")
    return tag


def parse_index(data: bytes, where: str) -> list[Entry]:
    """The entries, in order; what has a digest of another algorithm is left out. Raises Damaged, naming `where`."""
    document = parse_json(data, where)
    manifests = document.get("manifests")
    if not isinstance(manifests, list):
        raise Damaged(f"{where} has no list of manifests")
    return [entry for item in manifests if (entry := _entry(item, where)) is not None]


def write_index(documents: Sequence[Mapping[str, Any]]) -> bytes:
    """The index of these descriptors."""
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": list(documents)}, indent=1).encode()


def make_entry(digest: str, size: int, media_type: str, repository: str, tag: str) -> Entry:
    """The entry of a manifest that is put under a tag, or under its digest alone."""
    name = f"{repository}:{tag}" if repository else tag
    annotations = {REF_NAME: name} if tag else {REPOSITORY: repository}
    document = {"mediaType": media_type, "digest": digest, "size": size, "annotations": annotations}
    return Entry(digest, size, media_type, repository, tag, bool(tag) and not repository, document)


def settled(entry: Entry, image: Mapping[str, Any]) -> Entry:
    """The entry in the repository that its image says, where the index does not say it well; `image` is its manifest."""
    if not entry.tag or not (entry.bare or _names_host(entry.repository)):
        return entry
    names = list(_versions(image))
    labelled = [name for name, label in names if label == entry.tag]
    if not names:
        return entry
    return replace(entry, repository=labelled[0] if labelled else names[0][0])


def needs_image(entry: Entry) -> bool:
    """Whether `settled` may say another repository."""
    return bool(entry.tag) and (entry.bare or _names_host(entry.repository))


def parse_json(data: bytes, where: str) -> dict[str, Any]:
    """A JSON object. Raises Damaged."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Damaged(f"{where} is no JSON object")
    return found


def parse_descriptor(item: Any, where: str) -> Descriptor:
    """A descriptor of a manifest or index. Raises Damaged."""
    try:
        digest, size, media_type = item["digest"], item["size"], item.get("mediaType", "")
    except (KeyError, TypeError, AttributeError):
        raise Damaged(f"{where} has a descriptor without digest and size") from None
    if (
        not isinstance(digest, str)
        or not isinstance(media_type, str)
        or type(size) is not int
        or not 0 <= size < 1 << 63
    ):
        raise Damaged(f"{where} has a malformed descriptor")
    platform = item.get("platform")
    return Descriptor(
        digest,
        size,
        media_type,
        tuple(sorted(annotations_of(item).items())),
        artifact if isinstance(artifact := item.get("artifactType"), str) else "",
        _platform(platform) if isinstance(platform, dict) else "",
    )


def annotations_of(document: Mapping[str, Any]) -> dict[str, str]:
    """The annotations of a document or descriptor; what is malformed is left out."""
    found = document.get("annotations")
    if not isinstance(found, dict):
        return {}
    return {str(key): value for key, value in found.items() if isinstance(value, str)}


def named_blobs(image: Mapping[str, Any], where: str) -> Iterator[Descriptor]:
    """The blobs that a manifest must have beside it: config, layers, an artifact's blobs. Raises Damaged."""
    if isinstance(image.get("config"), dict):
        yield parse_descriptor(image["config"], where)
    for key in ("layers", "blobs"):
        for item in image[key] if isinstance(image.get(key), list) else ():
            # A layer that is to be fetched from elsewhere, as Windows bases have, need not be here.
            if not (isinstance(item, dict) and item.get("urls")):
                yield parse_descriptor(item, where)


def named_manifests(image: Mapping[str, Any], where: str) -> Iterator[Descriptor]:
    """The manifests that an index names. Raises Damaged."""
    for item in image["manifests"] if isinstance(image.get("manifests"), list) else ():
        yield parse_descriptor(item, where)


def _entry(item: Any, where: str) -> Entry | None:
    found = parse_descriptor(item, where)
    if not is_digest(found.digest):
        return None
    annotations = dict(found.annotations)
    name = annotations.get(REF_NAME, "")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = ("", name) if "/" not in name else (name, "latest")
    bare = bool(tag) and not repository
    return Entry(
        found.digest, found.size, found.media_type, repository or annotations.get(REPOSITORY, ""), tag, bare, item
    )


def _names_host(repository: str) -> bool:
    first, slash, _ = repository.partition("/")
    return bool(slash) and bool(_HOST.fullmatch(first))


def _versions(image: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    try:
        listed = json.loads(annotations_of(image).get(VERSIONS, "[]"))
        for item in listed:
            if isinstance(item["name"], str) and isinstance(item["label"], str):
                yield item["name"], item["label"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return


def _platform(platform: Mapping[str, Any]) -> str:
    parts = (platform.get("os"), platform.get("architecture"), platform.get("variant"))
    return "/".join(part for part in parts if isinstance(part, str) and part)
