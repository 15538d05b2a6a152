"""Runs of a plan: on real servers of all kinds, with regions that fail, twice at once, with listings that are behind."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from sync_making import Regions

import hoist
from hoist.config import Config
from hoist.errors import (
    Conflict,
    HoistError,
    PermissionDenied,
    StorageNotFound,
    StorageUnavailable,
    StorageUnsupported,
    VersionNotFound,
)
from hoist.read.connect import connect
from hoist.read.engine import Engine
from hoist.storage.base import Storage, Tag, Version
from hoist.storage.seen import Seen
from hoist.storage.wrap import Counting, EventualListing, Faulty, Wrapper
from hoist.sync import run
from hoist.transfer import copying
from makers import noise
from signing_making import make_pair

pytest_plugins = ["sync_fixtures"]
MIB = 1 << 20


def wrapped(monkeypatch: pytest.MonkeyPatch, wrappers: dict[str, Callable[[Storage], Storage]]) -> None:
    """Let runs see some storages through wrappers."""

    def connect_wrapped(address: str, config: Config | None = None) -> tuple[Storage, Engine]:
        storage, engine = connect(address, config)
        return (wrappers[address](storage) if address in wrappers else storage), engine

    # The source, and the targets.
    for module in (run, copying):
        monkeypatch.setattr(module, "connect", connect_wrapped)


def in_step(regions: Regions, *targets: str) -> None:
    first, *others = targets or regions.storages
    there = regions.state(first)
    for target in others:
        assert regions.state(target) == there, target


def test_from_a_bucket_to_all_kinds_and_again_when_something_changed(regions: Regions) -> None:
    regions.publish("eu//sd15/a:v1", noise(3 * MIB, 1), b"{}", tags=["stable"])
    regions.publish("eu//sd15/a:v2", noise(3 * MIB, 1), b"{2}", tags=["latest"])
    regions.publish("eu//llm/b:v1", noise(MIB, 2))
    planned = regions.sync(dry_run=True)
    assert not planned.in_step
    for target in planned.targets:
        assert (target.lag.versions, target.lag.tags) == (3, 2)
        assert target.lag.size == 7 * MIB + 5
        assert regions.state(target.storage) == ({}, {})
    done = regions.sync()
    assert done.in_step
    assert not done.errors
    # Once, for all three.
    assert done.read_bytes <= (7 * MIB + 5) * 1.02
    assert all(len(target.brought) == 3 and len(target.tags) == 2 for target in done.targets)
    in_step(regions)
    for name in ("us", "hub", "nas"):
        regions.verified(name)
    again = regions.sync()
    assert again.in_step
    assert not any(target.brought or target.tags or target.sent_bytes for target in again.targets)

    hoist.tag("eu//sd15/a:v2", "stable", config=regions.config)
    regions.publish("eu//llm/b:v2", noise(MIB, 3), tags=["stable"])
    third = regions.sync()
    assert third.in_step
    assert all([*map(str, target.brought)] == ["llm/b:v2"] for target in third.targets)
    in_step(regions)
    with regions.opened("us") as us:
        assert [move.note for move in us.tag_moves("sd15/a", "stable")] == ["sync from eu"] * 2


@pytest.mark.parametrize("source", ["hub", "nas"])
def test_from_a_registry_and_from_a_directory(regions: Regions, source: str) -> None:
    regions.plan(**{"from": source, "to": [name for name in regions.storages if name != source]})
    regions.publish(f"{source}//m/one:v1", b"1", tags=["stable"])
    regions.publish(f"{source}//m/one:v2", b"2")
    assert regions.sync().in_step
    in_step(regions)
    assert regions.sync(dry_run=True).in_step


def test_the_same_version_is_known_by_its_digest_whatever_brought_it(regions: Regions) -> None:
    for name in regions.storages:
        regions.publish(f"{name}//m/one:v1", b"same")
    found = regions.sync()
    assert found.in_step
    assert not any(target.brought for target in found.targets)


def test_other_content_is_a_conflict_and_is_not_written_over(regions: Regions) -> None:
    regions.publish("eu//m/one:v1", b"ours", tags=["stable"])
    theirs = {name: regions.publish(f"{name}//m/one:v1", b"theirs") for name in ("us", "hub", "nas")}
    regions.publish("eu//m/two:v1", b"other", tags=["stable"])
    done = regions.sync()
    assert not done.in_step
    for target in done.targets:
        (problem,) = target.problems
        assert isinstance(problem.error, Conflict)
        assert problem.what == "m/one:v1"
        assert regions.state(target.storage)[0]["m/one:v1"] == theirs[target.storage]
        # Its tag is not moved; that of the other model is.
        assert regions.state(target.storage)[1] == {"m/two:stable": "v1"}


def test_only_what_the_plan_names_comes(directories: Regions) -> None:
    for number in range(1, 5):
        directories.publish(f"eu//sd15/a:v{number}", bytes([number]))
        os.utime(directories.home / f"eu/.hoist/versions/sd15/a/v{number}/manifest.json", (number, number))
    directories.publish("eu//llm/b:v1", b"b1", tags=["stable", "canary"])
    directories.publish("eu//llm/b:v2", b"b2")
    directories.publish("eu//other:v1", b"o", tags=["stable"])
    hoist.tag("eu//sd15/a:v1", "stable", config=directories.config)
    directories.plan(models=["sd15/*", "llm/b:stable"], keep=2, tags=["stable"], to=["us"])
    assert directories.sync().in_step
    versions, tags = directories.state("us")
    assert sorted(versions) == ["llm/b:v1", "sd15/a:v1", "sd15/a:v3", "sd15/a:v4"]
    assert tags == {"llm/b:stable": "v1", "sd15/a:stable": "v1"}


def test_a_registry_that_lists_no_models_is_asked_for_those_of_the_plan(
    directories: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoCatalog(Wrapper):
        def survey(self, name: str = "") -> tuple[Mapping[Version, Seen], Sequence[Tag]]:
            if not name:
                raise StorageUnsupported("the registry does not list its repositories")
            return self.inner.survey(name)

    wrapped(monkeypatch, {"us": NoCatalog})
    names = [f"m{number}" for number in range(12)]
    for name in names:
        directories.publish(f"eu//{name}:v1", name.encode(), tags=["stable"])
    directories.plan(to=["us"], models=names)
    assert directories.sync().in_step
    assert not directories.sync().targets[0].brought
    in_step(directories, "eu", "us")
    directories.plan(to=["us"], models=["m*"])
    (problem,) = directories.sync().targets[0].problems
    assert isinstance(problem.error, StorageUnsupported)


def test_pruning(directories: Regions) -> None:
    directories.plan(keep=2, prune=True, to=["us"])
    for number in range(1, 4):
        directories.publish(f"eu//m:v{number}", bytes([number]))
        os.utime(directories.home / f"eu/.hoist/versions/m/v{number}/manifest.json", (number, number))
        hoist.copy(f"eu//m:v{number}", "us", config=directories.config)
    directories.publish("us//m:own", b"only there")
    hoist.tag("us//m:v1", "pinned", config=directories.config)
    directories.publish("us//n:v1", b"n", tags=["of-its-own"])
    first = directories.sync()
    # `pinned` is not at the source, so it goes, and v1 with it; what only the target has stays.
    (target,) = first.targets
    assert [tag.tag for tag in target.untagged] == ["pinned"]
    assert list(map(str, target.removed)) == ["m:v1"]
    assert first.in_step
    assert sorted(directories.state("us")[0]) == ["m:own", "m:v2", "m:v3", "n:v1"]
    assert directories.state("us")[1] == {"n:of-its-own": "v1"}
    assert "m:v1" in directories.state("eu")[0]


def test_an_emptied_source_prunes_nothing(directories: Regions) -> None:
    directories.publish("us//m:v1", b"1", tags=["stable"])
    directories.plan(keep=1, prune=True, to=["us"])
    before = directories.state("us")
    assert directories.sync().in_step
    assert directories.state("us") == before


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


def test_a_region_that_is_down_holds_nobody_back(regions: Regions) -> None:
    regions.storages["us"] = regions.storages["us"].replace("endpoint = ", "# ") + '\nendpoint = "http://127.0.0.1:9"'
    regions.plan(to=["us", "nas", "gone"])
    regions.storages["gone"] = 'url = "./gone"'
    regions.plan(to=["us", "nas", "gone"])
    regions.publish("eu//m/one:v1", b"1", tags=["stable"])
    done = regions.sync()
    down, nas, gone = done.targets
    assert nas.in_step
    in_step(regions, "eu", "nas")
    assert isinstance(down.problems[0].error, StorageUnavailable)
    assert isinstance(gone.problems[0].error, StorageNotFound)
    assert not done.in_step
    assert down.difference is gone.difference is None


def test_a_source_that_is_down_is_raised_and_changes_nothing(directories: Regions) -> None:
    directories.publish("us//m:v1", b"1", tags=["stable"])
    (directories.home / "eu").rmdir()
    directories.plan(prune=True)
    with pytest.raises(StorageNotFound):
        directories.sync()
    assert directories.state("us")[1] == {"m:stable": "v1"}


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


def test_clocks_that_lie(directories: Regions) -> None:
    """A target whose clock is far off, forward or back, keeps and loses what it would by any clock."""
    directories.plan(to=["us", "ap"], keep=2, prune=True)
    for number in range(1, 4):
        directories.publish(f"eu//m:v{number}", bytes([number]))
        os.utime(directories.home / f"eu/.hoist/versions/m/v{number}/manifest.json", (number, number))
        hoist.copy(f"eu//m:v{number}", ["us", "ap"], config=directories.config)
        for name, at in (("us", 4e9 - number), ("ap", 5.0 - number)):
            os.utime(directories.home / f"{name}/.hoist/versions/m/v{number}/manifest.json", (at, at))
    assert directories.sync().in_step
    for name in ("us", "ap"):
        assert sorted(directories.state(name)[0]) == ["m:v2", "m:v3"]


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


def test_signatures_come_along_and_after(regions: Regions, tmp_path: Path) -> None:
    ann, bob = make_pair(tmp_path, "ann"), make_pair(tmp_path, "bob")
    regions.publish("eu//m/one:v1", b"1", tags=["stable"])
    hoist.sign("eu//m/one:v1", ann.private, config=regions.config)
    assert regions.sync().in_step
    for name in ("us", "hub", "nas"):
        assert hoist.verify(f"{name}//m/one:v1", signed_by=[ann.public], config=regions.config).signed_by
    hoist.sign("eu//m/one:v1", bob.private, config=regions.config)
    done = {target.storage: target for target in regions.sync().targets}
    # Of a registry nothing tells who signed what is there.
    assert {name: len(target.signed) for name, target in done.items()} == {"us": 1, "hub": 0, "nas": 1}
    for name in ("us", "nas"):
        assert hoist.verify(f"{name}//m/one:v1", signed_by=[bob.public], config=regions.config).signed_by
    assert regions.sync(dry_run=True).in_step


def test_a_damaged_version_is_told_and_the_others_come(directories: Regions, tmp_path: Path) -> None:
    directories.publish("eu//m:v1", noise(MIB, 1), tags=["stable"])
    directories.publish("eu//m:v2", noise(MIB, 2), tags=["latest"])
    (tmp_path / "eu/m/v1/0.bin").chmod(0o644)
    (tmp_path / "eu/m/v1/0.bin").write_bytes(noise(MIB, 3))
    done = directories.sync()
    for target in done.targets:
        assert [problem.what for problem in target.problems] == ["m:v1"]
        assert (target.lag.versions, target.lag.tags) == (1, 1)
        assert directories.state(target.storage)[1] == {"m:latest": "v2"}
