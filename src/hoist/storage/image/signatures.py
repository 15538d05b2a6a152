"""Signatures of versions in images: artifacts whose subject is the image, as those of cosign, of one layer: the bundle."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from itertools import islice

from hoist.errors import Damaged, FileNotFound
from hoist.model.image.descriptor import Descriptor
from hoist.model.image.documents import MANIFEST_TYPE
from hoist.model.manifest import canonical, digest_of
from hoist.signing.bundle import MEDIA_TYPE, MOST_SIGNATURE_BYTES, parse_bundle
from hoist.signing.statement import PREDICATE_TYPE
from hoist.storage.base import Version
from hoist.storage.image.opened import Image
from hoist.storage.oci.index import annotations_of
from hoist.storage.oci.manifests import EMPTY_CONFIG
from hoist.storage.oci.referrers import list_referrer, unlist_referrers
from hoist.storage.oci.repositories import Repositories, slices

# An image may hold several versions: of which one it is, by whom, and the digest of the bundle, so that no manifest has to
# be read for it.
_VERSION, _SIGNER, _BUNDLE = "dev.hoist.version", "dev.hoist.signer", "dev.hoist.bundle"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_MOST_SIGNATURES = 64


def read_signatures(place: Repositories, image: Image, version: Version, hints: Collection[str]) -> Sequence[bytes]:
    """See Storage.signatures. One request that lists, and one for each signature."""
    found = []
    for _, notes in islice(_signatures(place, image), _MOST_SIGNATURES):
        if notes.get(_VERSION) == str(version) and (not hints or notes[_SIGNER] in hints):
            with suppress(FileNotFound):
                found.append(place.read_blob(image.repository, notes[_BUNDLE], MOST_SIGNATURE_BYTES))
    return found


def put_signature(place: Repositories, image: Image, version: Version, data: bytes) -> None:
    """See Storage.add_signature."""
    bundle = parse_bundle(data)
    for blob in (data, EMPTY_CONFIG):
        place.put_blob(image.repository, digest_of(blob), len(blob), lambda at, blob=blob: slices(blob, at), _nothing)  # type: ignore[misc]
    notes = {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": PREDICATE_TYPE,
        _VERSION: str(version),
        _SIGNER: bundle.signer,
        _BUNDLE: digest_of(data),
    }
    subject = image.document
    document = canonical(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": MEDIA_TYPE,
            "config": _descriptor(EMPTY_CONFIG, _EMPTY_TYPE),
            "layers": [_descriptor(data, MEDIA_TYPE)],
            "subject": _descriptor(subject.data, subject.media_type),
            "annotations": notes,
        }
    )
    digest = digest_of(document)
    place.put_manifest(image.repository, digest, document, MANIFEST_TYPE)
    made = Descriptor(digest, len(document), MANIFEST_TYPE, tuple(sorted(notes.items())), MEDIA_TYPE)
    list_referrer(place, image.repository, subject.digest, made)


def drop_signatures(place: Repositories, image: Image, found: Sequence[str]) -> None:
    """Delete the signatures of an image that is gone; `found` are their digests, as `signatures_of` gave them before."""
    for digest in found:
        with suppress(FileNotFound):
            place.delete_manifest(image.repository, digest)
    if found:
        unlist_referrers(place, image.repository, image.document.digest, found)


def signatures_of(place: Repositories, image: Image) -> list[str]:
    """The digests of all signatures of an image, of whichever version in it."""
    return [each.digest for each, _ in _signatures(place, image)]


def _signatures(place: Repositories, image: Image) -> Iterator[tuple[Descriptor, dict[str, str]]]:
    for each in place.referrers(image.repository, image.document.digest):
        if each.artifact_type not in (MEDIA_TYPE, ""):
            continue
        # Not every registry's list has the annotations.
        notes = dict(each.annotations) or _annotations(place, image.repository, each.digest)
        if _SIGNER in notes and _BUNDLE in notes:
            yield each, notes


def _annotations(place: Repositories, repository: str, digest: str) -> dict[str, str]:
    try:
        return annotations_of(json.loads(place.manifest(repository, digest).data))
    except (FileNotFound, Damaged, ValueError, RecursionError, AttributeError):
        return {}


def _descriptor(data: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def _nothing(count: int) -> None:
    """Nobody wants to know how much of a signature was sent."""
