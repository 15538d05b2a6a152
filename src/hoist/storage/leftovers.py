"""What killed publishes and removals have left in a tree of keys, and deleting it without touching a version.

Whatever lies under a label is deleted only while its claim is held: so nobody can be publishing it, and a publisher that
wakes up after days finds that it has lost the label.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from hoist.errors import Conflict, FileNotFound, HoistError
from hoist.model.manifest import Manifest
from hoist.model.packs import PackIndex
from hoist.storage import layout
from hoist.storage.base import Leftover, Version
from hoist.storage.claim import Claimant
from hoist.storage.objects import ObjectInfo, Objects, Unfinished, exists

# What holds a label while its leftovers are deleted: no content has this digest.
_COLLECTOR = "collect"


def find_leftovers(objects: Objects, older_than: float) -> Sequence[Leftover]:
    """See Storage.leftovers."""
    documents: dict[Version, list[ObjectInfo]] = defaultdict(list)
    committed: dict[Version, ObjectInfo] = {}
    for info in objects.list(layout.VERSIONS):
        version = layout.version_of_manifest(info.key)
        if version:
            committed[version] = info
        elif version := layout.version_of_document(info.key):
            documents[version].append(info)
    claimed: dict[Version, ObjectInfo] = {}
    for info in objects.list(layout.CLAIMS):
        if version := layout.version_of_tail(info.key.removeprefix(layout.CLAIMS)):
            claimed[version] = info
    found = [*_publishes(objects, claimed, committed, documents), *_documents(objects, claimed, committed, documents)]
    found += _markers(objects, committed)
    found += [Leftover("upload", item.key, item.size, item.modified, item.token) for item in objects.unfinished()]
    return sorted((item for item in found if item.modified < older_than), key=lambda item: (item.kind, item.name))


def collect_leftover(objects: Objects, leftover: Leftover, older_than: float) -> bool:
    """See Storage.collect."""
    if leftover.kind == "upload":
        try:
            objects.drop_unfinished(Unfinished(leftover.name, leftover.token, leftover.size, leftover.modified))
        except Conflict:
            return False
        return True
    if leftover.kind == "marker":
        _, _, tail = leftover.name.removeprefix(layout.FILES).partition("/")
        version = layout.version_of_tail(tail)
        if version and exists(objects, layout.manifest_key(version)):
            return False
        objects.delete([leftover.name])
        return True
    if leftover.kind == "document":
        version = layout.version_of_document(leftover.name)
        return version is not None and _collect_label(objects, version, older_than, [leftover.name])
    version = layout.version_of_tail(leftover.name.removeprefix(layout.CLAIMS))
    return version is not None and _collect_label(objects, version, older_than, None)


def _collect_label(objects: Objects, version: Version, older_than: float, keys: list[str] | None) -> bool:
    """Delete `keys`, or all that lies under the label of a version that is not there; then the label is free."""
    claimant = Claimant(objects, version, _COLLECTOR)
    if not claimant.seize(older_than):
        return False
    try:
        named = _named(objects, version)
        if keys is None and named is None:
            # The documents go last: by them a run that is killed here is found again, if its claim were lost.
            keys = [info.key for info in objects.list(layout.file_key(version, ""))]
            keys += [info.key for info in objects.list(layout.blob_key(version, ""))]
        # A version that is there may have been signed since.
        objects.delete([key for key in keys or [] if named is None or not (key in named or layout.is_signature(key))])
    except Conflict:
        return False
    held = claimant.held()
    if held and held.digest == _COLLECTOR:
        claimant.drop()
    return True


def _named(objects: Objects, version: Version) -> set[str] | None:
    """The documents that a version needs; None if there is no such version. Raises Conflict if that cannot be read."""
    try:
        manifest = Manifest.parse(objects.get(layout.manifest_key(version)).data)
    except FileNotFound:
        return None
    except HoistError:
        raise Conflict(f"{version} has a manifest that cannot be read: nothing of it is deleted") from None
    named = {layout.blob_key(version, blob.digest) for blob in (manifest.config, manifest.blocks)}
    return named | {layout.manifest_key(version)} | _packs(objects, version, manifest)


def _packs(objects: Objects, version: Version, manifest: Manifest) -> set[str]:
    """The pack index of a version and its packs; all that there are, if the index cannot be read: a newer Hoist may."""
    key = layout.packs_key(version, manifest.digest)
    try:
        index = PackIndex.parse(objects.get(key).data, manifest)
    except FileNotFound:
        return set()
    except HoistError:
        keys = (info.key for info in objects.list(layout.blob_key(version, "")))
        return {key for key in keys if layout.pack_of(key) is not None}
    return {key} | {layout.pack_key(version, pack.digest) for pack in index.packs}


def _publishes(
    objects: Objects,
    claimed: dict[Version, ObjectInfo],
    committed: dict[Version, ObjectInfo],
    documents: dict[Version, list[ObjectInfo]],
) -> Iterator[Leftover]:
    for version, claim in claimed.items():
        parts = [claim]
        if version not in committed:
            parts += [*objects.list(layout.file_key(version, "")), *documents.get(version, ())]
        size = sum(info.size for info in parts)
        yield Leftover("publish", claim.key, size, max(info.modified for info in parts))


def _documents(
    objects: Objects,
    claimed: dict[Version, ObjectInfo],
    committed: dict[Version, ObjectInfo],
    documents: dict[Version, list[ObjectInfo]],
) -> Iterator[Leftover]:
    """Documents of no version; also those that a publish which was taken over left beside the winner's."""
    for version, found in documents.items():
        infos = [info for info in found if version not in committed or not layout.is_signature(info.key)]
        if version in claimed or (version in committed and len(infos) <= 2):
            continue
        try:
            named = _named(objects, version) or set()
        except Conflict:
            continue
        yield from (_leftover("document", info) for info in infos if info.key not in named)


def _markers(objects: Objects, committed: Iterable[Version]) -> Iterator[Leftover]:
    for info in objects.list(layout.FILES):
        _, _, tail = info.key.removeprefix(layout.FILES).partition("/")
        version = layout.version_of_tail(tail)
        if version and version not in committed:
            yield _leftover("marker", info)


def _leftover(kind: str, info: ObjectInfo) -> Leftover:
    return Leftover(kind, info.key, info.size, info.modified)
