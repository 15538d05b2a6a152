"""hoist status as a user runs it: texts, codes, narrow and wide terminals, watching, serving."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from pathlib import Path
from uuid import uuid4

import pytest

import hoist
from hoist.config import load_config
from hoist.testing.servers import FaultServer, RcloneServer, Rule, ServerOrigin
from hoist.testing.servers.fault_kinds import Stalled
from makers import SOURCE
from prometheus import samples
from zygote import User, Zygote

HOIST_TOML = """
[storage.eu]
url = "eu"
region = "eu-central-1"
[storage.us]
url = "us"
region = "us-east-1"
[sync.production]
from = "eu"
to = ["us"]
"""


@pytest.fixture
def user(zygote: Zygote, tmp_path: Path) -> User:
    """A user with two directories as regions; eu has one version, us nothing."""
    for name in ("eu", "us"):
        (tmp_path / name).mkdir()
    (tmp_path / "hoist.toml").write_text(HOIST_TOML)
    (tmp_path / "w.bin").write_bytes(bytes(1 << 20))
    user = User(zygote, tmp_path, {"XDG_RUNTIME_DIR": str(tmp_path / "run")})
    user.run("publish", "w.bin", "eu//m/one:v1", "--tag", "stable", "-q")
    return user


def test_a_table_and_a_document(user: User) -> None:
    shown = user.run("status", "--sample", "0").out
    head, eu, us = shown.splitlines()[:3]
    assert head.split()[:3] == ["STORAGE", "KIND", "REGION"]
    assert re.search(r"^eu +nas +eu-central-1 +\d+\.\d+ m?s +1 +1 +1 +1\.0 MiB +source", eu), eu
    assert "1 version (1.0 MiB) and 1 tag behind" in us
    assert re.search(r"us: the oldest version that it lacks was published at eu \d+ s ago \(plan production\)", shown)
    found = user.run("status", "us", "eu", "--sample", "0", "--json").json
    assert [each["storage"] for each in found["storages"]] == ["us", "eu"]
    assert (found["format"], found["up"], found["in_step"]) == (1, True, False)
    assert found["plans"] == [{"name": "production", "from": "eu", "to": ["us"]}]
    assert found["storages"][0]["lags"][0]["size_bytes"] == 1 << 20
    user.run("copy", "eu//m/one:stable", "us", "-q")
    assert user.run("status", "production", "--sample", "0", "--json").json["in_step"]
    status = hoist.status("us", config=load_config({"HOME": str(user.home)}, user.home))
    assert (status.storages[0].versions, status.exit_code) == (1, 0)


def test_of_a_logical_storage_its_members_are_shown(user: User) -> None:
    with (user.home / "hoist.toml").open("a") as file:
        file.write(
            '[storage.models]\nkind = "any"\nmembers = ["us", "eu"]\n[sync.of-all]\nfrom = "models"\nto = ["us"]\n'
        )
    for words, shown in (((), ["eu", "us", "models"]), (("models",), ["us", "eu"]), (("of-all",), ["models", "us"])):
        found = user.run("status", *words, "--sample", "0", "--json").json
        assert [each["storage"] for each in found["storages"]] == shown
    models, us = found["storages"]
    assert (models["up"], models["versions"], models["reads"]) == (True, 1, [])
    assert [lag["versions"] for lag in us["lags"]] == [1]


def test_what_is_wrong_stands_below_and_is_the_code(user: User) -> None:
    (user.home / "us").rmdir()
    ended = user.tries("status", "--sample", "0")
    assert ended.code == 3
    assert re.search(r"^us .* DOWN .* \? ", ended.out, re.MULTILINE)
    assert "us: there is no directory" in ended.out
    for words, said in (
        (("--limit", "0"), "--limit is above 0"),
        (("--sample", "-1"), "--sample is 0 to 3600"),
        (("--interval", "soon"), "soon"),
        (("--metrics-of", "eu"), "STORAGE=URL"),
        (("--listen", "9464"), "HOST:PORT"),
        (("nothing.toml",), "nothing.toml"),
    ):
        refused = user.refused("status", *words)
        assert (refused.code, said in refused.error) == (2, True), refused.error


def test_a_plan_in_a_file_of_its_own(user: User) -> None:
    (user.home / "hoist.toml").unlink()
    (user.home / "regions.toml").write_text(HOIST_TOML)
    found = user.run("status", "./regions.toml", "--sample", "0", "--json").json
    assert [each["storage"] for each in found["storages"]] == ["eu", "us"]
    assert "--sample" not in user.refused("status").error


@pytest.mark.parametrize("columns", [40, 200])
def test_it_fits_the_terminal(user: User, columns: int) -> None:
    (user.home / "us").rmdir()
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env = {"PATH": os.environ["PATH"], "HOME": str(user.home), "PYTHONPATH": str(SOURCE), "TERM": "xterm"}
    command = [sys.executable, "-m", "hoist", "status", "--sample", "0"]
    with subprocess.Popen(command, cwd=user.home, env=env, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 1 << 16):
                shown += data
        except OSError:
            """The terminal is gone when its last process is."""
        assert process.wait(60) == 3
    os.close(ours)
    lines = shown.decode().splitlines()
    longest = max(len(line) for line in lines if str(user.home)[:20] not in line)
    assert longest <= columns
    if columns < 100:
        assert lines[:3] == [lines[0], "  1 model, 1 version, 1 tag, 1.0 MiB", "  source"]
        assert "  not known whether it is in step" in lines
    else:
        assert lines[0].startswith("STORAGE ")


def test_a_region_that_hangs_lets_the_command_end(user: User, rclone_server: RcloneServer) -> None:
    """Also where threads of a pool wait for it, for which Python would wait in turn."""
    bucket = f"status-{uuid4().hex[:12]}"
    rclone_server.create_bucket(bucket)
    with FaultServer(ServerOrigin(rclone_server.endpoint)) as sick:
        far = user.with_env(
            AWS_ACCESS_KEY_ID=rclone_server.access_key,
            AWS_SECRET_ACCESS_KEY=rclone_server.secret_key,
            HOIST_STORAGE_FAR_URL=f"s3://{bucket}",
            HOIST_STORAGE_FAR_ENDPOINT=sick.endpoint,
        )
        far.run("copy", "eu//m/one:v1", "far", "-q")
        sick.plan(Rule(Stalled("before"), path="*manifest.json*"))
        env = {"PATH": os.environ["PATH"], "HOME": str(user.home), "PYTHONPATH": str(SOURCE), **far.env}
        # A Python of its own, which ends as one does; a fork of the tests' is ended.
        command = [sys.executable, "-m", "hoist", "status", "far", "us", "--sample", "0", "--limit", "3"]
        began = time.monotonic()
        ended = subprocess.run(command, cwd=user.home, env=env, capture_output=True, text=True, check=False)
        assert time.monotonic() - began < 25
    assert re.search(r"^us .* m?s +0 +0 +0 ", ended.stdout, re.MULTILINE), ended
    assert (ended.returncode, ended.stderr) == (6, "")
    assert re.search(r"^far .*NO ANSWER .*\?", ended.stdout, re.MULTILINE)
    # This store's listing has no MD5s, so manifests are read to know its versions.
    assert "far: no answer in 3 s (listing it)" in ended.stdout


def wait_for(path: Path, pattern: str) -> re.Match[str]:
    """What a command that goes on has said."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if found := re.search(pattern, path.read_text()):
            return found
        time.sleep(0.02)
    raise AssertionError(f"{path} never said {pattern}: {path.read_text()}")


def test_watching_shows_it_again_and_ends_by_a_signal(user: User) -> None:
    words = ("status", "--watch", "--interval", "1s", "--sample", "0", "--json")
    started = user.zygote.start(user.home, user.env, *words)
    wait_for(started.out, r"\n.*\n")
    ended = started.end(signal.SIGINT)
    documents = [json.loads(line) for line in ended.out.splitlines()]
    assert (ended.code, ended.error) == (0, "")
    assert all(each["storages"][0]["versions"] == 1 for each in documents)
    assert documents[1]["at"] > documents[0]["at"]


def test_what_went_wrong_is_told_when_it_is_over(user: User) -> None:
    (user.home / "us").rename(user.home / "lost")
    started = user.zygote.start(user.home, user.env, "status", "us", "--watch", "--interval", "1s", "--sample", "0")
    wait_for(started.out, "us .*DOWN")
    (user.home / "lost").rename(user.home / "us")
    found = wait_for(
        started.out, r"us: well again; (\d+) problems? so far, the last at [\d:]+: us: there is no directory"
    )
    assert started.end().code == 0
    assert int(found[1]) >= 1


def test_serving_goes_on_through_a_region_that_is_lost(user: User) -> None:
    words = ("status", "--listen", "127.0.0.1:0", "--interval", "1s", "--sample", "0")
    started = user.zygote.start(user.home, user.env, *words)
    url = wait_for(started.error, r"(http://\S+)/status")[1]

    def ask(path: str) -> str:
        with urllib.request.urlopen(f"{url}/{path}", timeout=30) as answer:
            return str(answer.read().decode())

    def up() -> float | None:
        return samples(ask("metrics")).get(
            ("hoist_storage_up", (("kind", "nas"), ("region", "us-east-1"), ("storage", "us")))
        )

    def wait_until_up_is(value: float) -> None:
        until = time.monotonic() + 60
        while up() != value:
            assert time.monotonic() < until, ask("status")
            time.sleep(0.05)

    wait_until_up_is(1.0)
    (user.home / "us").rename(user.home / "lost")
    wait_until_up_is(0.0)
    assert json.loads(ask("health")) == {"status": "ok"}
    (user.home / "lost").rename(user.home / "us")
    wait_until_up_is(1.0)
    us = json.loads(ask("status"))["storages"][1]
    assert (us["errors"].keys(), us["last_error"]["kind"]) == ({"StorageNotFound"}, "StorageNotFound")
    ended = started.end(signal.SIGTERM)
    assert (ended.code, ended.out) == (0, "")
