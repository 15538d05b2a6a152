"""Regions that are lost in the middle: copies, and all that stands on them. Nothing is lost, nothing half visible, tags name
what is there, and running it again when the region is well completes it.

Each row of the table is a command, a region and a kind of fault, tried at several random, seeded moments;
docs/reliability.md has a run of all of it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from uuid import uuid4
from zlib import crc32

import pytest
from region_world import MODEL, RETRY_SECONDS, TAG, Table, World, run_with_fault, said_why
from regions import four_regions

from conftest import ONE_IN, require
from hoist.testing.servers import RadosgwServer
from zygote import Ended, User, Zygote

pytestmark = [pytest.mark.matrix, pytest.mark.filterwarnings("ignore::hoist.errors.HoistWarning")]
FAULTS = 4 if ONE_IN == 1 else 1
STRUCK = {
    "eu": ("killed", "frozen", "full", "read-only", "slow"),
    "us": ("killed", "frozen", "full", "read-only", "slow"),
    "reg": ("killed", "frozen", "full", "read-only", "slow"),
    "nas": ("killed", "full", "read-only"),
}
LARGE = 0.25
CONFLICT = 4
ROWS = [(region, kind) for region, kinds in STRUCK.items() for kind in kinds]


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


@pytest.mark.parametrize(("region", "kind"), ROWS)
def test_copies(world: World, table: Table, region: str, kind: str) -> None:
    rng = rng_of("copy", region, kind)
    for _ in range(FAULTS):
        source, *targets = chosen(rng, world, region)
        label, digest = world.publish([source], large=rng.random() < LARGE, tag=False)
        words = ["copy", f"{source}//{MODEL}:{label}", *targets, "--tag", TAG, "--quiet"]
        ended = run_with_fault(world, table, "copy", words, world.regions[region], kind, rng)
        in_step_at_last(world, words, ended, [source, *targets], label, digest)


@pytest.mark.parametrize(("region", "kind"), ROWS)
def test_syncs(world: World, table: Table, region: str, kind: str) -> None:
    rng = rng_of("sync", region, kind)
    for _ in range(FAULTS):
        source, *targets = chosen(rng, world, region)
        label, digest = world.publish([source], large=rng.random() < LARGE, tag=True)
        words = ["sync", world.plan(source, targets), "--quiet"]
        ended = run_with_fault(world, table, "sync", words, world.regions[region], kind, rng)
        in_step_at_last(world, words, ended, [source, *targets], label, digest)


def in_step_at_last(world: World, words: list[str], ended: Ended, names: list[str], label: str, digest: str) -> None:
    """After a fault all holds that is to hold; the same command, run when all is well, puts everything in its place."""
    assert said_why(ended), ended
    for name in names:
        world.look(name)
    again = world.user.tries(*words)
    if again.code == CONFLICT and "--replace-unfinished" in again.error and world.was_unmounted:
        # What went to the folder below the mount point came back without its claim, or the claim without it.
        again = world.user.tries(*words, "--replace-unfinished")
    assert again.code == 0, (names, ended, again)
    for name in names:
        seen = world.look(name)
        assert seen.versions[f"{MODEL}:{label}"] == digest, (name, seen)
        assert name == names[0] or seen.tags[f"{MODEL}:{TAG}"] == digest, (name, seen)
    world.forget(label)


def chosen(rng: random.Random, world: World, region: str, count: int = 3) -> list[str]:
    """So many regions, in any order: this one, and others."""
    others = [name for name in world.regions if name != region]
    found = [region, *rng.sample(others, count - 1)]
    rng.shuffle(found)
    return found
