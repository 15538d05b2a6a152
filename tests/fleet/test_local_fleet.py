"""Fleets on this host: real processes that load from a real server, hang, crash, and end with their parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet_making import (
    LOCATION,
    environ_of,
    is_there,
    loaded_pids,
    publish_model,
    wait_until_gone,
)

from conftest import require
from hoist.bench.fleet import proportional_bytes
from hoist.config import load_config
from hoist.errors import InvalidReference, UsageError
from hoist.fleet.instance import FAILED, LOADED, OVERDUE, PHASES, Instance, Spot, Task
from hoist.fleet.local import LocalFleet
from hoist.testing.servers.nginx import NginxBucket

# Long enough for a busy machine; only what hangs waits for it.
DEADLINE = 6.0


class Place:
    """A model behind a server, and a fleet that loads it."""

    def __init__(self, folder: Path, server: NginxBucket, size: int) -> None:
        self.folder = folder
        self.server = server
        self.size = size
        self.environ = environ_of(server, folder, NOTES=str(folder))
        self.config = load_config(self.environ, folder)
        self.fleet = LocalFleet(config=self.config)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    require(NginxBucket)
    folder = tmp_path_factory.mktemp("fleet")
    size = publish_model(folder, {"a.safetensors": 96, "b.safetensors": 32})
    with NginxBucket(folder / "bucket") as server:
        found = Place(folder, server, size)
        with found.fleet:
            yield found


def test_instances_of_one_host_fetch_and_hold_one_copy(place: Place) -> None:
    sent = place.server.traffic()[1]
    with place.fleet.start(Task(LOCATION, "fleet_functions:touches"), 6) as running:
        found = running.wait()
        assert [each.state for each in found] == [LOADED] * 6, found
        assert place.server.traffic()[1] - sent <= 1.05 * place.size
        assert sum(each.fetched_bytes for each in found) <= 1.05 * place.size
        assert all(each.fetched_bytes + each.cached_bytes >= 0.99 * place.size for each in found)
        held = proportional_bytes(loaded_pids(found))
        assert place.size <= held < 3.5 * place.size, "the tensors of six processes are one copy in memory"
    assert set(found[0].phases) == set(PHASES)
    assert found[0].seconds is not None
    assert sum(found[0].phases.values()) == pytest.approx(found[0].seconds, rel=0.05, abs=0.05)
    wait_until_gone(*loaded_pids(found))
    assert running.instances == found, "closing changes nothing of what is known"


def test_one_that_hangs_is_ended_at_its_deadline_and_the_others_are_unharmed(place: Place) -> None:
    task = Task(LOCATION, "fleet_functions:first_hangs", ("a.safetensors",))
    told: list[Instance] = []
    with place.fleet.start(task, 3, deadline_seconds=DEADLINE) as running:
        found = running.wait(told.append)
        assert [each.state for each in found] == [OVERDUE, LOADED, LOADED]
        assert "not loaded within 6 s" in str(found[0].error)
        hanging = map(int, (place.folder / "hanging").read_text().split())
        wait_until_gone(*hanging)
        assert all(map(is_there, loaded_pids(found)))
        assert running.wait() == found
    assert {each.number for each in told if each.state == LOADED} == {1, 2}


def test_each_failure_is_told_of_its_instance(place: Place) -> None:
    task = Task(LOCATION, "fleet_functions:each_fails_otherwise", ("a.safetensors",))
    with place.fleet.start(task, 6) as running:
        found = running.wait()
    errors = [str(each.error) for each in found]
    assert [each.state for each in found] == [FAILED] * 5 + [LOADED]
    assert "SIGSEGV" in errors[0]
    assert "RuntimeError: no such prompt" in errors[1]
    assert "fleet_functions.py:" in errors[1]
    assert "SystemExit: 3" in errors[2]
    assert errors[3] == "the process ended with status 9: the driver is gone"
    assert "abcdef" not in errors[4]


@pytest.mark.parametrize(
    ("function", "location", "words"),
    [
        ("no_such_module:prepare", LOCATION, "there is no module 'no_such_module'"),
        ("fleet_functions:prepared", LOCATION, "has no function 'prepared'"),
        (None, "here//sd15/anything:v9", "v9"),
        (None, "nowhere//sd15/anything:v1", "no storage is named 'nowhere'"),
    ],
)
def test_what_is_not_there_fails_with_the_mend(place: Place, function: str | None, location: str, words: str) -> None:
    with place.fleet.start(Task(location, function), 1) as running:
        (found,) = running.wait()
    assert found.state == FAILED
    assert words in str(found.error)


def test_what_no_instance_could_do_is_refused(place: Place) -> None:
    for function in ("prepare", "a b:c", "module:", ":function"):
        with pytest.raises(UsageError, match="MODULE:FUNCTION"):
            place.fleet.start(Task(LOCATION, function), 1)
    with pytest.raises(InvalidReference):
        place.fleet.start(Task("no location"), 1)
    for number in (0, -1, 1 << 40):
        with pytest.raises(UsageError, match="1 to"):
            place.fleet.start(Task(LOCATION), number)
    with pytest.raises(UsageError, match="deadline"):
        place.fleet.start(Task(LOCATION), 1, deadline_seconds=0)


def test_a_function_loads_what_it_names(place: Place) -> None:
    with place.fleet.start(Task(LOCATION, "fleet_functions:reads_twice"), 1) as running:
        (found,) = running.wait()
    assert found.state == LOADED, found.error
    assert found.size >= 1.7 * place.size


def test_an_instance_runs_in_its_network_namespace(place: Place) -> None:
    name = f"hoist-fleet-{os.getpid()}"
    if os.geteuid() or subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode:
        pytest.skip("cannot make a network namespace here: needs root")
    try:
        spots = [Spot(), Spot(name), Spot("hoist-no-such")]
        model = f"{place.folder / 'bucket' / 'models'}//sd15/anything:v1"
        task = Task(model, "fleet_functions:prepare", ("b.safetensors",))
        with place.fleet.start(task, spots) as running:
            found = running.wait()
            assert [each.state for each in found] == [LOADED, LOADED, FAILED], found
            own = str(Path("/proc/thread-self/ns/net").readlink())
            assert (place.folder / "0").read_text() == own
            assert (place.folder / "1").read_text() != own
            assert "no network namespace 'hoist-no-such'" in str(found[2].error)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_instances_outlive_who_forked_them_and_no_more_can_be_started(place: Place) -> None:
    with LocalFleet(config=place.config) as fleet:
        with fleet.start(Task(LOCATION), 1) as running:
            (found,) = running.wait()
            assert found.pid is not None
            parent = int(Path(f"/proc/{found.pid}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(parent, signal.SIGKILL)
            wait_until_gone(parent)
            assert is_there(found.pid)
            with fleet.start(Task(LOCATION), 1) as second:
                (failed,) = second.wait()
            assert failed.state == FAILED
            assert "can be started" in str(failed.error) or "has ended" in str(failed.error)
        wait_until_gone(found.pid)


def test_an_interpreter_for_each_instance(place: Place) -> None:
    with LocalFleet(config=place.config, spawn=True) as fleet:
        task = Task(LOCATION, "fleet_functions:each_fails_otherwise", ("b.safetensors",))
        with fleet.start_numbered(task, {0: Spot(), 3: Spot(), 7: Spot()}) as running:
            found = {each.number: each for each in running.wait()}
            pid = found[7].pid
            assert pid and is_there(pid)
    assert found[7].state == LOADED, found[7].error
    assert "SIGSEGV" in str(found[0].error)
    assert "the driver is gone" in str(found[3].error)
    wait_until_gone(pid)


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_no_instance_outlives_the_command(place: Place, ending: signal.Signals, code: int) -> None:
    words = [sys.executable, "-m", "hoist", "fleet", LOCATION, "b.safetensors", "-n", "2", "--hold", "--json"]
    command = subprocess.Popen(
        [*words, "--function", "fleet_functions:starts_a_child"],
        env=place.environ,
        cwd=place.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert command.stdout
    lines: list[str] = []
    while not lines or lines[-1] != "}\n":
        lines.append(command.stdout.readline())
        assert lines[-1], "".join(lines)
    found = json.loads("".join(lines))
    pids = [each["pid"] for each in found["instances"]]
    pids += [int((place.folder / str(number)).read_text()) for number in range(2)]
    assert found["loaded"] == 2
    assert all(map(is_there, pids))
    command.send_signal(ending)
    assert command.wait(60) == code
    command.stdout.close()
    wait_until_gone(*pids)
