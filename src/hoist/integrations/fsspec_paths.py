"""Paths of the file system `hoist://`: what each names. Pure.

    nas                                     a storage
    nas//sd15                               a folder of models
    nas//sd15/anything:v5                   a version, by label, tag or digest: a folder
    nas//sd15/anything:v5/vae/config.json   a file or folder of it

The storage may be a URL or a path too: `s3://models/prefix//sd15/anything:v5/model.safetensors`.
"""

from __future__ import annotations

from dataclasses import dataclass

from hoist.errors import InvalidReference
from hoist.model.reference import Reference, parse_reference, split_location


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names: a storage, a folder of models in it (`names`), or a version and a `file` in it."""

    storage: str
    names: str = ""
    reference: Reference | None = None
    file: str = ""

    @property
    def version(self) -> str:
        """The path of the version that the place is in."""
        return f"{self.storage}//{self.reference}"


def parse_path(path: str) -> Place:
    """What a path without its protocol names. Raises InvalidReference."""
    try:
        storage, rest = split_location(path)
    except InvalidReference:
        return Place(path)
    colon, at = rest.find(":"), rest.find("@")
    marks = [found for found in (colon, at) if found >= 0]
    if not marks:
        return Place(storage, rest.strip("/"))
    head, slash, file = rest[min(marks) :].partition("/")
    return Place(storage, reference=parse_reference(rest[: min(marks)] + head), file=file.strip("/") if slash else "")


def parent_of(path: str) -> str:
    """The folder that a path lies in; a storage lies in none."""
    try:
        storage, rest = split_location(path)
    except InvalidReference:
        return ""
    above = rest.strip("/").rpartition("/")[0]
    return f"{storage}//{above}" if above else storage
