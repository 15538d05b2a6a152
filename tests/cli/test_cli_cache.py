"""`hoist cache`: what it shows and does, as a user runs it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cli_commands import Shell, write_safetensors

from hoist.testing.servers import FaultServer, FolderOrigin
from zygote import Zygote

PLACE = "here//sd15/one:v1"
FILE = f"{PLACE}/model.safetensors"


@pytest.fixture
def shell(tmp_path: Path, zygote: Zygote, request: pytest.FixtureRequest) -> Shell:
    """A user of a public bucket `here` with one version, and of a host cache that is on."""
    write_safetensors(tmp_path / "model.safetensors", {"a": 300_000})
    (tmp_path / "models").mkdir()
    Shell(tmp_path, zygote=zygote).run("publish", "model.safetensors", "./models//sd15/one:v1", "--tag", "stable")
    server = FaultServer(FolderOrigin(tmp_path)).__enter__()
    request.addfinalizer(lambda: server.__exit__(None, None, None))
    env = {f"HOIST_STORAGE_HERE_{key}": value for key, value in (("URL", "s3://models"), ("ANONYMOUS", "true"))}
    env |= {"HOIST_STORAGE_HERE_ENDPOINT": server.endpoint, "HOIST_CACHE": "on"}
    return Shell(tmp_path, env, zygote=zygote)


def data_file(shell: Shell) -> Path:
    (path,) = (shell.home / ".cache/hoist/blocks/files").glob("*.data")
    return path


def test_listed_after_a_load_and_dropped(shell: Shell) -> None:
    assert "holds 0 B" in shell.run("cache", "list").out
    size = (shell.home / "model.safetensors").stat().st_size
    first = shell.json("load", PLACE)["runs"][0]
    second = shell.json("load", PLACE)["runs"][0]
    assert first["read_bytes"] >= size > second["read_bytes"]
    listed = shell.json("cache", "list")
    (entry,) = listed["entries"]
    assert (entry["seen_as"], entry["size_bytes"], entry["held_bytes"]) == ([FILE], size, size)
    assert (entry["complete"], entry["pinned"], entry["in_use"]) == (True, False, False)
    assert listed["disk_bytes"] >= size
    assert "model.safetensors" in shell.run("cache", "ls").out
    dropped = shell.json("cache", "drop", "sd15/one:v1")
    assert (dropped["files"], shell.json("cache", "list")["entries"]) == (1, [])
    assert shell.json("cache", "list")["disk_bytes"] == 0


def test_pinned_by_location_then_unpinned_by_digest(shell: Shell) -> None:
    done = shell.json("cache", "pin", "here//sd15/one:stable")
    assert done["fetched_bytes"] == done["size_bytes"] > 0
    assert shell.json("cache", "pin", PLACE)["fetched_bytes"] == 0
    (entry,) = shell.json("cache", "list")["entries"]
    assert (entry["pinned"], entry["complete"]) == (True, True)
    shell.run("cache", "limit", "1MiB")
    assert shell.json("cache", "list")["entries"]
    assert "unpinned" in shell.run("cache", "unpin", entry["digest"][:20]).out
    limit = shell.json("cache", "limit", "1MiB")
    assert (limit["limit_bytes"], limit["limit_source"], limit["disk_bytes"]) == (1 << 20, "folder", 0)
    assert shell.json("cache", "limit", "default")["limit_source"] == "disk"
    assert shell.fails("cache", "limit", "2MiB", HOIST_CACHE_SIZE="1GiB").code == 2
    no_room = shell.fails("cache", "pin", PLACE, "--quiet", HOIST_CACHE_SIZE="1MiB")
    assert (no_room.code, "hoist cache limit" in no_room.error) == (9, True)


def test_damage_is_found_dropped_and_mended(shell: Shell) -> None:
    shell.run("load", PLACE)
    assert "every block is right" in shell.run("cache", "verify").out
    with data_file(shell).open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"rot", 5000)
    found = shell.fails("cache", "verify", "--json", "--quiet")
    assert found.code == 7
    assert not found.json["ok"]
    assert found.json["damaged"][0]["file"] == FILE
    shell.run("cache", "verify", "sd15")
    shell.run("load", PLACE)
    assert data_file(shell).read_bytes() == (shell.home / "model.safetensors").read_bytes()


def test_a_full_or_forbidden_cache_is_one_warning(shell: Shell) -> None:
    (shell.home / "in-the-way").write_text("")
    done = shell.run("load", PLACE, "--quiet", "--json", HOIST_CACHE=str(shell.home / "in-the-way"))
    assert done.error.count("hoist: warning: ") == 1
    assert "going on without" in done.error
    assert done.json["verified"]


@pytest.mark.parametrize(
    ("words", "code", "mend"),
    [
        (("drop", "sd15/two:v1"), 3, "hoist cache list"),
        (("unpin", "sd15/two:v1"), 3, "it is empty"),
        (("drop",), 2, "--all"),
        (("limit", "lots"), 2, "512MiB"),
        (("pin", "nowhere//sd15/one:v1"), 3, "hoist.toml"),
        (("pin", "./models//sd15/one:v1"), 2, "needs no cache"),
    ],
)
def test_mistakes(shell: Shell, words: tuple[str, ...], code: int, mend: str) -> None:
    done = shell.fails("cache", *words)
    assert done.code == code, done.error
    assert mend in done.error
