"""`hoist collect`: it shows what would go, and deletes it when told."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from cli_commands import Shell, directory_shell, write_safetensors

from zygote import Zygote


@pytest.fixture
def shell(tmp_path: Path, zygote: Zygote) -> Shell:
    """A directory storage with one version, and beside it what a publish of two days ago has left."""
    shell = directory_shell(tmp_path, zygote)
    write_safetensors(tmp_path / "model.safetensors", {"a": 300_000})
    shell.run("publish", "model.safetensors", "here//sd15/one:v1")
    root = Path(shell.json("list")["storages"][0]["url"])
    left = (root / ".hoist/claims/sd15/one/@v2", root / "sd15/one/v2/model.safetensors", root / ".hoist/tmp/stage-1")
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}" * 50)
        os.utime(path, (time.time() - 2 * 86400,) * 2)
    return shell


def test_shown_first_deleted_when_told(shell: Shell) -> None:
    shown = shell.run("collect", "here").out
    assert "unfinished publish" in shown
    assert "sd15/one/@v2" in shown
    assert "2 leftovers, 300 B: --yes deletes them" in shown
    found = shell.json("collect", "here")
    assert (found["dry_run"], found["size_bytes"], found["deleted_bytes"]) == (True, 300, 0)
    assert [(item["kind"], item["size_bytes"], item["deleted"]) for item in found["leftovers"]] == [
        ("publish", 200, False),
        ("upload", 100, False),
    ]
    assert shell.json("collect", "here", "--grace", "3d")["leftovers"] == []
    done = shell.json("collect", "here", "--yes")
    assert (done["dry_run"], done["deleted_bytes"]) == (False, 300)
    assert shell.run("collect", "here").out == "nothing to collect in here\n"
    assert shell.json("verify", "here//sd15/one:v1")["ok"]
    assert not any(Path(shell.json("list")["storages"][0]["url"]).glob("sd15/one/v2"))


def test_told_in_words(shell: Shell) -> None:
    assert "deleted 2 leftovers, 300 B" in shell.run("collect", "here", "--yes").out


@pytest.mark.parametrize(("words", "code"), [(("here", "--grace", "soon"), 2), (("nowhere",), 3), (("./gone",), 3)])
def test_mistakes(shell: Shell, words: tuple[str, ...], code: int) -> None:
    assert shell.fails("collect", *words).code == code
