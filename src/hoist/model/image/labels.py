"""What Hoist writes on images and their layers: the keys of annotations and labels, and the list of versions. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hoist.errors import Damaged, InvalidReference
from hoist.model.manifest import FILEPATH, FileEntry
from hoist.model.reference import check_digest, check_label, check_name

VERSIONS = "dev.hoist.versions"
"""On an image's manifest, and among its config's labels: which versions it holds."""
LAYER = "dev.hoist.layer"
"""On a layer: `file` (one file), `files` (several), or `documents`."""
FILE = "dev.hoist.file"
"""On a layer of one file: the file's digest."""
MOST_VERSIONS = 1000
_MOST_TEXT = 1 << 20

__all__ = ["FILE", "FILEPATH", "LAYER", "VERSIONS", "ImageVersion", "layer_notes", "parse_versions", "versions_text"]


@dataclass(frozen=True, slots=True, order=True)
class ImageVersion:
    """A version that an image holds: its name and label, the digest of its (Hoist) manifest, which is its identity, and the
    diff_id of the layer that has its documents."""

    name: str
    label: str
    digest: str
    documents: str


def versions_text(versions: Iterable[ImageVersion]) -> str:
    """The versions as an annotation or label says them, in order."""
    listed = [
        {"name": each.name, "label": each.label, "digest": each.digest, "documents": each.documents}
        for each in sorted(versions)
    ]
    return json.dumps(listed, sort_keys=True, separators=(",", ":"))


def parse_versions(text: str) -> tuple[ImageVersion, ...]:
    """Read what `versions_text` made, in order. Raises Damaged for anything that is not such a list."""
    if len(text) > _MOST_TEXT:
        raise Damaged(f"{VERSIONS} is too long: {len(text)} characters")
    try:
        listed = json.loads(text)
        found = sorted(
            ImageVersion(
                check_name(each["name"]),
                check_label(each["label"]),
                check_digest(each["digest"]),
                check_digest(each["documents"]),
            )
            for each in listed
        )
    except (ValueError, KeyError, TypeError, RecursionError, InvalidReference) as error:
        raise Damaged(f"{VERSIONS} is malformed: {error}") from None
    if not isinstance(listed, list) or len(found) > MOST_VERSIONS:
        raise Damaged(f"{VERSIONS} is no list of up to {MOST_VERSIONS} versions")
    if len({(each.name, each.label) for each in found}) != len(found):
        raise Damaged(f"{VERSIONS} names one version twice")
    return tuple(found)


def layer_notes(kind: str, files: Sequence[FileEntry]) -> tuple[tuple[str, str], ...]:
    """What an image says of a layer of a kind that holds these files."""
    notes = {LAYER: kind}
    if kind == "file":
        notes |= {FILE: files[0].digest, FILEPATH: files[0].path}
    return tuple(sorted(notes.items()))
