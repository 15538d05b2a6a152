"""`hoist publish --pack-below`: packs as asked, told in words and JSON, checked by verify."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_commands import Shell, bucket_shell, directory_shell

from hoist.testing.servers import RcloneServer
from makers import files_below, noise, write_files
from zygote import Zygote

FILES = {f"part/{n:02}.json": noise(2000 + n, n) for n in range(20)}


@pytest.fixture
def shell(tmp_path: Path, zygote: Zygote) -> Shell:
    write_files(tmp_path / "m", FILES)
    return directory_shell(tmp_path, zygote)


def test_asked_for_on_a_directory(shell: Shell) -> None:
    assert shell.json("publish", "m", "here//m/plain:v1")["packs"] == 0
    done = shell.json("publish", "m", "here//m/one:v1", "--pack-below", "256KiB")
    assert (done["packs"], done["pack_bytes"]) == (1, sum(map(len, FILES.values())))
    assert shell.json("publish", "m", "here//m/plain:v1")["digest"] == done["digest"]
    shell.run("pull", "here//m/one:v1", "out")
    assert files_below(shell.home / "out") == FILES
    checked = shell.json("verify", "here//m/one:v1")
    assert (checked["ok"], checked["packs"], checked["damaged_packs"]) == (True, 1, [])
    said = shell.run("publish", "m", "here//m/two:v1", "--pack-below=2020").out
    assert "small files also lie in 1 pack: " in said


def test_a_damaged_pack_is_a_warning(shell: Shell) -> None:
    shell.run("publish", "m", "here//m/one:v1", "--pack-below", "256KiB")
    root = Path(shell.json("list")["storages"][0]["url"])
    (pack,) = (root / ".hoist/versions/m/one/v1").glob("pack-*")
    pack.unlink()
    found = shell.run("verify", "here//m/one:v1")
    assert "is whole" in found.out
    assert "packs of small files are damaged or missing" in found.error
    assert shell.json("verify", "here//m/one:v1")["damaged_packs"] == ["sha256:" + pack.name.removeprefix("pack-")]
    shell.run("publish", "m", "here//m/one:v1", "--pack-below", "256KiB")
    assert shell.json("verify", "here//m/one:v1")["damaged_packs"] == []
    shell.run("remove", "here//m/one:v1", "--yes")
    assert not list((root / ".hoist/versions").rglob("*"))


@pytest.mark.parametrize("size", ["5MiB", "many"])
def test_what_cannot_be(shell: Shell, size: str) -> None:
    done = shell.fails("publish", "m", "here//m/one:v1", "--pack-below", size)
    assert done.code == 2
    assert size in done.error or "4194304" in done.error


def test_on_a_bucket_by_itself(tmp_path: Path, rclone_server: RcloneServer, zygote: Zygote) -> None:
    shell = bucket_shell(tmp_path, rclone_server, zygote)
    write_files(tmp_path / "m", FILES)
    assert shell.json("publish", "m", "here//m/one:v1")["packs"] == 1
    assert shell.json("publish", "m", "here//m/one:v2", "--pack-below=0")["packs"] == 0
    shell.run("pull", "here//m/one:v1", "out")
    assert files_below(tmp_path / "out") == FILES
    assert shell.json("verify", "here//m/one:v1")["packs"] == 1
