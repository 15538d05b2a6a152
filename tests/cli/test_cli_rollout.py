"""hoist rollout, rollback and history as a user runs them: what they say, how they end, and what a SIGKILL leaves."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_commands import Shell, bucket_shell

from hoist.config import load_config
from hoist.model.reference import parse_reference
from hoist.read.connect import connect
from hoist.storage.base import Tag, Version
from hoist.testing.servers import RadosgwServer
from zygote import Zygote

KILLS = int(os.environ.get("HOIST_TEST_KILLS", "50"))
NAME = "sd15/any"
REGIONS = ("a", "here", "b")
ROLLOUT = ("rollout", f"{NAME}:v2", "--tag", "stable", "--regions", ",".join(REGIONS))


@pytest.fixture
def shell(tmp_path: Path, radosgw_server: RadosgwServer, zygote: Zygote) -> Shell:
    """A user with directories `a` and `b` and a bucket `here`; v1 is stable in each, v2 lies in `a` alone."""
    for name in "ab":
        (tmp_path / name).mkdir()
    places = {f"HOIST_STORAGE_{name.upper()}_URL": str(tmp_path / name) for name in "ab"}
    shell = bucket_shell(tmp_path, radosgw_server, zygote).with_env(HOIST_AUTHOR="anna", **places)
    for label in ("v1", "v2"):
        (tmp_path / label).write_bytes(label.encode() * 1000)
        shell.run("publish", label, f"a//{NAME}:{label}", "-q")
    shell.run("tag", f"a//{NAME}:v1", "stable", "--note", "ticket 81")
    shell.run("copy", f"a//{NAME}:stable", "here", "b", "-q")
    return shell


def stands(shell: Shell) -> list[str | None]:
    """What the tag names in each region; what it names is there."""
    config = load_config({"HOME": str(shell.home), **shell.env}, shell.home)
    found: list[str | None] = []
    for region in REGIONS:
        with connect(region, config)[0] as storage:
            tag = storage.find_tag(NAME, "stable")
            assert tag is None or storage.resolve(parse_reference(f"{NAME}:stable"))[0].label == tag.label
            found.append(tag.label if tag else None)
    return found


def wait_for(path: Path) -> str:
    """What a check has written."""
    until = time.monotonic() + 60
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < until, f"{path} is not written"
        time.sleep(0.02)
    return path.read_text()


def test_what_is_missing_is_named_once_with_what_there_is(shell: Shell) -> None:
    for words in (("rollback", NAME, "--tag", "stabel", "--regions", "a"), ("history", f"a//{NAME}:stabel")):
        missing = shell.fails(*words)
        assert (missing.code, missing.error) == (
            3,
            f"hoist: error: a has no tag {NAME}:stabel; {NAME} has the tags stable\n",
        )
    gone = shell.fails("rollback", NAME, "--tag", "stable", "--regions", "gone", HOIST_STORAGE_GONE_URL="/nowhere")
    assert gone.error.startswith("hoist: error: gone: there is no directory /nowhere")
    same = shell.run("rollout", f"{NAME}:v1", "--tag", "stable", "--regions", "a", "--dry-run")
    assert "  a  nothing to do: the tag names it already\n" in same.out


def test_it_says_what_it_does(shell: Shell) -> None:
    planned = shell.run(*ROLLOUT, "--dry-run")
    assert (
        "  a  would: move stable from v1\n  here  would: bring it, 2.0 KiB to send, then move stable from v1"
        in planned.out
    )
    done = shell.run(*ROLLOUT, "--check", "echo looking at $HOIST_ROLLOUT_LOCATION", "--wait", "1s", "-q")
    for line in (
        "  here  brought: 2.0 KiB sent",
        "a  the tag is moved; it was v1 before\na  checking\na  the check passed",
        "waiting 1 s before here\nhere  the tag is moved",
        f"{NAME}:stable is {NAME}:v2 in 3 regions",
    ):
        assert line in done.out
    assert f"looking at here//{NAME}:stable\n" in done.error
    assert stands(shell) == ["v2"] * 3
    assert "here  the tag names it already" in shell.run(*ROLLOUT, "-q").out
    back = shell.run("rollback", NAME, "--tag", "stable", "--regions", "a,b", "--regions", "here")
    assert sorted(back.out.splitlines()) == [
        f"{region}  the tag names v1 again; it was v2" for region in ("a", "b", "here")
    ]
    told = shell.run("history", f"a//{NAME}:stable", f"here//{NAME}")
    lines = [line.split() for line in told.out.splitlines()]
    assert lines[0][:3] == [f"a//{NAME}:stable", "is", "v1"]
    assert [line[3:] for line in lines[2:5]] == [
        ["v2", "v1", "anna", "rollback"],
        ["v1", "v2", "anna", "rollout", "to", "a,", "here,", "b"],
        ["-", "v1", "anna", "ticket", "81"],
    ]


def test_a_failure_and_its_exit_code(shell: Shell) -> None:
    failed = shell.fails(*ROLLOUT, "--check", '[ "$HOIST_ROLLOUT_REGION" = a ]', "-q")
    assert failed.code == 1
    assert "here  the check FAILED: exit status 1\ngoing back: the check failed in here" in failed.out
    assert "here  the tag names v1 again\na  the tag names v1 again\n" in failed.out
    assert failed.error.endswith("hoist: error: the check failed in here: exit status 1\n")
    document = shell.fails(*ROLLOUT, "--check", "echo noise; false", "--json", "-q")
    assert document.code == 1
    assert [region["state"] for region in document.json["regions"]] == ["back", "waiting", "waiting"]
    assert document.json["regions"][0]["check"]["status"] == 1
    assert document.json["error"]["kind"] == "HoistError"
    assert "noise" in document.error
    assert stands(shell) == ["v1"] * 3
    lost = shell.with_env(HOIST_STORAGE_GONE_URL=str(shell.home / "no folder"))
    assert lost.fails(*ROLLOUT[:-1], "a,gone", "-q").code == 3
    shell.run(*ROLLOUT, "-q")
    some = lost.fails("rollback", NAME, "--tag", "stable", "--regions", "a,gone,b")
    assert some.code == 3
    assert "gone  NOT rolled back" in some.out
    assert stands(shell) == ["v1", "v2", "v1"]
    both = lost.fails("history", f"gone//{NAME}", f"b//{NAME}", "--json")
    assert both.code == 3
    assert [each["error"] and each["error"]["kind"] for each in both.json["histories"]] == ["StorageNotFound", None]
    move = both.json["histories"][1]["tags"][0]["moves"][-1]
    assert (move["from"], move["to"], move["by"], move["note"]) == ("v2", "v1", "anna", "rollback")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_puts_things_back(shell: Shell, zygote: Zygote, number: int, code: int) -> None:
    check = f'[ "$HOIST_ROLLOUT_REGION" = a ] || {{ sleep 300 & echo $! > {shell.home}/child; wait; }}'
    started = zygote.start(shell.home, shell.env, *ROLLOUT, "--check", check, "-q")
    child = int(wait_for(shell.home / "child"))
    ended = started.end(number)
    assert ended.code == code
    assert "here  the tag names v1 again\na  the tag names v1 again\n" in ended.out
    assert ended.error == "hoist: cancelled; run it again to roll out\n"
    assert stands(shell) == ["v1"] * 3
    until = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert not Path(f"/proc/{child}").exists()


def test_killed_at_random_moments(shell: Shell, zygote: Zygote, record_property: Callable[[str, object], None]) -> None:
    """A rollout and a rollback, each killed: no tag names what is not there, and the next run finishes."""
    rng = random.Random(9)
    back = ("rollback", NAME, "--tag", "stable", "--regions", ",".join(REGIONS))
    # The checks are there so that many kills hit while tags move.
    forth = (*ROLLOUT, "-q", "--check", "sleep 0.1")
    whole = max(zygote.run(shell.home, shell.env, *forth).seconds for _ in range(2))
    seen = dict.fromkeys(("none", "some", "all"), 0)
    for number in range(4 * KILLS):
        if number >= KILLS and sum(seen.values()) > KILLS // 4:
            break
        # In turn: the version is everywhere; it has to be brought; and the way back.
        goes_back = number % 3 == 2
        _stand(shell, "v2" if goes_back else "v1", remove=number % 3 == 1)
        ended = zygote.run(shell.home, shell.env, *(back if goes_back else forth), kill=rng.random() * whole * 1.2)
        found, goal = stands(shell), "v1" if goes_back else "v2"
        if ended.killed:
            moved = found.count(goal)
            seen["none" if moved == 0 else "all" if moved == 3 else "some"] += 1
        if not goes_back or set(found) != {goal}:
            shell.run(*(back if goes_back else forth))
        assert stands(shell) == [goal] * 3
    record_property("what was moved when it was killed", str(seen))
    assert sum(seen.values()) > KILLS // 4


def _stand(shell: Shell, label: str, *, remove: bool) -> None:
    """Let the tag name a version everywhere; `remove` v2 where it has to be brought to."""
    config = load_config({"HOME": str(shell.home), **shell.env}, shell.home)
    for region in REGIONS:
        with connect(region, config)[0] as storage:
            version, manifest = storage.resolve(parse_reference(f"{NAME}:{label}"))
            storage.set_tag(Tag(NAME, "stable", version.label, manifest.digest))
            if remove and region != "a":
                storage.remove(Version(NAME, "v2"), unless_tagged=True)
