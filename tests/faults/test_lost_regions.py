"""Regions that are lost in the middle: copies, and all that stands on them. Nothing is lost, nothing half visible, tags name
what is there, and running it again when the region is well completes it.

Each row of the table is a command, a region and a kind of fault, tried at several random, seeded moments;
docs/reliability.md has a run of all of it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4
from zlib import crc32

import pytest
from breakable import FROZEN, FULL, KILLED, READ_ONLY, SLOW, four_regions
from region_world import COMMAND, MODEL, RETRY_SECONDS, TAG, Table, World, run_with_fault, said_why

from conftest import ONE_IN, require
from hoist.testing.servers import RadosgwServer
from makers import files_below
from zygote import Ended, User, Zygote

pytestmark = [pytest.mark.matrix, pytest.mark.filterwarnings("ignore::hoist.errors.HoistWarning")]
FAULTS = 3 if ONE_IN == 1 else 1
# CI has time for a few of these rows, beside those that it leaves out of every table.
THINNED = 1 if ONE_IN == 1 else 2
# A moment may come when the command has just ended: then it is tried again.
TRIES = 3 * FAULTS
CONFLICT, UNAVAILABLE = 4, 6
PATIENCE_SECONDS = 300.0
ONE_IN_LARGE = 4
SERVED = (KILLED, FROZEN, FULL, READ_ONLY, SLOW)
STRUCK = {"eu": SERVED, "us": SERVED, "reg": SERVED, "nas": (KILLED, FULL, READ_ONLY), COMMAND: (KILLED, FROZEN)}
ROWS = [(where, kind) for where, kinds in STRUCK.items() for kind in kinds]
ROWS = [row for number, row in enumerate(ROWS) if number % THINNED == 0]
# What hinders readers.
LOADS = [(where, kind) for where, kind in ROWS if kind in (KILLED, FROZEN, SLOW) and where != COMMAND]


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    found = Table()
    yield found
    found.show()


@pytest.fixture(scope="module")
def world(radosgw_server: RadosgwServer, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("regions")
    with four_regions(home, radosgw_server, f"regions-{uuid4().hex[:12]}", require) as regions:
        env = {"AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"), "HOIST_RETRY_SECONDS": RETRY_SECONDS}
        for region in regions.values():
            env |= region.env
        found = World(regions, User(zygote, home, env))
        found.fill()
        yield found
        found.close()


def rng_of(*row: object) -> random.Random:
    return random.Random(crc32(repr(row).encode()))


@dataclass(frozen=True)
class Trial:
    """One fault to try: three regions, the first of them the source of a new version."""

    names: tuple[str, ...]
    label: str
    digest: str


def trials(
    world: World, table: Table, verb: str, where: str, kind: str, rng: random.Random, *, everywhere: bool = False
) -> Iterator[Trial]:
    """FAULTS that strike, each on a new version, which is in its source (or `everywhere`) and gone from all afterwards."""
    wanted = table.struck_of(verb, where, kind) + FAULTS
    for _ in range(TRIES):
        names = chosen(rng, world, where)
        label, digest = world.publish(
            names if everywhere else names[:1],
            large=rng.randrange(ONE_IN_LARGE) == 0,
            tag=verb != "copy" and verb != "rollout",
        )
        yield Trial(tuple(names), label, digest)
        world.forget(label)
        if table.struck_of(verb, where, kind) >= wanted:
            return


def chosen(rng: random.Random, world: World, where: str) -> list[str]:
    """Three regions in any order: the one that is to be broken among them."""
    others = [name for name in world.regions if name != where]
    found = rng.sample(others, 3 if where == COMMAND else 2) + [where] * (where != COMMAND)
    rng.shuffle(found)
    return found


def in_step_at_last(world: World, words: list[str], ended: list[Ended], trial: Trial) -> None:
    """After a fault all holds that is to hold; the same command, run when all is well, puts everything in its place."""
    assert all(said_why(each) for each in ended), ended
    for name in trial.names:
        world.look(name)
    patient = world.user.with_env(HOIST_RETRY_SECONDS="10")
    again = patient.tries(*words)
    if again.code == CONFLICT and "--replace-unfinished" in again.error and world.was_unmounted:
        # What went to the folder below the mount point came back without its claim, or the claim without it.
        again = patient.tries(*words, "--replace-unfinished")
    assert again.code == 0, (trial, ended, again)
    for name in trial.names:
        seen = world.look(name)
        assert seen.versions[f"{MODEL}:{trial.label}"] == trial.digest, (name, seen)
        moved = words[0] != "copy" or name != trial.names[0]
        assert not moved or seen.tags[f"{MODEL}:{TAG}"] == trial.digest, (name, seen)


@pytest.mark.parametrize(("where", "kind"), ROWS)
def test_copies(world: World, table: Table, where: str, kind: str) -> None:
    rng = rng_of("copy", where, kind)
    for trial in trials(world, table, "copy", where, kind, rng):
        words = ["copy", f"{trial.names[0]}//{MODEL}:{trial.label}", *trial.names[1:], "--tag", TAG, "--quiet"]
        ended = run_with_fault(world, table, "copy", [words], where, kind, rng)
        in_step_at_last(world, words, ended, trial)


@pytest.mark.parametrize(("where", "kind"), ROWS)
def test_syncs(world: World, table: Table, where: str, kind: str) -> None:
    rng = rng_of("sync", where, kind)
    for trial in trials(world, table, "sync", where, kind, rng):
        words = ["sync", world.plan(trial.names[0], trial.names[1:]), "--quiet"]
        ended = run_with_fault(world, table, "sync", [words], where, kind, rng)
        in_step_at_last(world, words, ended, trial)


@pytest.mark.parametrize(("where", "kind"), ROWS)
def test_rollouts(world: World, table: Table, where: str, kind: str) -> None:
    rng = rng_of("rollout", where, kind)
    for trial in trials(world, table, "rollout", where, kind, rng):
        regions = ",".join(rng.sample(trial.names, len(trial.names)))
        words = ["rollout", f"{MODEL}:{trial.label}", "--tag", TAG, "--regions", regions, "--check", "true", "--quiet"]
        ended = run_with_fault(world, table, "rollout", [words], where, kind, rng)
        in_step_at_last(world, words, ended, trial)


@pytest.mark.parametrize(("where", "kind"), [row for row in ROWS if row[1] in (KILLED, READ_ONLY)])
def test_rollbacks(world: World, table: Table, where: str, kind: str) -> None:
    rng = rng_of("rollback", where, kind)
    for trial in trials(world, table, "rollback", where, kind, rng, everywhere=True):
        words = ["rollback", MODEL, "--tag", TAG, "--regions", ",".join(trial.names)]
        ended = run_with_fault(world, table, "rollback", [words], where, kind, rng)
        assert all(said_why(each) for each in ended), ended
        for name in trial.names:
            world.look(name)
        again = world.user.tries(*words)
        assert again.code == 0 or {world.look(name).tags[f"{MODEL}:{TAG}"] for name in trial.names} == {world.first}, (
            ended,
            again,
        )
        for name in trial.names:
            assert world.look(name).tags[f"{MODEL}:{TAG}"] == world.first, (name, ended, again)


@pytest.mark.parametrize("where", ["eu", "us", "reg", "nas"])
def test_two_syncs_at_once(world: World, table: Table, where: str) -> None:
    rng = rng_of("two syncs", where)
    kind = rng.choice(STRUCK[where])
    for trial in trials(world, table, "two syncs", where, kind, rng):
        words = ["sync", world.plan(trial.names[0], trial.names[1:]), "--quiet"]
        ended = run_with_fault(world, table, "two syncs", [words, words], where, kind, rng)
        in_step_at_last(world, words, ended, trial)


@pytest.mark.parametrize(("where", "kind"), LOADS)
def test_loads_from_several(world: World, table: Table, where: str, kind: str, tmp_path: Path) -> None:
    world.fill_large()
    rng = rng_of("load", where, kind)
    wanted = table.struck_of("load", where, kind) + FAULTS
    for number in range(TRIES):
        members = [where, *rng.sample([name for name in world.regions if name != where], 2)]
        user = world.user.with_env(HOIST_STORAGE_ALL_KIND="any", HOIST_STORAGE_ALL_MEMBERS=",".join(members))
        out = tmp_path / str(number)
        words = (
            ["load", "all//m/large:v1", "model.safetensors"] if number % 2 else ["pull", "all//m/large:v1", str(out)]
        )
        # Slower than they are, so that there is a middle.
        words += ["--max-bandwidth", "24MiB", "--quiet"]
        (ended,) = run_with_fault(replace(world, user=user), table, "load", [words], where, kind, rng)
        assert ended.code == 0, (members, words, ended)
        assert number % 2 or files_below(out) == world.large
        if table.struck_of("load", where, kind) >= wanted:
            return


@pytest.mark.long
@pytest.mark.parametrize(("verb", "where"), [("sync", "us"), ("sync", "reg"), ("copy", "us"), ("copy", "reg")])
def test_one_that_is_frozen_for_good_holds_nobody_back(world: World, verb: str, where: str) -> None:
    """Nor is it waited for without an end: it is given up, and the others have got all."""
    other = "reg" if where == "us" else "us"
    label, digest = world.publish(["nas"], large=True, tag=True)
    copying = ["copy", f"nas//{MODEL}:{label}", where, other, "--tag", TAG, "--quiet"]
    words = copying if verb == "copy" else ["sync", world.plan("nas", [where, other]), "--quiet"]
    region = world.regions[where]
    assert region.strike(FROZEN)
    try:
        ended = world.user.zygote.start(world.user.home, world.user.env, *words).end(0, PATIENCE_SECONDS)
    finally:
        region.mend()
    assert ended.code == UNAVAILABLE, ended
    assert said_why(ended), ended
    assert world.look(other).tags[f"{MODEL}:{TAG}"] == digest
    assert f"{MODEL}:{label}" not in world.look(where).versions
    world.user.run(*words)
    assert world.look(where).tags[f"{MODEL}:{TAG}"] == digest
    world.forget(label)
