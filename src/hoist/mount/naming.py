"""Which versions and tags a mount shows of a storage: all that it lists, some by references, or each that is asked for.

A bucket may be readable and not listable. Then a version is there if its manifest is; what could be a part of a model's
name is a folder, and a folder shows what has been asked for in it so far.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock

from hoist.errors import (
    FileNotFound,
    InvalidReference,
    PermissionDenied,
    StorageUnavailable,
    StorageUnsupported,
    VersionNotFound,
)
from hoist.model.manifest import digest_of
from hoist.model.reference import Reference, check_name, is_label
from hoist.mount.tree import GROUP, Catalogue, Link, Named, VersionRoot, catalogue
from hoist.storage.base import Storage, Tag, Version

UNLISTED = (PermissionDenied, FileNotFound, StorageUnsupported)
"""What a listing raises where there is none: a bucket that refuses it, a web server that knows only files."""
_MOST_KNOWN = 10_000


def list_all(storage: Storage) -> Catalogue:
    """All versions and tags of a storage. Raises one of UNLISTED where it may not be listed."""
    roots = [VersionRoot(version, int(at * 10**9)) for version, at in storage.dated_versions()]
    return catalogue(roots, storage.tags())


def find_chosen(storage: Storage, references: Sequence[Reference], *, strict: bool) -> Catalogue:
    """What the references mean by now, versions and tags. Those that are not there raise VersionNotFound if `strict`."""
    dates: dict[Version, float] = {}
    # Where it may not be listed, their times are not known.
    with suppress(*UNLISTED):
        dates = dict(storage.dated_versions())
    roots: dict[Version, VersionRoot] = {}
    tags: list[Tag] = []
    for reference in references:
        try:
            version, manifest = storage.resolve(reference)
        except VersionNotFound:
            if strict:
                raise
            continue
        at = dates.get(version)
        roots[version] = VersionRoot(version, int(at * 10**9)) if at else VersionRoot(version, 0, manifest.digest)
        if reference.label and reference.label != version.label:
            tags.append(Tag(version.name, reference.label, version.label, manifest.digest))
    return catalogue(roots.values(), tags)


class ByName:
    """The names of a storage that may not be listed, each asked for by itself and remembered for `seconds`."""

    def __init__(self, storage: Storage, seconds: float) -> None:
        self._storage = storage
        self._seconds = seconds
        self._lock = Lock()
        self._known: OrderedDict[tuple[str, str], tuple[float, Named | None]] = OrderedDict()

    def is_known(self, path: str, name: str) -> bool:
        """Whether the storage need not be asked for a name in a folder."""
        found = self._known.get((path, name))
        return found is not None and time.monotonic() < found[0]

    def find(self, path: str, name: str) -> Named | None:
        """What a name in a folder is; None if it is nothing. Raises what a storage may."""
        known = self._known.get((path, name))
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        try:
            found = self._ask(path, name)
        except StorageUnavailable:
            if known is None:
                raise
            return known[1]
        with self._lock:
            self._known[path, name] = (time.monotonic() + self._seconds, found)
            self._known.move_to_end((path, name))
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return found

    def catalogue(self) -> Catalogue:
        """The versions and tags that were found so far."""
        with self._lock:
            found = [(path, name, named) for (path, name), (_, named) in self._known.items()]
        roots = [named for _, _, named in found if isinstance(named, VersionRoot)]
        tags = [Tag(path, name, named.target, "") for path, name, named in found if isinstance(named, Link)]
        return catalogue(roots, tags)

    def _ask(self, path: str, name: str) -> Named | None:
        if _is_name(path) and is_label(name):
            version = Version(path, name)
            # Who may not list is refused what is not there, as if it were a secret.
            with suppress(VersionNotFound, PermissionDenied):
                return VersionRoot(version, 0, digest_of(self._storage.read_manifest(version)))
            with suppress(PermissionDenied):
                tag = self._storage.find_tag(path, name)
                if tag and tag.label:
                    return Link(tag.label)
        return GROUP if _is_name(f"{path}/{name}" if path else name) else None


def _is_name(text: str) -> bool:
    try:
        check_name(text)
    except InvalidReference:
        return False
    return True
