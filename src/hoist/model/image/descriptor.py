"""OCI descriptors: how a document names a blob or another document. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hoist.model.reference import is_digest

_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a document says of a blob or manifest: its digest `sha256:HEX`, size in bytes, media type and notes."""

    digest: str
    size: int
    media_type: str
    annotations: tuple[tuple[str, str], ...] = ()
    artifact_type: str = ""
    platform: str = ""
    """`OS/ARCHITECTURE[/VARIANT]`, in an index."""

    def note(self, key: str) -> str:
        """One annotation, or nothing."""
        return next((value for name, value in self.annotations if name == key), "")


def as_json(descriptor: Descriptor) -> dict[str, Any]:
    """A descriptor as it stands in a document."""
    found: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.annotations:
        found["annotations"] = dict(descriptor.annotations)
    if descriptor.artifact_type:
        found["artifactType"] = descriptor.artifact_type
    if descriptor.platform:
        keys = ("os", "architecture", "variant")
        found["platform"] = dict(zip(keys, descriptor.platform.split("/"), strict=False))
    return found


def from_json(document: Any) -> Descriptor:
    """Read a descriptor. Raises ValueError, KeyError or TypeError for anything but a well-formed one."""
    if not isinstance(document, Mapping):
        raise TypeError("a descriptor is no object")
    digest, size, media_type = document["digest"], document["size"], document["mediaType"]
    if not isinstance(digest, str) or not is_digest(digest):
        raise ValueError(f"a bad digest {digest!r}: it must be sha256")
    if type(size) is not int or not 0 <= size < 1 << 63:
        raise ValueError(f"a bad size {size!r}")
    if not isinstance(media_type, str) or not _TYPE.fullmatch(media_type):
        raise ValueError(f"a bad media type {media_type!r}")
    notes = document.get("annotations") or {}
    if not isinstance(notes, Mapping):
        raise TypeError("annotations are no object")
    platform = document.get("platform") or {}
    if not isinstance(platform, Mapping):
        raise TypeError("a platform is no object")
    return Descriptor(
        digest,
        size,
        media_type,
        tuple(sorted((key, value) for key, value in notes.items() if isinstance(value, str))),
        str(document.get("artifactType") or ""),
        "/".join(str(platform[key]) for key in ("os", "architecture", "variant") if platform.get(key)),
    )
