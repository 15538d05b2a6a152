"""hoist copy as a user runs it: what it says, its exit codes, and what a SIGKILL leaves."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from cli_commands import Shell, bucket_shell, write_safetensors

import hoist
from hoist.cli.copy import split_places
from hoist.config import load_config
from hoist.errors import InvalidReference, UsageError
from hoist.testing.servers import RadosgwServer
from makers import noise
from places import small_file_system
from zygote import Zygote

MIB = 1 << 20


@pytest.fixture
def shell(tmp_path: Path, radosgw_server: RadosgwServer, zygote: Zygote) -> Shell:
    """A user with a bucket `here`, and directories `nas` and `far`; `nas` has a version of 2 files and 2 tags."""
    for name in ("nas", "far"):
        (tmp_path / name).mkdir()
    places = {f"HOIST_STORAGE_{name.upper()}_URL": str(tmp_path / name) for name in ("nas", "far")}
    shell = bucket_shell(tmp_path, radosgw_server, zygote).with_env(**places)
    (tmp_path / "src").mkdir()
    write_safetensors(tmp_path / "src" / "w.safetensors", {"a": 5 * MIB, "b": MIB // 4})
    (tmp_path / "src" / "config.json").write_bytes(b"{}")
    shell.run("publish", "src", "nas//m/one:v1", "--tag", "stable", "-q")
    return shell


def test_to_two_storages_with_the_tag_that_was_named(shell: Shell) -> None:
    planned = shell.json("copy", "nas//m/one:stable", "here", "far", "--dry-run", "-q")
    assert planned["dry_run"]
    assert shell.json("list", "here")["versions"] == shell.json("list", "far")["versions"] == []
    done = shell.json("copy", "nas//m/one:stable", "here", "far", "--tag", "prod", "-q")
    for would, each in zip(planned["copies"], done["copies"], strict=True):
        assert (each["error"], each["tags"]) == (None, ["prod", "stable"])
        assert each["sent_bytes"] == would["sent_bytes"] == each["size_bytes"] == each["read_bytes"]
    for place in ("here", "far"):
        assert shell.json("verify", f"{place}//m/one:prod", "-q")["ok"]
    again = shell.run("copy", "here//m/one:prod", "nas")
    assert "already there: nas//m/one:v1" in again.out
    assert "tagged prod" in again.out


def test_the_exit_code_and_the_text_say_which_failed(shell: Shell) -> None:
    (shell.home / "other").write_bytes(b"something else")
    shell.run("publish", "other", "far//m/one:v1", "-q")
    done = shell.fails("copy", "nas//m/one:v1", "far", "here", "-q")
    assert done.code == 4
    assert "NOT copied nas//m/one:v1 to far//m/one:v1" in done.out
    assert "copied here//m/one:v1" in done.out
    assert "m/one:v1 to far: far has m/one:v1 with other content" in done.error
    # A second kind of failure makes it 1; the document is there all the same.
    elsewhere = shell.with_env(HOIST_STORAGE_GONE_URL=str(shell.home / "no folder"))
    missing = elsewhere.fails("copy", "nas//m/one:v1", "far", "gone", "--json", "-q")
    assert missing.code == 1
    assert [each["error"]["kind"] for each in missing.json["copies"]] == ["Conflict", "StorageNotFound"]
    damaged = shell.home / "nas/m/one/v1/w.safetensors"
    with damaged.open("r+b") as file:
        file.seek(9 * MIB)
        file.write(b"damage")
    shell.run("remove", "here//m/one:v1", "--force", "--yes")
    assert shell.fails("copy", "nas//m/one:v1", "here", "-q").code == 7
    assert shell.json("list", "here")["versions"] == []


def test_locations_come_first() -> None:
    assert split_places(["a//m:v1", "b//n", "c", "./d"]) == (["a//m:v1", "b//n"], ["c", "./d"])
    for places, told in (
        (["nas", "far"], "no location"),
        (["nas//m:v1"], "where to copy"),
        (["nas//m:v1", "far", "nas//m:v2"], "all locations come first"),
    ):
        with pytest.raises(UsageError, match=told):
            split_places(places)


def test_what_has_no_meaning_is_refused(shell: Shell) -> None:
    config = load_config(shell.env, shell.home)
    with pytest.raises(UsageError, match="where"):
        hoist.copy("nas//m/one:v1", [], config=config)
    with pytest.raises(UsageError, match="is a location"):
        hoist.copy("nas//m/one:v1", "far//m/one:v2", config=config)
    with pytest.raises(UsageError, match="two versions"):
        hoist.copy(["nas//m/one:v1", "nas//m/one:v2"], "far", tags=["x"], config=config)
    with pytest.raises(InvalidReference):
        hoist.copy("nas//m/one:v1", "far", tags=["no tag"], config=config)
    assert shell.fails("copy", "nas//m/one:v9", "far", "-q").code == 3


def test_a_full_target_is_told_and_the_other_gets_it(shell: Shell, tmp_path: Path) -> None:
    with small_file_system(tmp_path / "tiny", "8m", "777") as tiny:
        done = shell.fails("copy", "nas//m/one:v1", str(tiny), "far", "-q")
        assert done.code != 0
        assert "space" in done.error
        assert shell.json("list", str(tiny))["versions"] == []
    assert shell.json("verify", "far//m/one:v1", "-q")["ok"]


@pytest.mark.parametrize("target", ["here", "far"])
def test_sigkill_at_random_moments_and_a_second_run_finishes(shell: Shell, target: str) -> None:
    (shell.home / "big").mkdir()
    for name in ("a.bin", "b.bin"):
        (shell.home / "big" / name).write_bytes(noise(30 * MIB, len(target) + ord(name[0])))
    shell.run("publish", "big", "nas//m/big:v1", "--tag", "stable", "-q")
    assert shell.zygote
    chance, killed = random.Random(len(target)), 0
    slow = {"HOIST_MAX_BANDWIDTH": "60MiB"}
    for _ in range(3):
        words = ("copy", "nas//m/big:stable", target, "-q")
        ended = shell.zygote.run(shell.home, {**shell.env, **slow}, *words, kill=chance.uniform(0.2, 1.3))
        killed += ended.killed
        listed = shell.json("list", target)["versions"]
        assert not listed or not ended.killed or shell.json("verify", f"{target}//m/big:v1", "-q")["ok"]
    assert killed >= 2
    (done,) = shell.json("copy", "nas//m/big:stable", target, "-q")["copies"]
    assert done["error"] is None
    assert done["sent_bytes"] + done["resumed_bytes"] == 60 * MIB or done["already"]
    assert shell.json("verify", f"{target}//m/big:stable", "-q")["ok"]
