"""What refers to a manifest, where a registry does not list it by itself: clients keep an index under a tag then."""

from __future__ import annotations

import json
from collections.abc import Collection

from hoist.errors import FileNotFound
from hoist.model.image.descriptor import Descriptor
from hoist.model.image.documents import INDEX_TYPE, ImageIndex
from hoist.storage.oci.manifests import descriptors_of
from hoist.storage.oci.repositories import Repositories


def list_referrer(place: Repositories, repository: str, subject: str, referrer: Descriptor) -> None:
    """See to it that `referrer`, which was put, is listed among those of `subject`: the distribution specification says how.

    Two clients that do so in the same moment may lose one of the two, where there is no list of the registry's own.
    """
    listed = {one.digest: one for one in place.referrers(repository, subject)}
    if referrer.digest not in listed:
        data = ImageIndex((*listed.values(), referrer)).to_bytes()
        place.put_manifest(repository, _tag(subject), data, INDEX_TYPE)


def unlist_referrers(place: Repositories, repository: str, subject: str, gone: Collection[str]) -> None:
    """Take those that were deleted out of the index, if clients kept one; and the index, if it is empty then."""
    try:
        document = place.manifest(repository, _tag(subject))
        listed = descriptors_of(json.loads(document.data))
    except (FileNotFound, ValueError, RecursionError, AttributeError):
        return
    left = tuple(one for one in listed if one.digest not in gone)
    if not left:
        place.delete_manifest(repository, document.digest)
    elif len(left) < len(listed):
        place.put_manifest(repository, _tag(subject), ImageIndex(left).to_bytes(), INDEX_TYPE)


def _tag(subject: str) -> str:
    return subject.replace(":", "-")
