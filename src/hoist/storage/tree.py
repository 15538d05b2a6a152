"""Versions as a plain tree of keys, with the hidden folder beside them: the storage behind `nas`, `oss` and memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hoist.errors import Conflict, Damaged, FileNotFound, HoistError, VersionNotFound
from hoist.model.manifest import FileEntry, Manifest, digest_of
from hoist.model.packs import may_have_packs
from hoist.storage import layout, restoring
from hoist.storage.base import Content, Leftover, Neighbours, Publication, Storage, StoredFile, Tag, Version
from hoist.storage.claim import Claimant
from hoist.storage.leftovers import collect_leftover, find_leftovers
from hoist.storage.moves import ANY, TagMove, Whatever, check_untagged
from hoist.storage.objects import Objects
from hoist.storage.publication import TreePublication
from hoist.storage.removal import Removal
from hoist.storage.seen import Seen, md5_of_tag, read_seen
from hoist.storage.signatures import find_signatures, keep_signature
from hoist.storage.staging import Staging
from hoist.storage.tree_staging import TreeStaging
from hoist.storage.tree_tags import TreeTags

_ANNOUNCED_TIMES = 3


class TreeStorage(Storage):
    """A storage over any place of plain keys; `layout` says what lies where."""

    def __init__(self, objects: Objects, kind: str) -> None:
        self.objects = objects
        self.address = objects.address
        self.kind = kind
        self.traits = objects.traits
        self._tags = TreeTags(objects)

    def versions(self, name: str = "") -> Iterator[Version]:
        keys = (info.key for info in self.objects.list(layout.VERSIONS + (f"{name}/" if name else "")))
        found = (layout.version_of_manifest(key) for key in keys)
        # Not in order of the keys, where `any-x/` comes before `any/`.
        yield from sorted(version for version in found if version and name in ("", version.name))

    def dated_versions(self) -> Iterator[tuple[Version, float]]:
        infos = ((layout.version_of_manifest(info.key), info.modified) for info in self.objects.list(layout.VERSIONS))
        yield from sorted((version, modified) for version, modified in infos if version)

    def seen_versions(self, name: str = "") -> Mapping[Version, Seen]:
        found: dict[Version, Seen] = {}
        unsure: list[tuple[Version, float]] = []
        signers: defaultdict[Version, set[str]] = defaultdict(set)
        for info in self.objects.list(layout.VERSIONS + (f"{name}/" if name else "")):
            signed = layout.version_of_document(info.key) if layout.is_signature(info.key) else None
            if signed:
                signers[signed].add(info.key.rpartition("/")[2])
            version = layout.version_of_manifest(info.key)
            if version is None or name not in ("", version.name):
                continue
            md5 = md5_of_tag(info.etag)
            if md5:
                found[version] = Seen(info.modified, md5=md5)
            else:
                unsure.append((version, info.modified))
        found |= read_seen(self, unsure)
        return {version: replace(seen, signers=frozenset(signers.get(version, ()))) for version, seen in found.items()}

    def tags(self, name: str = "") -> Iterator[Tag]:
        return self._tags.all(name)

    def find_tag(self, name: str, tag: str) -> Tag | None:
        held = self._tags.held(name, tag)
        return held.tag if held else None

    def tag_moves(self, name: str, tag: str = "") -> Sequence[TagMove]:
        return self._tags.moves(name, tag)

    def read_manifest(self, version: Version) -> bytes:
        try:
            return self.objects.get(layout.manifest_key(version)).data
        except FileNotFound:
            raise VersionNotFound(f"{self.address} has no version {version}") from None

    def read_blob(self, version: Version, digest: str, size: int) -> bytes:
        data = bytearray(size)
        # As weights are read: its connection is the one that they will use.
        self.objects.read_into(layout.blob_key(version, digest), 0, memoryview(data))
        return bytes(data)

    def read_into(self, file: StoredFile, offset: int, buffer: memoryview) -> None:
        self.objects.read_into(layout.file_key(file.version, file.entry.path), offset, buffer)

    def read_packs(self, version: Version, manifest_digest: str, most: int) -> bytes:
        key = layout.packs_key(version, manifest_digest)
        size = self.objects.head(key).size
        if size > most:
            raise Damaged(f"the pack index of {version} in {self.address} is too large: {size} bytes")
        data = bytearray(size)
        self.objects.read_into(key, 0, memoryview(data))
        return bytes(data)

    def read_pack_into(self, version: Version, pack: str, offset: int, buffer: memoryview) -> None:
        self.objects.read_into(layout.pack_key(version, pack), offset, buffer)

    def first_byte_seconds(self) -> float | None:
        return self.objects.first_byte_seconds()

    def throttled(self) -> int:
        return self.objects.throttled()

    def local_path(self, file: StoredFile) -> Path | None:
        return self.objects.local_path(layout.file_key(file.version, file.entry.path))

    def occupied(self, version: Version, *, replace_unfinished: bool = False) -> bool:
        self._refuse_tag(version)
        return Claimant(self.objects, version, "").occupied(replace=replace_unfinished)

    def staging(self, version: Version, sizes: Collection[int], journals: Path | None = None) -> Staging | None:
        if self.objects.staged_from is None:
            return None
        return TreeStaging(self.objects, version, sizes, journals)

    def begin(self, version: Version, digest: str, *, replace_unfinished: bool = False) -> Publication:
        self._refuse_tag(version)
        resumed = Claimant(self.objects, version, digest).begin(replace=replace_unfinished)
        return TreePublication(self.objects, self.address, version, digest, resumed=resumed)

    def set_tag(self, tag: Tag, *, before: Tag | Whatever | None = ANY, note: str = "") -> None:
        self._tags.set(tag, before, note)

    def remove_tag(self, name: str, tag: str) -> None:
        if self.find_tag(name, tag) is None:
            raise VersionNotFound(f"{self.address} has no tag {name}:{tag}")
        self.objects.delete([layout.tag_key(name, tag)])

    def remove(self, version: Version, *, unless_tagged: bool = False) -> None:
        manifest = Manifest.parse(self.read_manifest(version))
        # A removal that is killed leaves a claim, by which the rest can be found.
        removal = Removal(self.objects, version, manifest.digest)
        if unless_tagged:
            self._announce(removal, version)
        else:
            removal.announce()
        self.objects.delete([layout.manifest_key(version)])
        if unless_tagged:
            self._tags.heal(version)
        keys = [layout.file_key(version, file.path) for file in manifest.files]
        keys += [layout.blob_key(version, blob.digest) for blob in (manifest.config, manifest.blocks)]
        keys += [layout.marker_key(file.digest, version) for file in manifest.files if layout.is_marked(file)]
        # Signatures and packs that are there, and not those that an index names: it may be damaged, or not the only one.
        for info in self.objects.list(layout.blob_key(version, "")):
            pack = layout.pack_of(info.key) if may_have_packs(manifest) else None
            if pack is not None or layout.is_signature(info.key):
                keys += [info.key] + ([layout.marker_key(pack, version)] if pack else [])
        self.objects.delete(keys)
        removal.end()

    def signatures(self, version: Version, hints: Collection[str] = ()) -> Sequence[bytes]:
        return find_signatures(self.objects, version, hints)

    def add_signature(self, version: Version, digest: str, data: bytes) -> None:
        keep_signature(self.objects, version, digest_of(self.read_manifest(version)), digest, data)

    def leftovers(self, older_than: float) -> Sequence[Leftover]:
        return find_leftovers(self.objects, older_than)

    def collect(self, leftover: Leftover, older_than: float) -> bool:
        return collect_leftover(self.objects, leftover, older_than)

    def stored_sizes(self, version: Version, path: str = "") -> Mapping[str, int] | None:
        if path:
            with suppress(FileNotFound):
                return {path: self.objects.head(layout.file_key(version, path)).size}
            return {}
        folder = layout.file_key(version, "")
        return {info.key.removeprefix(folder): info.size for info in self.objects.list(folder)}

    def restore_file(
        self, version: Version, entry: FileEntry, content: Content, neighbours: Neighbours | None = None
    ) -> None:
        restoring.restore_file(self.objects, version, entry, content)

    def restore_from(self, version: Version, entry: FileEntry, held: StoredFile) -> bool:
        return restoring.restore_from(self.objects, version, entry, layout.file_key(held.version, held.entry.path))

    def restore_document(self, version: Version, data: bytes) -> None:
        restoring.restore_document(self.objects, version, data)

    def restore_manifest(self, version: Version, data: bytes) -> None:
        restoring.restore_manifest(self.objects, version, data)

    def exclusive(self) -> bool:
        return self.objects.conditional()

    def close(self) -> None:
        self.objects.close()

    def _announce(self, removal: Removal, version: Version) -> None:
        """Announce a removal, and see then that no tag names the version. Raises Conflict."""
        for _ in range(_ANNOUNCED_TIMES):
            if not removal.announce():
                break
            try:
                check_untagged(self.address, version, self.tags(version.name))
                if removal.holds():
                    return
            except BaseException:
                with suppress(HoistError):
                    removal.end()
                raise
        raise Conflict(f"somebody else publishes, tags or removes {version} in {self.address} just now: look again")

    def _refuse_tag(self, version: Version) -> None:
        if self.find_tag(version.name, version.label):
            raise Conflict(f"{version} is a tag in {self.address}: publish under another label, then move the tag")
