"""The tags of a tree of keys: one document each, with the tag's history inside, so that one write moves both."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from hoist.config import author
from hoist.errors import Conflict, FileNotFound, HoistError, VersionNotFound
from hoist.model.reference import is_label
from hoist.parallel import SMALL_AT_ONCE, for_each
from hoist.storage import layout
from hoist.storage.base import Tag, Version
from hoist.storage.claim import parse_document
from hoist.storage.moves import TagMove, Whatever, check_before, move_of, read_moves
from hoist.storage.objects import Objects, exists
from hoist.storage.removal import require_version

_TAGS_AT_ONCE = 2 * SMALL_AT_ONCE


@dataclass(frozen=True, slots=True)
class Held:
    """A tag as it is stored; `data` are the document's bytes."""

    tag: Tag
    moves: list[TagMove]
    data: bytes
    stamp: str | None


class TreeTags:
    """The tags in a place of keys."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._where = objects.address

    def named(self, name: str = "") -> Iterator[tuple[str, str]]:
        """Name and tag of all tags, in order; with `name` only those of that model."""
        keys = (info.key for info in self._objects.list(layout.TAGS + (f"{name}/" if name else "")))
        found = (layout.version_of_tail(key.removeprefix(layout.TAGS)) for key in keys)
        yield from sorted((each.name, each.label) for each in found if each and name in ("", each.name))

    def all(self, name: str = "") -> Iterator[Tag]:
        """See Storage.tags."""
        found = for_each(lambda each: self.held(*each), list(self.named(name)), _TAGS_AT_ONCE)
        yield from (held.tag for held in found if held)

    def held(self, name: str, tag: str) -> Held | None:
        """One tag; None if there is none."""
        try:
            found = self._objects.get(layout.tag_key(name, tag))
        except FileNotFound:
            return None
        document = parse_document(found.data)
        label = str(document.get("version", ""))
        # What is no label leads nowhere: it must not become a path.
        read = Tag(name, tag, label if is_label(label) else "", str(document.get("digest", "")))
        return Held(read, read_moves(document.get("moves"), name, tag), found.data, found.stamp)

    def moves(self, name: str, tag: str = "") -> list[TagMove]:
        """See Storage.tag_moves."""
        names = [(name, tag)] if tag else list(self.named(name))
        found = for_each(lambda each: self.held(*each), names, _TAGS_AT_ONCE)
        return [move for held in found if held for move in held.moves]

    def set(self, tag: Tag, before: Tag | Whatever | None, note: str) -> None:
        """See Storage.set_tag."""
        if exists(self._objects, layout.manifest_key(Version(tag.name, tag.tag))):
            raise Conflict(f"{tag.name}:{tag.tag} is a version in {self._where}: a tag needs another name")
        version = Version(tag.name, tag.label)
        held = self.held(tag.name, tag.tag)
        check_before(self._where, tag, before, held.tag if held else None)
        require_version(self._objects, version, tag.digest)
        if held and held.tag == tag:
            return
        move = move_of(tag, held.tag if held else None, time.time(), author(), note)
        data = layout.tag_document(tag.label, tag.digest, [*(held.moves if held else ()), move])
        self._swap(tag, data, held)
        try:
            require_version(self._objects, version, tag.digest)
        except (VersionNotFound, Conflict):
            self.put_back(tag, data, held)
            raise

    def put_back(self, tag: Tag, data: bytes, before: Held | None) -> None:
        """What stood there before stands there again, if nobody has moved the tag since `data` was written."""
        now = self.held(tag.name, tag.tag)
        if now is None or now.data != data:
            return
        key = layout.tag_key(tag.name, tag.tag)
        if before is None:
            self._objects.delete([key])
        else:
            self._objects.swap(key, before.data, now.stamp)

    def heal(self, version: Version) -> None:
        """Of a version that was removed: tags that were moved to it at that moment by somebody who was then killed stand
        where they stood before."""
        with suppress(HoistError):
            for name, tag in list(self.named(version.name)):
                held = self.held(name, tag)
                if held is None or held.tag.label != version.label:
                    continue
                key, last = layout.tag_key(name, tag), held.moves[-1] if held.moves else None
                before = layout.manifest_key(Version(name, last.before_label)) if last and last.before_label else ""
                if last and before and exists(self._objects, before):
                    data = layout.tag_document(last.before_label, last.before_digest, held.moves[:-1])
                    self._objects.swap(key, data, held.stamp)
                else:
                    self._objects.delete([key])

    def _swap(self, tag: Tag, data: bytes, held: Held | None) -> None:
        key = layout.tag_key(tag.name, tag.tag)
        if self._objects.swap(key, data, held.stamp if held else None):
            return
        # An attempt whose answer was lost may have written it: no other document has these bytes.
        now = self.held(tag.name, tag.tag)
        if now is None or now.data != data:
            raise Conflict(f"tag {tag.name}:{tag.tag} was moved by somebody else just now: look, then tag again")
