"""Labels claimed by a publish: resuming, taking over, and names that are in the way of each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from hoist.errors import Conflict, HoistError
from hoist.storage.base import Storage
from hoist.testing.conformance.base import Conformance, Content, assert_holds, finish, publish, put, sample, small, ver

VERSION = "sd15/any:v1"


class ClaimingConformance(Conformance):
    """`begin`, `has`, `commit` where an earlier publish was abandoned or done, or another one is at it."""

    def test_resume_keeps_whole_files(self, storage: Storage, tmp_path: Path) -> None:
        if not self.claims:
            pytest.skip("an unfinished publish holds nothing here (claims = False)")
        content = small("one")
        abandoned = storage.begin(ver(VERSION), content.digest)
        assert not any(abandoned.has(entry) for entry in content.entries.values())
        put(abandoned, content, tmp_path, ["config.json"])
        again = storage.begin(ver(VERSION), content.digest)
        assert again.has(content.entries["config.json"])
        assert not again.has(content.entries["unet/weights.bin"])
        put(again, content, tmp_path, ["unet/weights.bin"])
        finish(again, content)
        assert_holds(storage, VERSION, content)

    @pytest.mark.parametrize("replace", [False, True])
    def test_same_content_again(self, storage: Storage, tmp_path: Path, replace: bool) -> None:
        content = small("one")
        publish(storage, VERSION, content, tmp_path)
        again = storage.begin(ver(VERSION), content.digest, replace_unfinished=replace)
        assert_holds(storage, VERSION, content)
        assert all(again.has(entry) for entry in content.entries.values())
        finish(again, content)
        assert_holds(storage, VERSION, content)
        publish(storage, VERSION, content, tmp_path, replace_unfinished=replace)
        assert list(storage.versions()) == [ver(VERSION)]
        assert_holds(storage, VERSION, content)

    def test_commit_twice(self, storage: Storage, tmp_path: Path) -> None:
        content = small("one")
        publication = storage.begin(ver(VERSION), content.digest)
        other = storage.begin(ver(VERSION), content.digest)
        put(publication, content, tmp_path, content.files)
        finish(publication, content)
        finish(publication, content)
        put(other, content, tmp_path, ["config.json"])
        finish(other, content)
        assert_holds(storage, VERSION, content)

    def test_same_content_again_leaves_no_claim(self, storage: Storage, tmp_path: Path) -> None:
        publish(storage, VERSION, small("one"), tmp_path)
        storage.begin(ver(VERSION), small("one").digest)
        storage.remove(ver(VERSION))
        publish(storage, VERSION, small("one"), tmp_path)
        storage.remove(ver(VERSION))
        publish(storage, VERSION, small("two"), tmp_path)
        assert_holds(storage, VERSION, small("two"))

    def test_refused_publish_leaves_no_claim(self, storage: Storage, tmp_path: Path) -> None:
        publish(storage, VERSION, small("one"), tmp_path)
        with pytest.raises(Conflict):
            storage.begin(ver(VERSION), small("two").digest)
        storage.remove(ver(VERSION))
        publish(storage, VERSION, small("three"), tmp_path)
        assert_holds(storage, VERSION, small("three"))

    def test_unfinished_publish_of_other_content(self, storage: Storage, tmp_path: Path) -> None:
        if not self.claims:
            pytest.skip("an unfinished publish holds nothing here (claims = False)")
        dead, content = small("dead"), small("one")
        put(storage.begin(ver(VERSION), dead.digest), dead, tmp_path, dead.files)
        with pytest.raises(Conflict, match="unfinished"):
            storage.begin(ver(VERSION), content.digest)
        taken = storage.begin(ver(VERSION), content.digest, replace_unfinished=True)
        # The dead one's files have the paths and sizes of this content's, and are not its.
        assert not any(taken.has(entry) for entry in content.entries.values())
        again = storage.begin(ver(VERSION), content.digest)
        assert not any(again.has(entry) for entry in content.entries.values())
        put(again, content, tmp_path, content.files)
        finish(again, content)
        assert_holds(storage, VERSION, content)

    def test_take_over_leaves_none_of_the_dead_ones_files(self, storage: Storage, tmp_path: Path) -> None:
        dead = Content({"only/dead.bin": b"dead", "x": b"y"})
        put(storage.begin(ver(VERSION), dead.digest), dead, tmp_path, dead.files)
        publish(storage, VERSION, small("one"), tmp_path, replace_unfinished=True)
        storage.remove(ver(VERSION))
        publish(storage, VERSION, small("two"), tmp_path)
        assert_holds(storage, VERSION, small("two"))

    def test_publisher_that_was_taken_over_cannot_commit(self, storage: Storage, tmp_path: Path) -> None:
        if not self.claims:
            pytest.skip("an unfinished publish holds nothing here (claims = False)")
        slow, content = small("slow"), small("one")
        loser = storage.begin(ver(VERSION), slow.digest)
        put(loser, slow, tmp_path, slow.files)
        winner = storage.begin(ver(VERSION), content.digest, replace_unfinished=True)
        with pytest.raises(Conflict):
            finish(loser, slow)
        put(winner, content, tmp_path, content.files)
        with pytest.raises(Conflict):
            loser.commit(slow.manifest)
        finish(winner, content)
        with pytest.raises(Conflict):
            loser.commit(slow.manifest)
        assert_holds(storage, VERSION, content)

    def test_other_labels_are_not_in_the_way(self, storage: Storage, tmp_path: Path) -> None:
        one, two = small("one"), small("two")
        first = storage.begin(ver("sd15/any:v1"), one.digest)
        second = storage.begin(ver("sd15/any:v10"), two.digest)
        third = storage.begin(ver("sd15/anything:v1"), two.digest)
        for publication, content in ((first, one), (second, two), (third, two)):
            put(publication, content, tmp_path, content.files)
        for publication, content in ((third, two), (first, one), (second, two)):
            finish(publication, content)
        assert_holds(storage, "sd15/any:v1", one)
        assert_holds(storage, "sd15/any:v10", two)

    @pytest.mark.parametrize("replace", [False, True])
    @pytest.mark.parametrize(
        ("first", "second"), [("a:b", "a/b:c"), ("a/b:c", "a:b"), ("a:b", "a/b/c:d"), ("a/b/c:d", "a:b")]
    )
    def test_nested_names_are_refused(
        self, storage: Storage, tmp_path: Path, first: str, second: str, replace: bool
    ) -> None:
        if self.nests:
            pytest.skip("names are in nobody's way here (nests = True)")
        content = Content({"c/d/file": sample("nested", 10)})
        publish(storage, first, content, tmp_path)
        with pytest.raises(Conflict):
            storage.begin(ver(second), small("two").digest, replace_unfinished=replace)
        assert_holds(storage, first, content)
        storage.remove(ver(first))
        publish(storage, second, small("two"), tmp_path)
        assert_holds(storage, second, small("two"))

    @pytest.mark.parametrize(("first", "second"), [("a:b", "a/b:c"), ("a/b:c", "a:b")])
    def test_unfinished_nested_names_are_refused(
        self, storage: Storage, tmp_path: Path, first: str, second: str
    ) -> None:
        if self.nests:
            pytest.skip("names are in nobody's way here (nests = True)")
        content = small("one")
        publication = storage.begin(ver(first), content.digest)
        put(publication, content, tmp_path, ["config.json"])
        with pytest.raises(Conflict):
            storage.begin(ver(second), small("two").digest)
        publish(storage, first, content, tmp_path)
        assert_holds(storage, first, content)

    def test_names_side_by_side(self, storage: Storage, tmp_path: Path) -> None:
        if not self.nests:
            pytest.skip("the one would be a folder in the other (nests = False)")
        names = ["a:b", "a/b:c", "a/b/c:d", "a:b.c"]
        for name in names:
            publish(storage, name, small(name), tmp_path)
        for name in names:
            assert_holds(storage, name, small(name))
        storage.remove(ver("a/b:c"))
        assert list(storage.versions()) == sorted(ver(name) for name in names if name != "a/b:c")

    def test_without_claims_the_first_commit_has_the_label(self, storage: Storage, tmp_path: Path) -> None:
        if self.claims:
            pytest.skip("an unfinished publish holds its label here (claims = True)")
        slow, content = small("slow"), small("one")
        loser = storage.begin(ver(VERSION), slow.digest)
        put(loser, slow, tmp_path, slow.files)
        assert not storage.occupied(ver(VERSION))
        assert not storage.begin(ver(VERSION), slow.digest).has(slow.entries["config.json"])
        publish(storage, VERSION, content, tmp_path)
        with pytest.raises(Conflict):
            finish(loser, slow)
        assert_holds(storage, VERSION, content)

    def test_without_claims_a_commit_wants_all_files(self, storage: Storage, tmp_path: Path) -> None:
        if self.claims:
            pytest.skip("the files of an earlier run count here (claims = True)")
        content = small("one")
        put(storage.begin(ver(VERSION), content.digest), content, tmp_path, ["config.json"])
        again = storage.begin(ver(VERSION), content.digest)
        put(again, content, tmp_path, ["unet/weights.bin"])
        with pytest.raises(HoistError, match=r"config\.json"):
            finish(again, content)
        assert list(storage.versions()) == []
        publish(storage, VERSION, content, tmp_path)
        assert_holds(storage, VERSION, content)
