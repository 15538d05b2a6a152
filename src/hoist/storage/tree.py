"""Versions as a plain tree of keys, with the hidden folder beside them: the storage behind `nas`, `oss` and memory."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator
from typing import Any

from hoist.errors import Conflict, FileNotFound, VersionNotFound
from hoist.model.manifest import FileEntry, Manifest, digest_of
from hoist.storage import layout
from hoist.storage.base import Publication, Storage, StoredFile, Tag, Version
from hoist.storage.objects import Objects
from hoist.storage.publication import TreePublication


class TreeStorage(Storage):
    """A storage over any place of plain keys; `layout` says what lies where."""

    def __init__(self, objects: Objects, kind: str) -> None:
        self.objects = objects
        self.address = objects.address
        self.kind = kind
        self.traits = objects.traits

    def versions(self, name: str = "") -> Iterator[Version]:
        for info in self.objects.list(layout.VERSIONS + (f"{name}/" if name else "")):
            version = layout.version_of_manifest(info.key)
            if version and name in ("", version.name):
                yield version

    def tags(self, name: str = "") -> Iterator[Tag]:
        for info in self.objects.list(layout.TAGS + (f"{name}/" if name else "")):
            found = layout.version_of_tail(info.key.removeprefix(layout.TAGS))
            tag = self.find_tag(found.name, found.label) if found and name in ("", found.name) else None
            if tag:
                yield tag

    def find_tag(self, name: str, tag: str) -> Tag | None:
        try:
            document = _parse(self.objects.get(layout.tag_key(name, tag)).data)
        except FileNotFound:
            return None
        return Tag(name, tag, str(document.get("version", "")), str(document.get("digest", "")))

    def read_manifest(self, version: Version) -> bytes:
        try:
            return self.objects.get(layout.manifest_key(version)).data
        except FileNotFound:
            raise VersionNotFound(f"{self.address} has no version {version}") from None

    def read_blob(self, version: Version, digest: str, size: int) -> bytes:
        return self.objects.get(layout.blob_key(version, digest)).data

    def read_into(self, file: StoredFile, offset: int, buffer: memoryview) -> None:
        self.objects.read_into(layout.file_key(file.version, file.entry.path), offset, buffer)

    def begin(self, version: Version, digest: str, *, replace_unfinished: bool = False) -> Publication:
        self._refuse_nesting(version)
        self._refuse_tag(version)
        self._refuse_other(version, digest)
        claim = json.dumps({"digest": digest, "started": int(time.time()), "host": platform.node()}).encode()
        key = layout.claim_key(version)
        resumed = False
        if not self.objects.create(key, claim):
            resumed = self._take_over(version, digest, claim, replace_unfinished)
        # Whoever held the claim before may have committed before letting it go.
        self._refuse_other(version, digest)
        if not resumed:
            self._clear_leftovers(version, replace_unfinished)
        return TreePublication(self.objects, self.address, version, digest, resumed=resumed)

    def set_tag(self, tag: Tag) -> None:
        try:
            self.objects.get(layout.manifest_key(Version(tag.name, tag.tag)))
        except FileNotFound:
            pass
        else:
            raise Conflict(f"{tag.name}:{tag.tag} is a version in {self.address}: a tag needs another name")
        key = layout.tag_key(tag.name, tag.tag)
        try:
            stamp = self.objects.get(key).stamp
        except FileNotFound:
            stamp = None
        document = json.dumps({"version": tag.label, "digest": tag.digest}, sort_keys=True).encode()
        if not self.objects.swap(key, document, stamp):
            raise Conflict(f"tag {tag.name}:{tag.tag} was moved by somebody else just now: look, then tag again")

    def remove_tag(self, name: str, tag: str) -> None:
        if self.find_tag(name, tag) is None:
            raise VersionNotFound(f"{self.address} has no tag {name}:{tag}")
        self.objects.delete([layout.tag_key(name, tag)])

    def remove(self, version: Version) -> None:
        manifest = Manifest.parse(self.read_manifest(version))
        self.objects.delete([layout.manifest_key(version)])
        keys = [layout.file_key(version, file.path) for file in manifest.files]
        keys += [layout.blob_key(version, blob.digest) for blob in (manifest.config, manifest.blocks)]
        keys += [layout.marker_key(file.digest, version) for file in manifest.files if is_marked(file)]
        self.objects.delete(keys)

    def exclusive(self) -> bool:
        return self.objects.conditional()

    def close(self) -> None:
        self.objects.close()

    def _take_over(self, version: Version, digest: str, claim: bytes, replace: bool) -> bool:
        """Go on with the claim that is there; True if it is of the same content, so that its files can be kept."""
        key = layout.claim_key(version)
        try:
            held = self.objects.get(key)
        except FileNotFound:
            raise Conflict(f"another publish of {version} ended just now: run this one again") from None
        document = _parse(held.data)
        if document.get("digest") == digest:
            return True
        if not replace:
            started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(document.get("started", 0))))
            raise Conflict(
                f"an unfinished publish of {version} with other content holds {self.address} (begun {started} on "
                f"{document.get('host', 'an unknown host')}): wait for it, or, if it is dead, --replace-unfinished"
            )
        if not self.objects.swap(key, claim, held.stamp):
            raise Conflict(f"somebody else took over the publish of {version} just now")
        return False

    def _clear_leftovers(self, version: Version, replace: bool) -> None:
        leftovers = [info.key for info in self.objects.list(layout.file_key(version, ""))]
        if leftovers and not replace:
            self.objects.delete([layout.claim_key(version)])
            raise Conflict(
                f"{self.address} has {len(leftovers)} files under {version.name}/{version.label}/ that belong to no "
                "version: move them away, or give --replace-unfinished to delete them"
            )
        self.objects.delete(leftovers)

    def _refuse_other(self, version: Version, digest: str) -> None:
        try:
            found = digest_of(self.read_manifest(version))
        except VersionNotFound:
            return
        if found != digest:
            raise Conflict(
                f"{self.address} has {version} with other content ({found}): a version never changes; publish under "
                "another label, or remove it first"
            )

    def _refuse_tag(self, version: Version) -> None:
        if self.find_tag(version.name, version.label):
            raise Conflict(f"{version} is a tag in {self.address}: publish under another label, then move the tag")

    def _refuse_nesting(self, version: Version) -> None:
        for outer in layout.enclosing_versions(version):
            try:
                self.read_manifest(outer)
            except VersionNotFound:
                continue
            raise Conflict(f"{version} would lie inside the folder of {outer}: choose another name")
        inside = f"{layout.VERSIONS}{version.name}/{version.label}/"
        for info in self.objects.list(inside):
            inner = layout.version_of_manifest(info.key)
            if inner and inner != version:
                raise Conflict(f"the folder of {version} would hold {inner}: choose another label")


def is_marked(file: FileEntry) -> bool:
    """Whether a file is large enough to be looked up by its digest."""
    return file.size >= layout.MARKED_FROM_BYTES


def _parse(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
