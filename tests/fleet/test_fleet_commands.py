"""`hoist fleet` and `hoist warm` as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet_making import LOCATION, environ_of, publish_model

from conftest import require
from hoist.function.trace_file import read_traces
from hoist.testing.servers.nginx import NginxBucket


class User:
    """Somebody with a storage and a host cache."""

    def __init__(self, folder: Path, server: NginxBucket) -> None:
        self.server = server
        self.size = publish_model(folder, {"a.safetensors": 4, "b.safetensors": 2})
        self.folder = folder
        self._environ = environ_of(server, folder, NOTES=str(folder))

    def run(self, *words: str) -> tuple[int, str, str]:
        """A command's exit code, output and errors."""
        command = [sys.executable, "-m", "hoist", *words]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environ, capture_output=True, text=True, timeout=120, check=False
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    require(NginxBucket)
    folder = tmp_path_factory.mktemp("user")
    with NginxBucket(folder / "bucket") as server:
        yield User(folder, server)


def test_warm_brings_a_version_once_and_a_fleet_finds_it(user: User) -> None:
    code, out, _ = user.run("warm", LOCATION, "--json")
    assert code == 0
    (node,) = json.loads(out)["nodes"]
    assert (node["files"], node["size_bytes"], node["fetched_bytes"]) == (3, user.size, user.size)
    code, out, _ = user.run("warm", LOCATION)
    assert code == 0
    assert " 0 B " in out.splitlines()[1]
    before = user.server.traffic()[1]
    code, out, error = user.run("fleet", LOCATION, "-n", "3", "--trace", "fleet.jsonl")
    assert code == 0, error
    traces = read_traces(str(user.folder / "fleet.jsonl"))
    assert [(trace.outcome, trace.size_bytes) for trace in traces] == 3 * [("done", 6 << 20)]
    assert all({"provision", "fetch"} <= {phase.name for phase in trace.phases} for trace in traces)
    assert "3 of 3 instances loaded" in out
    assert "3 loaded" in error
    assert user.server.traffic()[1] - before < 0.05 * user.size


def test_a_failure_is_shown_and_is_the_exit_code(user: User) -> None:
    words = ("--function", "fleet_functions:each_fails_otherwise", "-n", "6")
    code, out, error = user.run("fleet", LOCATION, "b.safetensors", *words)
    assert code == 1
    assert "1 of 6 instances loaded" in out
    assert out.count("failed") == 5
    assert "no such prompt" in error
    assert "abcdef" not in out + error


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("fleet", LOCATION, "-n", "0"), 2, "1 to 4096 instances"),
        (("fleet", LOCATION, "--function", "prepare"), 2, "MODULE:FUNCTION"),
        (("fleet", LOCATION, "--deadline", "nan"), 2, "deadline"),
        (("fleet", "m/one:v1"), 2, "m/one:v1"),
        (("fleet", LOCATION, "--ray", "127.0.0.1:1", "--spawn"), 2, "leave it out with Ray"),
        (("warm", LOCATION, "--nodes", "10.0.0.1"), 2, "run hoist warm on each host"),
        (("warm", LOCATION.replace("v1", "v7")), 3, "v7"),
    ],
)
def test_what_has_no_meaning_is_refused(user: User, words: tuple[str, ...], code: int, said: str) -> None:
    found, out, error = user.run(*words)
    assert (found, out) == (code, "")
    assert said in error


def test_a_version_on_a_disk_of_this_host_is_warm_already(user: User, tmp_path: Path) -> None:
    publish_model(tmp_path, {"a.safetensors": 1})
    code, out, _ = user.run("warm", f"{tmp_path}/bucket/models//sd15/anything:v1", "--json")
    assert code == 0
    assert json.loads(out)["nodes"][0]["fetched_bytes"] == 0
