"""Faults between a publish and its store: the version is whole or not there, and running it again completes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_users import bucket_env

from hoist.testing.servers import FaultServer, Rule, S3Server, ServerOrigin
from hoist.testing.servers.fault_kinds import (
    Fault,
    FlipSent,
    Garbage,
    Redirect,
    Refusal,
    Replaced,
    Reset,
    Short,
    Stalled,
)
from makers import Raw, files_below, noise, safetensors_bytes, write_files
from zygote import User, Zygote

pytest_plugins = ["fault_users"]
pytestmark = pytest.mark.matrix

MIB = 1 << 20
# One file that is sent in parts, one that is not, and a small one.
FILES = {
    "large.safetensors": safetensors_bytes([Raw(f"t{n}", "U8", [3 * MIB], noise(3 * MIB, n)) for n in range(6)]),
    "middle.bin": noise(MIB, 7),
    "config.json": b"{}",
}
FAULTS: dict[str, Fault] = {
    "503": Refusal(503, retry_after=1),
    "500": Refusal(500, code="InternalError"),
    "500, but done": Refusal(500, code="InternalError", done=True),
    "429": Refusal(429),
    "403": Refusal(403, code="AccessDenied"),
    "redirect": Redirect(),
    "reset before": Reset("before"),
    "reset, but done": Reset("after"),
    "short answer": Short(),
    "stalled, then closed": Stalled("after", 0.2),
    "not HTTP": Garbage(),
    "another answer": Replaced(),
}


@dataclass(frozen=True)
class Behind:
    """A user whose way to the store can be made sick, and the same user with a healthy way."""

    server: FaultServer
    sick: User
    healthy: User
    tells: bool


# At the first request of its method, in the middle for good, in the middle for a while.
MOMENTS = [("PUT", 0, 1), ("PUT", 2, None), ("*", 4, 2)]


@pytest.fixture(params=["radosgw", "rclone"])
def behind(request: pytest.FixtureRequest, zygote: Zygote, tmp_path: Path) -> Iterator[Behind]:
    store = request.getfixturevalue(f"{request.param}_server")
    assert isinstance(store, S3Server)
    with FaultServer(ServerOrigin(store.endpoint)) as server:
        write_files(tmp_path / "m", FILES)
        env = bucket_env(store)
        healthy = User(zygote, tmp_path, env)
        yield Behind(
            server, healthy.with_env(HOIST_STORAGE_HERE_ENDPOINT=server.endpoint), healthy, store.name == "radosgw"
        )


def is_whole_or_absent(user: User, location: str) -> bool:
    """Whether the version is there; then it is whole."""
    listed = [item["version"] for item in user.run("list", "here", "--json").json["versions"]]
    if location.rpartition(":")[2] not in listed:
        return False
    ended = user.tries("verify", location, "--quiet")
    assert ended.code == 0, ended.out
    return True


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("behind", ["radosgw"], indirect=True)
def test_a_fault_somewhere_in_a_publish(behind: Behind, name: str) -> None:
    plans = [Rule(FAULTS[name], method=method, first=first, count=count) for method, first, count in MOMENTS]
    struck = 0
    for number, rule in enumerate(plans):
        location = f"here//m:v{number}"
        behind.server.plan(rule)
        ended = behind.sick.tries("publish", "m", location, "--quiet")
        struck += behind.server.struck()
        assert ended.code == 0 or ended.error.startswith("hoist: error: "), ended.error
        there = is_whole_or_absent(behind.healthy, location)
        assert there or ended.code > 0
        if not there:
            behind.healthy.run("publish", "m", location, "--quiet")
            assert is_whole_or_absent(behind.healthy, location)
        if number == len(plans) - 1:
            behind.healthy.run("pull", location, "out", "--quiet")
            assert files_below(behind.healthy.home / "out") == FILES
        behind.healthy.run("remove", location, "--yes")
    assert struck


@pytest.mark.parametrize("first", range(6))
def test_a_bit_flipped_on_the_way_to_the_store(behind: Behind, first: int) -> None:
    """A store that tells what arrived (its ETags, its check of signed bodies) keeps nothing wrong. One that does not may:
    whoever reads it is told so, and gets no wrong byte."""
    behind.server.plan(Rule(FlipSent(), method="PUT", first=first, count=1))
    behind.sick.tries("publish", "m", "here//m:v1", "--quiet")
    assert behind.server.struck() == 1
    if behind.tells:
        is_whole_or_absent(behind.healthy, "here//m:v1")
    pulled = behind.healthy.tries("pull", "here//m:v1", "out", "--quiet")
    assert pulled.code in (0, 3, 7)
    placed = {path: data for path, data in files_below(behind.healthy.home / "out").items() if path in FILES}
    assert placed.items() <= FILES.items()
    assert pulled.code or placed == FILES
    if pulled.code == 7:
        behind.healthy.tries("remove", "here//m:v1", "--yes", "--force")
    behind.healthy.run("publish", "m", "here//m:v1", "--quiet", "--replace-unfinished")
    assert is_whole_or_absent(behind.healthy, "here//m:v1")


@pytest.mark.parametrize("seed", range(2))
def test_a_way_that_is_bad_at_times(behind: Behind, seed: int) -> None:
    passing = [fault for name, fault in FAULTS.items() if name not in ("403", "redirect")]
    behind.server.plan(*(Rule(fault, method="*", chance=0.02) for fault in passing), seed=seed)
    for _ in range(8):
        ended = behind.sick.tries("publish", "m", "here//m:v1", "--quiet", "--tag", "stable")
        is_whole_or_absent(behind.healthy, "here//m:v1")
        if ended.code == 0:
            break
        assert ended.error.startswith("hoist: error: "), ended.error
    behind.healthy.run("publish", "m", "here//m:v1", "--quiet", "--tag", "stable")
    assert is_whole_or_absent(behind.healthy, "here//m:v1")


def test_a_store_that_goes_away_in_the_middle(behind: Behind) -> None:
    with behind.server.down():
        assert behind.sick.refused("publish", "m", "here//m:v1", "--quiet").code == 6
    behind.sick.run("publish", "m", "here//m:v1", "--quiet")
    assert is_whole_or_absent(behind.healthy, "here//m:v1")
