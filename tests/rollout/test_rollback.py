"""Rollbacks and histories over regions of all kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from rollout_regions import NAME, World

import hoist
from hoist.errors import Conflict, InvalidReference, StorageNotFound, UsageError, VersionNotFound, common_exit_code
from hoist.rollout.outcome import RegionBack

pytest_plugins = ["rollout_regions"]


def forth(world: World, *labels: str) -> None:
    """Roll versions out, one after the other."""
    for label in labels:
        world.publish(world.regions[0], label)
        done = hoist.rollout(f"{NAME}:{label}", tag="stable", regions=world.regions, config=world.config)
        assert done.error is None


def back(world: World, **more: Any) -> Sequence[RegionBack]:
    given: dict[str, Any] = {"regions": world.regions, "config": world.config} | more
    return hoist.rollback(NAME, tag="stable", **given)


def test_back_and_further_back_in_all_kinds(mixed_world: World) -> None:
    forth(mixed_world, "v2", "v3")
    done = back(mixed_world)
    assert [(each.before and each.before.label, each.now and each.now.label) for each in done] == [("v3", "v2")] * 3
    assert mixed_world.all_stand() == ["v2"] * 3
    assert all(each.error is None for each in back(mixed_world))
    assert mixed_world.all_stand() == ["v1"] * 3
    # Nothing is left to go back to, and v3 is not returned to.
    done = back(mixed_world)
    assert all(isinstance(each.error, VersionNotFound) for each in done)
    assert common_exit_code(each.error.exit_code for each in done if each.error) == 3
    assert [each.now and each.now.label for each in done] == ["v1"] * 3
    forth(mixed_world, "v4")
    back(mixed_world)
    assert mixed_world.all_stand() == ["v1"] * 3
    assert all(each.now is not None and not each.already for each in back(mixed_world, to="v3"))
    assert mixed_world.all_stand() == ["v3"] * 3
    assert all(each.already for each in back(mixed_world, to="v3"))
    told = hoist.history([f"{region}//{NAME}:stable" for region in mixed_world.regions], config=mixed_world.config)
    for each in told:
        labels = [move.label for move in each.tags[0].moves]
        assert labels == ["v1", "v2", "v3", "v2", "v1", "v4", "v1", "v3"]
        assert each.tags[0].moves[3].note == "rollback"


def test_a_version_that_has_gone_is_brought_back(world: World) -> None:
    forth(world, "v2")
    world.remove("b", "v1")
    done = back(world)
    assert [(each.brought, each.error) for each in done] == [(False, None), (True, None), (False, None)]
    assert world.all_stand() == ["v1"] * 3


def test_a_version_that_is_gone_everywhere(world: World) -> None:
    forth(world, "v2")
    for region in world.regions:
        world.remove(region, "v1")
    done = back(world)
    assert all(isinstance(each.error, VersionNotFound) and "--to" in str(each.error) for each in done)
    assert world.all_stand() == ["v2"] * 3


def test_a_region_that_is_down_does_not_hold_back_the_others_nor_they_the_next_run(world: World) -> None:
    world.publish("a", "v0")
    forth(world, "v2", "v3")
    (world.home / "c").rename(world.home / "gone")
    done = back(world)
    assert [each.error is None for each in done] == [True, True, False]
    assert isinstance(done[2].error, StorageNotFound)
    assert (world.stands("a"), world.stands("b")) == ("v2", "v2")
    # Once more while it is down: nobody knows what it names, so nothing goes further back.
    assert [each.already for each in back(world)] == [True, True, False]
    (world.home / "gone").rename(world.home / "c")
    done = back(world)
    assert [each.already for each in done] == [True, True, False]
    assert world.all_stand() == ["v2"] * 3
    back(world)
    assert world.all_stand() == ["v1"] * 3


def test_a_rollout_that_stopped_on_its_way(world: World) -> None:
    world.publish("a", "v0")
    forth(world, "v2")
    world.publish("a", "v3")
    check = '[ "$HOIST_ROLLOUT_REGION" = a ]'
    given: dict[str, Any] = {"tag": "stable", "regions": world.regions, "config": world.config}
    hoist.rollout(f"{NAME}:v3", check=check, on_failure="stop", **given)
    assert world.all_stand() == ["v3", "v3", "v2"]
    assert [each.already for each in back(world)] == [False, False, True]
    assert world.all_stand() == ["v2"] * 3


def test_a_region_without_the_tag(world: World) -> None:
    forth(world, "v2")
    with world.open("b") as storage:
        storage.remove_tag(NAME, "stable")
    done = back(world)
    assert [each.error is None for each in done] == [True, False, True]
    assert world.all_stand() == ["v1", None, "v1"]


def test_to_a_version_that_only_another_region_has(world: World) -> None:
    world.publish("b", "v7")
    done = back(world, to="v7")
    assert [each.brought for each in done] == [True, False, True]
    assert world.all_stand() == ["v7"] * 3
    done = back(world, to="v8")
    assert all(isinstance(each.error, VersionNotFound) for each in done)
    world.publish("a", "v9")
    with world.open("b") as storage:
        from makers import publish

        (world.home / "other").write_bytes(b"other")
        publish(world.home / "other", storage, f"{NAME}:v9")
    # One label, two contents: each region takes its own, and c what it finds first.
    back(world, to="v9")
    assert world.all_stand() == ["v9"] * 3


def test_other_content_under_the_label_that_stood_there(world: World) -> None:
    forth(world, "v2")
    world.remove("b", "v1")
    (world.home / "v1.bin").write_bytes(b"something else")
    with world.open("b") as storage:
        from makers import publish

        publish(world.home / "v1.bin", storage, f"{NAME}:v1")
    done = back(world)
    assert [type(each.error) for each in done] == [type(None), Conflict, type(None)]
    assert world.all_stand() == ["v1", "v2", "v1"]


def test_what_has_no_meaning(world: World) -> None:
    with pytest.raises(UsageError, match="in which regions"):
        back(world, regions=())
    with pytest.raises(InvalidReference):
        back(world, to="no label")
    with pytest.raises(InvalidReference):
        hoist.rollback(f"{NAME}:v1", tag="stable", regions=["a"], config=world.config)
    with pytest.raises(UsageError):
        hoist.history([], config=world.config)
    with pytest.raises(InvalidReference):
        hoist.history(f"a//{NAME}@sha256:{'0' * 64}", config=world.config)


def test_histories(world: World) -> None:
    world.tag("a", "v2", "next")
    (found,) = hoist.history(f"a//{NAME}", config=world.config)
    assert [(each.now.tag, each.now.label, len(each.moves)) for each in found.tags] == [
        ("next", "v2", 1),
        ("stable", "v1", 1),
    ]
    asked = [f"a//{NAME}:none", "a//sd15/none", f"nowhere//{NAME}", f"b//{NAME}:stable"]
    errors = [type(each.error) for each in hoist.history(asked, config=world.config)]
    assert errors == [VersionNotFound, VersionNotFound, StorageNotFound, type(None)]
    with world.open("b") as storage:
        storage.remove_tag(NAME, "stable")
    (found,) = hoist.history(f"b//{NAME}", config=world.config)
    assert (found.tags, found.error) == ((), None)
