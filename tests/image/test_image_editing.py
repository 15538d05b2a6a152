"""What of a base's config is kept and what is set."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hoist.errors import UsageError
from hoist.image.editing import Edits, edited, parse_command, parse_pairs
from hoist.model.image.documents import parse_config

BASE = {
    "architecture": "arm64",
    "os": "linux",
    "variant": "v8",
    "config": {
        "Entrypoint": ["/init"],
        "Cmd": ["serve"],
        "Env": ["PATH=/bin", "A=1"],
        "Labels": {"x": "y"},
        "WorkingDir": "/w",
        "Healthcheck": {"Test": ["CMD", "true"]},
    },
    "rootfs": {"type": "layers", "diff_ids": []},
    "os.version": "1",
}


def edit(**edits: Any) -> Any:
    return edited(parse_config(json.dumps(BASE).encode()), Edits(**edits)).document


def test_nothing_to_edit_keeps_everything() -> None:
    assert edit() == BASE


def test_each_thing_is_set_alone() -> None:
    assert edit(cmd=["other"])["config"] == BASE["config"] | {"Cmd": ["other"]}  # type: ignore[operator]
    assert edit(workdir="/v")["config"]["WorkingDir"] == "/v"
    assert edit(user="1:2")["config"]["User"] == "1:2"
    assert edit(labels={"x": "z", "n": "m"})["config"]["Labels"] == {"x": "z", "n": "m"}
    assert edit(env={"A": "2", "B": "3"})["config"]["Env"] == ["PATH=/bin", "A=2", "B=3"]
    assert edit(user="1:2")["os.version"] == "1"


def test_an_entry_point_drops_the_bases_command_as_docker_does() -> None:
    assert "Cmd" not in edit(entrypoint=["/x"])["config"]
    assert edit(entrypoint=["/x"], cmd=["y"])["config"]["Cmd"] == ["y"]
    assert "Entrypoint" not in edit(entrypoint=[])["config"]


def test_commands_as_dockerfiles_write_them() -> None:
    assert parse_command('["a", "b c"]') == ("a", "b c")
    assert parse_command("a b") == ("/bin/sh", "-c", "a b")
    assert parse_command("") == ()
    for text in ("[1]", "[", '["a"'):
        with pytest.raises(UsageError):
            parse_command(text)


def test_pairs() -> None:
    assert parse_pairs(["A=b=c", "D="], "variable") == {"A": "b=c", "D": ""}
    for text in ("A", "=b", "A=\0"):
        with pytest.raises(UsageError, match="KEY=VALUE"):
            parse_pairs([text], "variable")
