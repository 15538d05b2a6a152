"""Moving tags with care: from what was seen, with a history, and never to what is being removed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hoist.errors import Conflict, HoistError, VersionNotFound
from hoist.storage.base import Storage, Tag
from hoist.testing.conformance.base import Conformance, Content, assert_holds, publish, ref, small, ver

_ROUNDS = 4
_LABELS = ("v1", "v2", "v3")


class MovingConformance(Conformance):
    """`set_tag` with `before`, `tag_moves`, `remove` with `unless_tagged`."""

    def test_moves_only_what_the_mover_saw(self, storage: Storage, tmp_path: Path) -> None:
        one, two, three = _tags(storage, tmp_path)
        with pytest.raises(Conflict):
            storage.set_tag(one, before=two)
        storage.set_tag(one, before=None)
        for before in (None, two, Tag("sd15/any", "stable", "v1", two.digest)):
            with pytest.raises(Conflict):
                storage.set_tag(three, before=before)
            assert storage.find_tag("sd15/any", "stable") == one
        storage.set_tag(two, before=one)
        storage.set_tag(three)
        assert storage.find_tag("sd15/any", "stable") == three

    def test_each_move_is_noted(self, storage: Storage, tmp_path: Path) -> None:
        one, two, three = _tags(storage, tmp_path)
        began = time.time()
        assert list(storage.tag_moves("sd15/any")) == []
        storage.set_tag(one, note="first")
        storage.set_tag(two)
        storage.set_tag(two, note="nothing moves")
        storage.set_tag(three, before=two, note="an \x1b[31munprintable\nnote")
        storage.set_tag(one)
        other = Tag("sd15/any", "latest", "v1", one.digest)
        storage.set_tag(other)
        moves = storage.tag_moves("sd15/any", "stable")
        assert [(move.before_label, move.label) for move in moves] == [
            ("", "v1"),
            ("v1", "v2"),
            ("v2", "v3"),
            ("v3", "v1"),
        ]
        assert [move.note for move in moves] == ["first", "", "an  [31munprintable note", ""]
        assert [move.digest for move in moves] == [tag.digest for tag in (one, two, three, one)]
        assert [move.before_digest for move in moves[1:]] == [tag.digest for tag in (one, two, three)]
        assert all("@" in move.by and began - 1 <= move.at <= time.time() for move in moves)
        # The other tag's are its own, and nothing that is kept of them is in the way of what there is to see.
        assert [move.tag for move in storage.tag_moves("sd15/any")] == ["latest", *["stable"] * 4]
        assert list(storage.tags()) == [other, one]
        assert [version.label for version in storage.versions()] == list(_LABELS)
        assert list(storage.tag_moves("sd15/an")) == list(storage.tag_moves("sd15/any", "stabl")) == []

    def test_a_removed_tag_begins_anew(self, storage: Storage, tmp_path: Path) -> None:
        one, two, _ = _tags(storage, tmp_path)
        storage.set_tag(one)
        storage.remove_tag("sd15/any", "stable")
        assert list(storage.tag_moves("sd15/any", "stable")) == []
        storage.set_tag(two, before=None)
        assert [move.before_label for move in storage.tag_moves("sd15/any", "stable")] == [""]

    def test_a_tagged_version_is_kept(self, storage: Storage, tmp_path: Path) -> None:
        one, _, _ = _tags(storage, tmp_path)
        storage.set_tag(one)
        with pytest.raises(Conflict, match="stable"):
            storage.remove(ver("sd15/any:v1"), unless_tagged=True)
        assert_holds(storage, "sd15/any:v1", small("v1"))
        assert storage.resolve(ref("sd15/any:stable"))[0] == ver("sd15/any:v1")
        # It is as free as before: it can be tagged, and removed when it has no tag.
        storage.set_tag(Tag("sd15/any", "latest", "v1", one.digest))
        for tag in ("stable", "latest"):
            storage.remove_tag("sd15/any", tag)
        storage.remove(ver("sd15/any:v1"), unless_tagged=True)
        assert [version.label for version in storage.versions()] == ["v2", "v3"]
        with pytest.raises(VersionNotFound):
            storage.remove(ver("sd15/any:v1"), unless_tagged=True)
        with pytest.raises(VersionNotFound):
            storage.set_tag(one)

    def test_who_tags_what_is_being_removed(self, storage: Storage, tmp_path: Path) -> None:
        one, two, _ = _tags(storage, tmp_path)
        storage.set_tag(one)

        def trying(action: str) -> HoistError | None:
            try:
                if action == "tag":
                    storage.set_tag(two)
                else:
                    storage.remove(ver("sd15/any:v2"), unless_tagged=True)
            except HoistError as error:
                return error
            return None

        for _ in range(_ROUNDS if self.exclusive else 0):
            publish(storage, "sd15/any:v2", small("v2"), tmp_path)
            storage.set_tag(one)
            with ThreadPoolExecutor(3) as pool:
                tagged, *removed = pool.map(trying, ("tag", "remove", "remove"))
            assert tagged is None or isinstance(tagged, Conflict | VersionNotFound), tagged
            assert all(error is None or isinstance(error, Conflict | VersionNotFound) for error in removed), removed
            found = storage.resolve(ref("sd15/any:stable"))[0]
            assert found.label == ("v1" if tagged else "v2")
            assert (found.label == "v2") <= (None not in removed)
            assert storage.tag_moves("sd15/any", "stable")[-1].label == found.label


def _tags(storage: Storage, folder: Path) -> list[Tag]:
    """Three versions, and the tag `stable` for each of them, none of which is set."""
    contents: dict[str, Content] = {label: small(label) for label in _LABELS}
    for label, content in contents.items():
        publish(storage, f"sd15/any:{label}", content, folder)
    return [Tag("sd15/any", "stable", label, content.digest) for label, content in contents.items()]
