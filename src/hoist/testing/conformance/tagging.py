"""Tags: movable names, which never stand for two things."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hoist.errors import Conflict, HoistError, StorageUnavailable, VersionNotFound
from hoist.storage.base import Storage, Tag
from hoist.testing.conformance.base import Conformance, assert_holds, publish, ref, small, ver

_THREADS = 6


class TaggingConformance(Conformance):
    """`set_tag`, `find_tag`, `remove_tag`."""

    def test_tag_moves(self, storage: Storage, tmp_path: Path) -> None:
        one, two = small("one"), small("two")
        publish(storage, "sd15/any:v1", one, tmp_path)
        publish(storage, "sd15/any:v2", two, tmp_path)
        for label, content in (("v1", one), ("v2", two), ("v2", two), ("v1", one)):
            tag = Tag("sd15/any", "latest", label, content.digest)
            storage.set_tag(tag)
            assert storage.find_tag("sd15/any", "latest") == tag
            assert list(storage.tags()) == [tag]
            assert storage.resolve(ref("sd15/any:latest"))[1].digest == content.digest

    def test_tag_is_its_models_own(self, storage: Storage, tmp_path: Path) -> None:
        publish(storage, "sd15/any:v1", small("one"), tmp_path)
        storage.set_tag(Tag("sd15/any", "latest", "v1", small("one").digest))
        assert storage.find_tag("sd15/anything", "latest") is None
        assert storage.find_tag("sd15", "any") is None
        assert storage.find_tag("sd15/any", "lates") is None
        assert storage.find_tag("sd15/any", "v1") is None

    def test_remove_tag(self, storage: Storage, tmp_path: Path) -> None:
        content = small("one")
        publish(storage, "sd15/any:v1", content, tmp_path)
        storage.set_tag(Tag("sd15/any", "latest", "v1", content.digest))
        storage.set_tag(Tag("sd15/any", "latest-2", "v1", content.digest))
        storage.remove_tag("sd15/any", "latest")
        assert [tag.tag for tag in storage.tags()] == ["latest-2"]
        assert storage.find_tag("sd15/any", "latest") is None
        with pytest.raises(VersionNotFound):
            storage.resolve(ref("sd15/any:latest"))
        with pytest.raises(VersionNotFound):
            storage.remove_tag("sd15/any", "latest")
        assert_holds(storage, "sd15/any:v1", content)
        storage.set_tag(Tag("sd15/any", "latest", "v1", content.digest))
        assert storage.resolve(ref("sd15/any:latest"))[0] == ver("sd15/any:v1")

    def test_tag_cannot_shadow_a_version(self, storage: Storage, tmp_path: Path) -> None:
        for label in ("v1", "v2"):
            publish(storage, f"sd15/any:{label}", small(label), tmp_path)
        with pytest.raises(Conflict):
            storage.set_tag(Tag("sd15/any", "v1", "v2", small("v2").digest))
        assert list(storage.tags()) == []
        assert storage.resolve(ref("sd15/any:v1"))[1].digest == small("v1").digest

    @pytest.mark.parametrize("replace", [False, True])
    def test_version_cannot_shadow_a_tag(self, storage: Storage, tmp_path: Path, replace: bool) -> None:
        publish(storage, "sd15/any:v1", small("one"), tmp_path)
        storage.set_tag(Tag("sd15/any", "latest", "v1", small("one").digest))
        with pytest.raises(Conflict):
            storage.begin(ver("sd15/any:latest"), small("two").digest, replace_unfinished=replace)
        storage.remove_tag("sd15/any", "latest")
        publish(storage, "sd15/any:latest", small("two"), tmp_path)
        assert_holds(storage, "sd15/any:latest", small("two"))

    def test_a_tag_of_nothing(self, storage: Storage, tmp_path: Path) -> None:
        content = small("one")
        publish(storage, "sd15/any:v1", content, tmp_path)
        wrong = [Tag("sd15/any", "latest", "v2", content.digest), Tag("sd15/any", "latest", "v1", small("two").digest)]
        for tag in wrong:
            with pytest.raises(VersionNotFound):
                storage.set_tag(tag)
            assert storage.find_tag("sd15/any", "latest") is None
        right = Tag("sd15/any", "latest", "v1", content.digest)
        storage.set_tag(right)
        for tag in wrong:
            with pytest.raises(VersionNotFound):
                storage.set_tag(tag)
        assert list(storage.tags()) == [right]

    def test_racing_movers_leave_one_whole_tag(self, storage: Storage, tmp_path: Path) -> None:
        content = small("one")
        publish(storage, "sd15/any:v1", content, tmp_path)
        storage.set_tag(Tag("sd15/any", "latest", "v1", content.digest))
        for number in range(_THREADS):
            publish(storage, f"sd15/any:v{number}", content, tmp_path)

        def move(number: int) -> HoistError | None:
            try:
                storage.set_tag(Tag("sd15/any", "latest", f"v{number}", content.digest))
            except HoistError as error:
                return error
            return None

        with ThreadPoolExecutor(_THREADS) as pool:
            ended = list(pool.map(move, range(_THREADS)))
        # A store without conditional writes may also say that it is busy.
        allowed = Conflict if self.exclusive else (Conflict, StorageUnavailable)
        assert all(error is None or isinstance(error, allowed) for error in ended), ended
        found = storage.find_tag("sd15/any", "latest")
        assert found is not None
        if self.exclusive:
            assert None in ended
            assert found.label in [f"v{number}" for number, error in enumerate(ended) if error is None]
