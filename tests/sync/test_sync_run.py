"""Runs of a plan on real servers of all kinds: what comes, what goes, and what cannot."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sync_making import Regions, in_step, wrapped

import hoist
from hoist.config import StorageConfig
from hoist.errors import Conflict, InvalidConfig, StorageNotFound, StorageUnavailable, StorageUnsupported
from hoist.storage.base import Tag, Version
from hoist.storage.seen import Seen
from hoist.storage.wrap import Wrapper
from hoist.sync.plan import SyncPlan
from hoist.sync.run import run_plan
from makers import noise
from signing_making import make_pair

pytest_plugins = ["sync_fixtures"]
MIB = 1 << 20


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


def test_a_target_that_is_the_source_by_another_name_is_refused(directories: Regions) -> None:
    directories.plan(to=[str(directories.home / "eu") + "/"])
    with pytest.raises(InvalidConfig, match="is the same place as 'eu'"):
        directories.sync()


def test_a_target_that_is_the_source_by_a_link_fails_alone(directories: Regions) -> None:
    directories.publish("eu//m:v1", b"1")
    (directories.home / "link").symlink_to(directories.home / "eu")
    directories.plan(to=[str(directories.home / "link"), "us"], prune=True, keep=1)
    by_link, other = directories.sync().targets
    assert [type(problem.error) for problem in by_link.problems] == [InvalidConfig]
    assert "is the same place as 'eu'" in str(by_link.problems[0].error)
    assert other.in_step
    assert directories.state("us")[0]


def test_a_logical_target_is_not_pruned_where_it_has_the_source_as_a_member(directories: Regions) -> None:
    both = StorageConfig("both", "any://us,eu", "any", members=tuple(map(directories.config.storage, ("us", "eu"))))
    config = replace(directories.config, storages={**directories.config.storages, "both": both})
    for source, target in (("eu", "both"), ("both", "us")):
        with pytest.raises(InvalidConfig, match="have a place in common"):
            run_plan(SyncPlan("p", source, (target,), keep=1, prune=True), config)
        # Bringing alone takes nothing from anybody.
        assert run_plan(SyncPlan("p", source, (target,)), config).in_step
