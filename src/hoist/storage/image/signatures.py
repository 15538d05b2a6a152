"""Signatures of versions in images: artifacts whose subject is the image, as those of cosign, of one layer: the bundle."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from itertools import islice

from hoist.errors import Damaged, FileNotFound
from hoist.model.image.descriptor import Descriptor
from hoist.model.image.documents import MANIFEST_TYPE, ImageManifest
from hoist.model.manifest import digest_of
from hoist.signing.bundle import MEDIA_TYPE, MOST_SIGNATURE_BYTES, parse_bundle
from hoist.signing.statement import PREDICATE_TYPE
from hoist.storage.base import Version
from hoist.storage.image.opened import Image
from hoist.storage.oci.index import annotations_of
from hoist.storage.oci.manifests import EMPTY_CONFIG, EMPTY_TYPE
from hoist.storage.oci.referrers import list_referrer, unlist_referrers
from hoist.storage.oci.repositories import Repositories, put_small

# An image may hold several versions: of which one it is, by whom, and the digest of the bundle, so that no manifest has to
# be read for it.
_VERSION, _SIGNER, _BUNDLE = "dev.hoist.version", "dev.hoist.signer", "dev.hoist.bundle"
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
    layer = Descriptor(put_small(place, image.repository, data), len(data), MEDIA_TYPE)
    empty = Descriptor(put_small(place, image.repository, EMPTY_CONFIG), len(EMPTY_CONFIG), EMPTY_TYPE)
    notes = {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": PREDICATE_TYPE,
        _VERSION: str(version),
        _SIGNER: bundle.signer,
        _BUNDLE: layer.digest,
    }
    told = tuple(sorted(notes.items()))
    signed = image.document
    subject = Descriptor(signed.digest, len(signed.data), signed.media_type)
    document = ImageManifest(empty, (layer,), told, artifact_type=MEDIA_TYPE, subject=subject).to_bytes()
    digest = digest_of(document)
    place.put_manifest(image.repository, digest, document, MANIFEST_TYPE)
    made = Descriptor(digest, len(document), MANIFEST_TYPE, told, MEDIA_TYPE)
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
