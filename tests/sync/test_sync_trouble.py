"""Runs of a plan while something fails or changes: passing faults, two runs at once, listings that are behind."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count

import pytest
from sync_making import Regions, in_step, wrapped

import hoist
from hoist.errors import HoistError, PermissionDenied, StorageUnavailable, VersionNotFound
from hoist.storage.base import Storage, Tag, Version
from hoist.storage.seen import Seen
from hoist.storage.wrap import Counting, EventualListing, Faulty, Wrapper
from hoist.sync import run
from makers import noise

pytest_plugins = ["sync_fixtures"]
MIB = 1 << 20


def test_what_is_tagged_meanwhile_stays(directories: Regions, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        directories.publish(f"eu//m:v{number}", bytes([number]))
        os.utime(directories.home / f"eu/.hoist/versions/m/v{number}/manifest.json", (number, number))
        hoist.copy(f"eu//m:v{number}", "us", config=directories.config)
    directories.plan(keep=1, prune=True, to=["us"], tags=["stable"])

    class TaggedMeanwhile(Wrapper):
        def remove(self, version: Version, *, unless_tagged: bool = False) -> None:
            hoist.tag("us//m:v1", "pinned", config=directories.config)
            self.inner.remove(version, unless_tagged=unless_tagged)

    wrapped(monkeypatch, {"us": TaggedMeanwhile})
    (target,) = directories.sync().targets
    assert not target.removed
    assert not target.problems
    assert not target.in_step
    assert directories.state("us")[1] == {"m:pinned": "v1"}


def test_one_that_refuses_is_given_up_and_the_rest_goes_on(
    directories: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(16):
        directories.publish(f"eu//m:v{number}", bytes([number]), tags=[f"t{number}"])
    refusing = Counting
    asked: list[Counting] = []

    def refuse(inner: Storage) -> Storage:
        asked.append(refusing(Faulty(inner, fail=1.0, error=PermissionDenied("read-only"), only=frozenset({"begin"}))))
        return asked[-1]

    wrapped(monkeypatch, {"us": refuse})
    us, ap = directories.sync().targets
    assert ap.in_step
    assert {type(problem.error) for problem in us.problems} == {PermissionDenied}
    assert us.lag.versions == 16
    # A few at once, and no more.
    assert asked[0].calls["begin"] <= 8
    assert "set_tag" not in asked[0].calls
    in_step(directories, "eu", "ap")


def test_one_that_does_not_answer_comes_after_the_others(directories: Regions, monkeypatch: pytest.MonkeyPatch) -> None:
    directories.publish("eu//m:v1", b"1", tags=["stable"])
    monkeypatch.setattr(run, "_PATIENCE_SECONDS", 0.1)

    class Late(Wrapper):
        """It shows what it has once the other target is in step, and not before."""

        def seen_versions(self, name: str = "") -> Mapping[Version, Seen]:
            until = time.monotonic() + 30
            while directories.state("ap") != directories.state("eu") and time.monotonic() < until:
                time.sleep(0.05)
            return self.inner.seen_versions(name)

    wrapped(monkeypatch, {"us": Late})
    us, ap = directories.sync().targets
    assert us.in_step
    assert ap.in_step
    in_step(directories)


def test_one_version_that_cannot_be_had_now_does_not_keep_the_others(
    directories: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        directories.publish(f"eu//m:v{number}", bytes([number]), tags=[f"t{number}"])

    class Sick(Wrapper):
        def read_blob(self, version: Version, digest: str, size: int) -> bytes:
            if version.label == "v0":
                raise StorageUnavailable("this one object is not to be had")
            return self.inner.read_blob(version, digest, size)

    wrapped(monkeypatch, {"eu": Sick})
    for target in directories.sync().targets:
        assert [problem.what for problem in target.problems] == ["m:v0"]
        assert directories.state(target.storage)[1] == {"m:t1": "v1", "m:t2": "v2"}


def test_passing_faults_of_all_sides_and_a_second_run_ends_it(
    directories: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        directories.publish(f"eu//m:v{number}", noise(2 * MIB, number), b"{}", tags=[f"t{number}"])
    for seed in range(3):
        wrapped(
            monkeypatch,
            {
                name: lambda inner, seed=seed, name=name: Faulty(inner, fail=0.05, seed=seed * 3 + len(name))  # type: ignore[misc]
                for name in ("eu", "us", "ap")
            },
        )
        try:
            directories.sync()
        except StorageUnavailable:
            continue
        for name in ("us", "ap"):
            versions, tags = directories.state(name)
            assert {f"m:{label}" for label in tags.values()} <= versions.keys()
    monkeypatch.undo()
    assert directories.sync().in_step
    in_step(directories)


@pytest.mark.matrix
@pytest.mark.parametrize("target", ["us", "hub", "nas"])
def test_two_at_once(regions: Regions, target: str) -> None:
    regions.plan(to=[target])
    for number in range(4):
        regions.publish(f"eu//m/one:v{number}", noise(MIB + number, number), tags=[f"t{number}", "latest"])
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: regions.sync(), range(2)))
    # Where a store shows one of them what the other has not ended yet, it says so; run again, it finds it.
    assert all(each.in_step or each.errors for each in both)
    again = regions.sync()
    assert again.in_step, again
    in_step(regions, "eu", target)
    regions.verified(target)


def test_two_services_while_the_source_changes(directories: Regions) -> None:
    """Versions and tags come, move and go; nowhere does a tag name what is not there, and in the end all is in step."""
    directories.plan(keep=2, prune=True)
    until = time.monotonic() + 2.0
    dangling: list[Tag] = []

    def change() -> None:
        chance = random.Random(4)
        for number in count():
            if time.monotonic() > until:
                return
            tag, old = chance.choice(("stable", "latest")), chance.randrange(number + 1)
            with suppress(HoistError):
                if number % 2 == 0:
                    directories.publish(f"eu//m:v{number}", bytes([number % 256]), tags=[tag])
                elif number % 3:
                    hoist.tag(f"eu//m:v{old - old % 2}", tag, config=directories.config)
                else:
                    hoist.remove(chance.choice((f"eu//m:{tag}", f"eu//m:v{old - old % 2}")), config=directories.config)

    def serve() -> None:
        while time.monotonic() < until:
            with suppress(HoistError):
                directories.sync()

    def watch() -> None:
        with directories.opened("us") as us:
            while time.monotonic() < until:
                for tag in list(us.tags()):
                    try:
                        us.read_manifest(Version(tag.name, tag.label))
                    except VersionNotFound:
                        # Gone since it was listed, and then so has the tag gone elsewhere; it takes its mover a moment.
                        time.sleep(0.2)
                        dangling.extend([tag] if us.find_tag(tag.name, tag.tag) == tag else [])

    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(work) for work in (change, serve, serve, watch)]:
            each.result()
    assert not dangling
    assert directories.sync().in_step
    assert directories.sync(dry_run=True).in_step
    assert directories.state("us")[1] == directories.state("ap")[1] == directories.state("eu")[1]


def test_a_tag_that_moves_during_a_run_is_never_set_back(directories: Regions, monkeypatch: pytest.MonkeyPatch) -> None:
    directories.plan(to=["us"])
    directories.publish("eu//m:v1", b"1", tags=["stable"])
    directories.publish("eu//m:v2", b"2")
    directories.sync()
    hoist.tag("eu//m:v2", "stable", config=directories.config)
    first = threading.Event()

    class Slow(Wrapper):
        """The source moves on, and another run is first, while this one has read an older tag."""

        def find_tag(self, name: str, tag: str):  # type: ignore[no-untyped-def]
            found = self.inner.find_tag(name, tag)
            if not first.is_set():
                first.set()
                hoist.tag("eu//m:v1", "stable", config=directories.config)
                monkeypatch.undo()
                assert directories.sync().in_step
            return found

    wrapped(monkeypatch, {"eu": Slow})
    directories.sync()
    assert first.is_set()
    in_step(directories, "eu", "us")


def test_listings_that_are_behind(directories: Regions, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a listing does not show yet is found where a tag names it; what it still shows is not believed."""
    directories.plan(to=["us"], prune=True, keep=2)
    views: dict[str, EventualListing] = {}

    def behind(inner: Storage) -> Storage:
        # The first look of each is what it lists until it catches up.
        if inner.address in views:
            views[inner.address].inner = inner
        return views.setdefault(inner.address, EventualListing(inner))

    wrapped(monkeypatch, {"eu": behind, "us": behind})
    directories.publish("eu//m:v1", b"1", tags=["stable"])
    assert directories.sync().in_step
    directories.publish("eu//m:v2", b"2")
    hoist.tag("eu//m:v2", "stable", config=directories.config)
    # Neither v1 and its tag in `us` nor v2 in `eu` are listed.
    second = directories.sync()
    assert second.in_step
    assert not second.errors
    assert directories.state("us")[1] == {"m:stable": "v2"}
    assert sorted(directories.state("us")[0]) == ["m:v1", "m:v2"]
    for view in views.values():
        view.catch_up()
    # Removed behind its back, and still listed: it is not tagged, and comes once the listing is right.
    hoist.remove("us//m:v2", force=True, config=directories.config)
    third = directories.sync()
    assert not third.in_step
    assert directories.state("us") == ({"m:v1": directories.state("eu")[0]["m:v1"]}, {})
    views["us"].catch_up()
    assert directories.sync().in_step
    in_step(directories, "eu", "us")
    assert Version("m", "v2") in {version for version, _ in views["us"].inner.dated_versions()}


def test_a_version_that_goes_at_the_source_during_a_run(directories: Regions, monkeypatch: pytest.MonkeyPatch) -> None:
    directories.publish("eu//m:v1", b"1")
    directories.publish("eu//m:v2", b"2")

    class Vanishing(Wrapper):
        def read_manifest(self, version: Version) -> bytes:
            if version.label == "v1":
                raise VersionNotFound("gone")
            return self.inner.read_manifest(version)

    wrapped(monkeypatch, {"eu": Vanishing})
    check_that_v1_is_left_out(directories)


def test_a_version_that_goes_at_the_source_while_it_is_copied(
    directories: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    directories.publish("eu//m:v1", noise(2 * MIB, 1))
    directories.publish("eu//m:v2", b"2")
    looked: list[Version] = []

    class Vanishing(Wrapper):
        def read_blob(self, version: Version, digest: str, size: int) -> bytes:
            data = self.inner.read_blob(version, digest, size)
            if version.label == "v1":
                looked.append(version)
                if len(looked) == 2:
                    self.inner.remove(version)
            return data

    wrapped(monkeypatch, {"eu": Vanishing})
    check_that_v1_is_left_out(directories)
    assert len(looked) == 2


def check_that_v1_is_left_out(directories: Regions) -> None:
    done = directories.sync()
    assert not done.errors
    assert not done.in_step
    assert all(target.later == ("m:v1 is no longer at the source",) for target in done.targets)
    assert sorted(directories.state("us")[0]) == ["m:v2"]
