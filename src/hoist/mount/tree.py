"""From what a storage lists to names in folders. Pure.

NAME/LABEL is a version's folder, NAME/TAG a symbolic link to the folder beside it. A model's name has slashes, so folders
nest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from blake3 import blake3

from hoist.model.manifest import FileEntry
from hoist.storage.base import Tag, Version


@dataclass(frozen=True, slots=True)
class Group:
    """A folder that only holds others: a part of a model's name, or a folder inside a version."""


@dataclass(frozen=True, slots=True)
class VersionRoot:
    """A version's own folder, and when it was published (nanoseconds since the epoch; 0: not known, then `digest` tells it
    from another version that had the label before)."""

    version: Version
    published_ns: int
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


GROUP = Group()
Named = Group | VersionRoot | Link | FileEntry
Folder = Mapping[str, Named]
Tree = Mapping[str, Folder]
"""Folders by their paths, `""` the topmost; each one's parent has it by name."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The models, versions and tags of one storage as a tree."""

    tree: Tree = field(default_factory=lambda: {"": {}})

    @property
    def versions(self) -> Iterable[VersionRoot]:
        """All versions."""
        return (item for folder in self.tree.values() for item in folder.values() if isinstance(item, VersionRoot))


def catalogue(versions: Iterable[VersionRoot], tags: Iterable[Tag]) -> Catalogue:
    """The tree of a listing. Where a tag has the name of a folder beside it, the folder is shown, not the tag."""
    tree: dict[str, dict[str, Named]] = {"": {}}
    found = list(versions)
    for root in found:
        folder = _folder(tree, root.version.name)
        folder[root.version.label] = root
    known = {root.version for root in found}
    for tag in tags:
        # A tag of a version that is gone, or a damaged one, would lead nowhere.
        if tag.label and Version(tag.name, tag.label) in known:
            _folder(tree, tag.name).setdefault(tag.tag, Link(tag.label))
    return Catalogue(tree)


def contents(files: Iterable[FileEntry]) -> Tree:
    """The tree inside a version."""
    tree: dict[str, dict[str, Named]] = {"": {}}
    for entry in files:
        path, _, name = entry.path.rpartition("/")
        (tree.get(path) or _folder(tree, path))[name] = Link(entry.link) if entry.link else entry
    return tree


def _folder(tree: dict[str, dict[str, Named]], path: str) -> dict[str, Named]:
    """The folder at `path`, made with all above it if it is not there."""
    found = tree.get(path)
    if found is None:
        above, _, name = path.rpartition("/")
        parent = _folder(tree, above)
        found = tree[path] = {}
        # A version's folder of the same name stays what it is: the storage's rules keep two such things apart.
        parent.setdefault(name, GROUP)
    return found


def file_place(shelf: str, version: Version, digest: str, path: str) -> tuple[str, ...]:
    """What the number of a file is made of: where it is, in the version of this manifest."""
    return ("file", shelf, str(version), digest, path)


def number_of(*parts: str) -> int:
    """A number for what has this path: the same at each mount, above 1 (the root's), below 2 to the 63rd."""
    digest = blake3("\0".join(parts).encode(errors="surrogateescape")).digest(8)
    return (int.from_bytes(digest, "little") >> 1) | 2
