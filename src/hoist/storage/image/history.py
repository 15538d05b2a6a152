"""The history of a tag in a repository: an artifact under TAG-history, written before the tag is moved.

It has no bytes of its own: the moves are an annotation of its manifest, so that it takes one request to read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from hoist.errors import Conflict, Damaged, FileNotFound, HoistError, InvalidReference
from hoist.model.image.descriptor import Descriptor
from hoist.model.image.documents import MANIFEST_TYPE, ImageManifest, parse_image
from hoist.model.reference import is_label
from hoist.storage.moves import TagMove, read_moves, write_moves
from hoist.storage.oci.manifests import EMPTY_CONFIG, EMPTY_TYPE
from hoist.storage.oci.repositories import Repositories, put_small

SUFFIX = "-history"
ARTIFACT_TYPE = "application/vnd.hoist.tag-history.v1+json"
_MOVES = "dev.hoist.tag.moves"
_TAG = "dev.hoist.tag"


@dataclass(frozen=True, slots=True)
class History:
    """The moves of a tag as they are written down, and the digest of the artifact; empty if there is none yet."""

    moves: Sequence[TagMove]
    digest: str


def check_free(label: str) -> None:
    """Raise InvalidReference for what would be taken for a history."""
    if label.endswith(SUFFIX):
        raise InvalidReference(f"{label!r}: names that end with {SUFFIX} are those of tags' histories in a registry")


def without_histories(tags: Iterable[str]) -> list[str]:
    """The tags that are not another's history."""
    found = list(tags)
    known = set(found)
    return [tag for tag in found if not (tag.endswith(SUFFIX) and tag.removesuffix(SUFFIX) in known)]


def read_history(place: Repositories, repository: str, name: str, tag: str) -> History:
    """What is written down of a tag. Raises Conflict if something else lies there."""
    if not _has_room(tag):
        return History((), "")
    try:
        document = place.manifest(repository, tag + SUFFIX)
    except FileNotFound:
        return History((), "")
    found = _parsed(document.data, document.media_type)
    if found is None:
        raise Conflict(f"{name}:{tag}{SUFFIX} in {place.address} is no history of {name}:{tag}: move it away")
    return History(_moves(found, name, tag), document.digest)


def write_history(place: Repositories, repository: str, tag: str, moves: Sequence[TagMove]) -> None:
    """Write down the moves of a tag, in the place of those that were."""
    if not _has_room(tag):
        return
    empty = Descriptor(put_small(place, repository, EMPTY_CONFIG), len(EMPTY_CONFIG), EMPTY_TYPE)
    notes = ((_TAG, tag), (_MOVES, json.dumps(write_moves(moves), sort_keys=True)))
    data = ImageManifest(empty, (empty,), notes, artifact_type=ARTIFACT_TYPE).to_bytes()
    place.put_manifest(repository, tag + SUFFIX, data, MANIFEST_TYPE)


def drop_history(place: Repositories, repository: str, digest: str) -> None:
    """Forget a history; one that stays harms nobody."""
    if digest:
        with suppress(HoistError):
            place.delete_manifest(repository, digest)


def drop_orphans(place: Repositories, repository: str) -> None:
    """Forget the histories of tags that went with their version."""
    with suppress(HoistError):
        tags = place.tags(repository)
        for tag in tags:
            if tag.endswith(SUFFIX) and tag.removesuffix(SUFFIX) not in tags:
                document = place.manifest(repository, tag)
                if _parsed(document.data, document.media_type):
                    drop_history(place, repository, document.digest)


def _has_room(tag: str) -> bool:
    """Whether there can be a history: not where its name would be too long for a registry."""
    return is_label(tag + SUFFIX)


def _parsed(data: bytes, media_type: str) -> ImageManifest | None:
    try:
        found = parse_image(data, media_type)
    except Damaged:
        return None
    return found if isinstance(found, ImageManifest) and found.artifact_type == ARTIFACT_TYPE else None


def _moves(found: ImageManifest, name: str, tag: str) -> list[TagMove]:
    try:
        return read_moves(json.loads(dict(found.annotations).get(_MOVES, "[]")), name, tag)
    except (ValueError, RecursionError):
        return []
