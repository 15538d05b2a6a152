"""Roll-outs over directories, a bucket and a registry: what moves, what goes back, and what is left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from rollout_regions import NAME, World

import hoist
from hoist.errors import (
    Cancelled,
    Conflict,
    HoistError,
    HoistWarning,
    InvalidReference,
    StorageNotFound,
    UsageError,
    VersionNotFound,
)
from hoist.rollout.outcome import Checked, RegionRolled, RolledOut
from hoist.rollout.told import Told

pytest_plugins = ["rollout_regions"]
V2 = f"{NAME}:v2"


class Meanwhile(Told):
    """Does something when a region's check has ended."""

    def __init__(self, region: str, action: Callable[[], object]) -> None:
        self._region = region
        self._action = action

    def checked(self, region: str, checked: Checked) -> None:
        if region == self._region:
            self._action()


def roll(world: World, **more: Any) -> RolledOut:
    given: dict[str, Any] = {"tag": "stable", "regions": world.regions, "config": world.config} | more
    return hoist.rollout(given.pop("reference", V2), **given)


def states(done: RolledOut) -> list[str]:
    return [region.state for region in done.regions]


def fails_in(region: str) -> str:
    return f'[ "$HOIST_ROLLOUT_REGION" != {region} ]'


def test_all_kinds_get_the_version_and_then_the_tag(mixed_world: World) -> None:
    seen = mixed_world.home / "seen"
    check = (
        f'echo "$HOIST_ROLLOUT_LOCATION $HOIST_ROLLOUT_VERSION $HOIST_ROLLOUT_TAG $HOIST_ROLLOUT_PREVIOUS" >> {seen}'
    )
    planned = roll(mixed_world, dry_run=True)
    assert (states(planned), mixed_world.all_stand()) == (["waiting"] * 3, ["v1"] * 3)
    assert [region.brought and region.brought.sent_bytes for region in planned.regions] == [None, 200, 200]
    done = roll(mixed_world, check=check)
    assert (done.error, done.exit_code, states(done)) == (None, 0, ["moved"] * 3)
    assert [region.brought is not None for region in done.regions] == [False, True, True]
    assert mixed_world.all_stand() == ["v2"] * 3
    assert seen.read_text() == "".join(f"{region}//{NAME}:stable v2 stable v1\n" for region in mixed_world.regions)
    # A check that fails: by the same history, they all go back; and forth again.
    failed = roll(mixed_world, check=fails_in("registry"))
    assert (states(failed), mixed_world.all_stand()) == (["back"] * 3, ["v1"] * 3)
    assert str(failed.error) == "the check failed in registry: exit status 1"
    assert failed.exit_code == 1
    again = roll(mixed_world)
    assert (states(again), mixed_world.all_stand()) == (["moved"] * 3, ["v2"] * 3)
    for region in mixed_world.regions:
        notes = mixed_world.notes(region)[-3:]
        assert notes[0] == notes[2] == "rollout to dir, bucket, registry"
        assert notes[1] == "rollout failed: the check failed in registry: exit status 1"


def test_a_tag_that_was_new_is_gone_again(world: World) -> None:
    world.tag("b", "v1", "next")
    done = roll(world, tag="next", check=fails_in("c"))
    assert (states(done), world.all_stand("next")) == (["back"] * 3, [None, "v1", None])


def test_regions_whose_turn_did_not_come(world: World) -> None:
    done = roll(world, check=fails_in("b"))
    assert (states(done), world.all_stand()) == (["back", "back", "waiting"], ["v1"] * 3)
    assert world.notes("c") == [""]
    assert [region.error is None for region in done.regions] == [True, False, True]


def test_stop_on_failure_and_a_second_run_that_goes_on(world: World) -> None:
    done = roll(world, check=fails_in("b"), on_failure="stop")
    assert (states(done), world.all_stand()) == (["moved", "moved", "waiting"], ["v2", "v2", "v1"])
    # As after a kill: what the first run has moved is known by the history, and goes back with the rest.
    again = roll(world, check=fails_in("c"))
    assert (states(again), world.all_stand()) == (["back"] * 3, ["v1"] * 3)
    assert [region.before and region.before.label for region in again.regions] == ["v1"] * 3


def test_what_was_there_before_is_no_rollouts(world: World) -> None:
    world.tag("a", "v2")
    done = roll(world, check=fails_in("b"))
    assert (states(done), world.all_stand()) == (["already", "back", "waiting"], ["v2", "v1", "v1"])


def test_somebody_else_moves_the_tag_before_its_turn(world: World) -> None:
    world.publish("b", "v0")
    done = roll(world, check="true", told=Meanwhile("a", lambda: world.tag("b", "v0")))
    assert isinstance(done.error, Conflict)
    assert (done.exit_code, states(done), world.all_stand()) == (4, ["back", "left", "waiting"], ["v1", "v0", "v1"])


def test_somebody_else_moves_the_tag_after_it_was_moved(world: World) -> None:
    world.publish("a", "v3")
    done = roll(world, check=fails_in("b"), told=Meanwhile("b", lambda: world.tag("a", "v3")))
    assert (states(done), world.all_stand()) == (["left", "back", "waiting"], ["v3", "v1", "v1"])


def test_what_stood_there_is_brought_back_if_it_went(world: World) -> None:
    done = roll(world, check=fails_in("b"), told=Meanwhile("b", lambda: world.remove("a", "v1")))
    assert (states(done), world.all_stand()) == (["back", "back", "waiting"], ["v1"] * 3)


def test_what_stood_there_is_nowhere_any_more(world: World) -> None:
    for region in ("b", "c"):
        world.publish(region, "v0")
        world.tag(region, "v0")
        world.remove(region, "v1")
    done = roll(world, check=fails_in("b"), told=Meanwhile("b", lambda: world.remove("a", "v1")))
    assert (states(done), world.all_stand()) == (["failed", "back", "waiting"], ["v2", "v0", "v0"])
    assert isinstance(done.regions[0].error, VersionNotFound)
    # The check's failure in b, and what could not be put back in a.
    assert done.exit_code == 1


def test_cancelled_while_it_waits_and_while_it_checks(world: World) -> None:
    stop = Event()
    done = roll(world, check="true", wait=100, told=Meanwhile("a", stop.set), stop=stop)
    assert isinstance(done.error, Cancelled)
    assert (done.exit_code, states(done), world.all_stand()) == (130, ["back", "waiting", "waiting"], ["v1"] * 3)

    class Ends(Told):
        def checking(self, region: str) -> None:
            if region == "b":
                stop.set()

    stop.clear()
    done = roll(world, check="sleep 0.2", told=Ends(), stop=stop)
    assert (states(done), world.all_stand()) == (["back", "back", "waiting"], ["v1"] * 3)


def test_ctrl_c_in_python_puts_things_back_too(world: World) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        roll(world, check="true", told=Meanwhile("b", interrupt))
    assert world.all_stand() == ["v1"] * 3
    assert world.notes("b")[-1] == "rollout failed: cancelled"


def test_a_listener_that_fails_keeps_nothing_from_going_back(world: World) -> None:
    class Broken(Told):
        def returning(self, why: str) -> None:
            raise BrokenPipeError

        def returned(self, region: RegionRolled) -> None:
            raise BrokenPipeError

    done = roll(world, check=fails_in("b"), told=Broken())
    assert (states(done), world.all_stand()) == (["back", "back", "waiting"], ["v1"] * 3)

    class Gone(Broken):
        def checking(self, region: str) -> None:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        roll(world, check="true", told=Gone())
    assert world.all_stand() == ["v1"] * 3


def test_a_region_that_is_lost_on_the_way(world: World) -> None:
    done = roll(world, check="true", told=Meanwhile("b", lambda: (world.home / "c").rename(world.home / "gone")))
    (world.home / "gone").rename(world.home / "c")
    assert (states(done), done.exit_code, world.all_stand()) == (["back", "back", "failed"], 3, ["v1"] * 3)
    # So is what was lost after it was moved; it goes back with the others when the rollout is run again.
    hidden = world.home / "gone"
    done = roll(world, check=fails_in("b"), told=Meanwhile("b", lambda: (world.home / "a").rename(hidden)))
    hidden.rename(world.home / "a")
    assert (states(done), done.exit_code, world.all_stand()) == (["failed", "back", "waiting"], 1, ["v2", "v1", "v1"])
    again = roll(world, check=fails_in("b"))
    assert (states(again), world.all_stand()) == (["back", "back", "waiting"], ["v1"] * 3)


def test_a_region_that_is_not_there_holds_all_tags_back(world: World) -> None:
    (world.home / "c").rename(world.home / "gone")
    with pytest.raises(StorageNotFound):
        roll(world)
    (world.home / "gone").rename(world.home / "c")
    assert world.all_stand() == ["v1"] * 3
    assert all(world.notes(region) == [""] for region in world.regions)


def test_a_region_that_takes_no_version_holds_all_tags_back(world: World) -> None:
    # A claim of other content.
    with world.open("c") as storage:
        from hoist.storage.base import Version

        storage.begin(Version(NAME, "v2"), "sha256:" + "1" * 64)
    done = roll(world)
    assert (states(done), done.exit_code, world.all_stand()) == (["waiting", "waiting", "failed"], 4, ["v1"] * 3)
    assert "no tag was moved" in str(done.error)
    assert isinstance(done.regions[2].error, Conflict)


def test_where_the_version_comes_from(world: World, tmp_path: Path) -> None:
    (tmp_path / "ci").mkdir()
    config = world.with_env(HOIST_STORAGE_CI_URL=str(tmp_path / "ci"))
    elsewhere = World(world.home, config, ("ci",))
    elsewhere.publish("ci", "v3")
    with pytest.raises(VersionNotFound, match="none of a, b, c has"):
        roll(world, reference=f"{NAME}:v3")
    elsewhere.tag("ci", "v3", "candidate")
    done = roll(world, reference=f"{NAME}:candidate", source="ci", config=config)
    assert (done.version.label, done.source, world.all_stand()) == ("v3", "ci", ["v3"] * 3)
    with pytest.raises(VersionNotFound):
        roll(world, source="b", reference=f"{NAME}:v2")
    assert roll(world, reference=f"{NAME}:v2", source="a").error is None


def test_other_content_under_the_label(world: World) -> None:
    with world.open("b") as storage:
        source = world.home / "other"
        source.write_bytes(b"other")
        from makers import publish

        publish(source, storage, V2)
    with pytest.raises(Conflict, match="other content"):
        roll(world)
    assert world.all_stand() == ["v1"] * 3


def test_the_regions_of_a_plan(world: World) -> None:
    plan = '[sync.production]\nfrom = "a"\nto = ["c", "b"]\ntags = ["latest"]\n'
    (world.home / "hoist.toml").write_text(plan)
    done = roll(world, plan="production", regions=(), config=world.with_env())
    assert [region.region for region in done.regions] == ["a", "c", "b"]
    assert world.all_stand() == ["v2"] * 3
    (world.home / "hoist.toml").write_text(plan.replace("latest", "sta*"))
    with pytest.warns(HoistWarning, match="keeps sd15/any:stable in step"):
        roll(world, plan="production", regions=["b"], config=world.with_env(), reference=f"{NAME}:v1")
    assert world.all_stand() == ["v2", "v1", "v2"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"regions": ()}, "in which regions"),
        ({"regions": ("a//m:v1",)}, "is a location"),
        ({"tag": "v2"}, "the version itself"),
        ({"check": " "}, "empty"),
        ({"check": "true", "check_timeout": 0}, "needs time"),
        ({"on_failure": "hope"}, "rollback or stop"),
    ],
)
def test_what_has_no_meaning(world: World, given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        roll(world, **given)
    with pytest.raises(InvalidReference):
        roll(world, tag="no tag")


def test_one_region_several_times(world: World) -> None:
    done = roll(world, regions=["a,b", " a ", "c,"])
    assert [region.region for region in done.regions] == ["a", "b", "c"]


def test_a_check_that_takes_too_long(world: World) -> None:
    done = roll(world, check="sleep 60", check_timeout=0.3)
    assert isinstance(done.error, HoistError)
    assert "its time was over" in str(done.error)
    assert world.all_stand() == ["v1"] * 3


def test_a_tag_of_the_same_name_as_a_version_elsewhere(world: World) -> None:
    """What a region refuses is told of it, and the others go back."""
    world.publish("b", "next")
    done = roll(world, tag="next")
    assert (states(done), done.exit_code) == (["back", "failed", "waiting"], 4)
    with world.open("a") as storage:
        assert storage.find_tag(NAME, "next") is None
