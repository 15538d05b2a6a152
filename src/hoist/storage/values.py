"""What storages are asked about, in small values: versions, their files, tags, traits, leftovers. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from hoist.model.manifest import FileEntry


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A model's name and the label of one of its versions."""

    name: str
    label: str

    def __str__(self) -> str:
        return f"{self.name}:{self.label}"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a version, as `read_into` wants it."""

    version: Version
    entry: FileEntry

    def __str__(self) -> str:
        return f"{self.version}/{self.entry.path}"


@dataclass(frozen=True, slots=True)
class Tag:
    """A movable name for a version; `digest` is the manifest's when the tag was set. A damaged tag has no `label`."""

    name: str
    tag: str
    label: str
    digest: str


@dataclass(frozen=True, slots=True)
class Traits:
    """What the reading engine should know of a storage.

    `request_bytes`: how much one request should ask for. `connections`: how many requests at once usually serve it
    well, to begin with; `most_connections`: how many to try, if more bring more. `packs`: each request is dear, so that
    small files are packed when they are published. `gives_up`: a read heeds `storage/limits.py`, or never waits for
    anything but this machine.
    """

    request_bytes: int = 8 << 20
    connections: int = 8
    most_connections: int = 16
    packs: bool = False
    gives_up: bool = False


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that a killed publish or removal has left. `kind`: `publish` (an unfinished version's claim, files and
    documents), `upload` (a file on its way, seen by nobody), `document` or `marker` (of a version that is not there;
    also packs that no version names)."""

    kind: str
    name: str
    size: int
    modified: float
    token: str = ""
