"""Removing a version or a tag."""

from __future__ import annotations

from hoist.errors import Conflict, VersionNotFound
from hoist.model.reference import Reference
from hoist.storage.base import Storage, Tag, Version


def remove_reference(storage: Storage, reference: Reference, *, force: bool = False) -> Version | Tag:
    """Remove the tag or the version that `reference` names; a version by digest too.

    Raises VersionNotFound; Conflict for a version that has tags, unless `force`, which removes them first.
    """
    if reference.label:
        version = Version(reference.name, reference.label)
        try:
            storage.read_manifest(version)
        except VersionNotFound:
            found = storage.find_tag(reference.name, reference.label)
            if found is None:
                storage.resolve(reference)
                raise
            storage.remove_tag(reference.name, reference.label)
            return found
    else:
        version, _ = storage.resolve(reference)
    tags = [tag for tag in storage.tags(version.name) if tag.label == version.label]
    if tags and not force:
        names = ", ".join(tag.tag for tag in tags)
        raise Conflict(f"{version} has the tags {names}: move or remove them first, or --force to remove them too")
    for tag in tags:
        storage.remove_tag(tag.name, tag.tag)
    storage.remove(version, unless_tagged=True)
    return version
