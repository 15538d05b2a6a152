"""Publishers of one label, at once: one wins, and what it published is right to the byte."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from hoist.errors import Conflict, HoistError
from hoist.storage.base import Storage
from hoist.testing.conformance.base import Conformance, Content, assert_holds, finish, publish, put, sample, small, ver

_ROUNDS = 5
_WAIT_SECONDS = 60


class RacingConformance(Conformance):
    """What `exclusive` promises. Without it, two publishers of one label must not be started at once."""

    def test_says_whether_it_is_exclusive(self, storage: Storage) -> None:
        assert storage.exclusive() is self.exclusive
        assert list(storage.versions()) == []
        assert list(storage.tags()) == []

    def test_racing_publishers_of_other_content(self, storage: Storage, tmp_path: Path) -> None:
        if not self.exclusive:
            pytest.skip("this storage has no conditional writes (exclusive = False)")
        for turn in range(_ROUNDS):
            version = f"race-{turn}:v1"
            contents = [Content({"a.bin": sample(f"{who}{turn}", 70_000), "b": who.encode()}) for who in "xyz"]

            def run(content: Content, version: str = version) -> None:
                publish(storage, version, content, tmp_path)

            ended = _race([lambda content=content: run(content) for content in contents])  # type: ignore[misc]
            winners = [content for content, error in zip(contents, ended, strict=True) if error is None]
            assert len(winners) == 1, ended
            assert all(error is None or isinstance(error, Conflict) for error in ended), ended
            assert_holds(storage, version, winners[0])

    def test_racing_publishers_of_the_same_content(self, storage: Storage, tmp_path: Path) -> None:
        if not self.exclusive:
            pytest.skip("this storage has no conditional writes (exclusive = False)")
        for turn in range(_ROUNDS):
            content = small(f"same {turn}")
            ended = _race([lambda turn=turn: publish(storage, f"race-{turn}:v1", small(f"same {turn}"), tmp_path)] * 3)  # type: ignore[misc]
            assert None in ended
            assert all(error is None or isinstance(error, Conflict) for error in ended), ended
            assert_holds(storage, f"race-{turn}:v1", content)

    def test_racing_take_overs(self, storage: Storage, tmp_path: Path) -> None:
        if not self.exclusive:
            pytest.skip("this storage has no conditional writes (exclusive = False)")
        dead = small("dead")
        put(storage.begin(ver("race:v1"), dead.digest), dead, tmp_path, ["config.json"])
        # All hold the same swap in view: none may be granted a claim that another one took.
        begun = _race(
            [
                lambda who=who: storage.begin(ver("race:v1"), small(who).digest, replace_unfinished=True)  # type: ignore[misc]
                for who in "xyz"
            ]
        )
        assert None in begun
        assert all(error is None or isinstance(error, Conflict) for error in begun), begun

    def test_two_labels_at_once(self, storage: Storage, tmp_path: Path) -> None:
        ended = _race(
            [lambda who=who: publish(storage, f"sd15/any:{who}", small(who), tmp_path) for who in "wxyz"]  # type: ignore[misc]
        )
        assert ended == [None] * 4
        for who in "wxyz":
            assert_holds(storage, f"sd15/any:{who}", small(who))

    def test_threads_of_one_publication(self, storage: Storage, tmp_path: Path) -> None:
        content = Content({f"part/{number}.bin": sample(str(number), 40_000 + number) for number in range(8)})
        publication = storage.begin(ver("sd15/any:v1"), content.digest)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda path: put(publication, content, tmp_path, [path]), content.files))
        finish(publication, content)
        assert_holds(storage, "sd15/any:v1", content)


def _race(runners: list[Callable[[], object]]) -> list[HoistError | None]:
    """Run all at the same moment; how each ended. Anything but a HoistError is raised."""
    barrier = Barrier(len(runners), timeout=_WAIT_SECONDS)

    def run(runner: Callable[[], object]) -> HoistError | None:
        barrier.wait()
        try:
            runner()
        except HoistError as error:
            return error
        return None

    with ThreadPoolExecutor(len(runners)) as pool:
        return list(pool.map(run, runners))
