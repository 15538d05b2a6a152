"""The storage misbehaves, and processes are killed, under a mount: right bytes or an error, never for ever."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mount_fixtures import bucket_with
from mounting import Mount

from hoist.testing.servers import RcloneServer
from hoist.testing.servers.fault_kinds import Fault, Flip, Refusal, Reset, Short, Slow, Stalled
from hoist.testing.servers.faults import FaultServer, Rule
from hoist.testing.servers.origins import ServerOrigin
from makers import noise, wait_for

pytest_plugins = ("mount_fixtures",)
MIB = 1 << 20
Sick = tuple[FaultServer, dict[str, str]]
FILES = {f"w{n}.bin": noise(9 * MIB + n, n) for n in range(3)}


@pytest.fixture(scope="module")
def sick(fuse: None, rclone_server: RcloneServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sick]:
    env = bucket_with(rclone_server, FILES, tmp_path_factory.mktemp("source"))
    with FaultServer(ServerOrigin(rclone_server.endpoint)) as server:
        yield server, env | {"HOIST_STORAGE_FAR_ENDPOINT": server.endpoint}


def far(home: Path, env: dict[str, str], *options: str) -> Mount:
    return Mount(home, ("far",), ("--refresh", "60", *options), env)


@pytest.mark.parametrize(
    "fault", [Flip(), Short(), Refusal(503), Reset("body"), Slow(4 * MIB)], ids=lambda fault: type(fault).__name__
)
def test_passing_faults_are_not_seen(sick: Sick, tmp_path: Path, fault: Fault) -> None:
    server, env = sick
    with far(tmp_path, env) as mount:
        names = sorted(os.listdir(mount.point / "m/one/v1"))
        # Of each file at most as often as a block is fetched again: one that is wrong once more is damaged.
        server.plan(*(Rule(fault, path=f"*{name}", count=3, chance=0.5) for name in FILES))
        for name in names:
            assert (mount.point / "m/one/v1" / name).read_bytes() == FILES[name]
        server.plan()


def test_lasting_damage_is_an_error_and_no_wrong_byte(sick: Sick, tmp_path: Path) -> None:
    server, env = sick
    with far(tmp_path, env, "--timeout", "3") as mount:
        path = mount.point / "m/one/v1/w0.bin"
        server.plan(Rule(Flip(), path="*w0.bin"))
        with pytest.raises(OSError, match="Input/output error"):
            path.read_bytes()
        assert (mount.point / "m/one/v1/w1.bin").read_bytes() == FILES["w1.bin"]
        server.plan()
        wait_for(lambda: _reads(path) == FILES["w0.bin"])
        assert "damaged" in mount.log


def _reads(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


@pytest.mark.parametrize("cache", ["on", "off"])
def test_a_storage_that_goes_away(sick: Sick, tmp_path: Path, cache: str) -> None:
    server, env = sick
    with far(tmp_path, env, "--timeout", "2", "--cache", cache) as mount:
        folder = mount.point / "m/one/v1"
        assert (folder / "w0.bin").read_bytes() == FILES["w0.bin"]
        with server.down():
            assert (folder / "w0.bin").read_bytes() == FILES["w0.bin"]
            assert sorted(os.listdir(folder)) == sorted(FILES)
            began = time.monotonic()
            with pytest.raises(OSError, match="Input/output error"):
                (folder / "w1.bin").read_bytes()
            assert time.monotonic() - began < 15
        wait_for(lambda: _reads(folder / "w1.bin") == FILES["w1.bin"], 20)


def test_a_silent_storage_holds_nobody_for_longer_than_the_limit(sick: Sick, tmp_path: Path) -> None:
    server, env = sick
    with far(tmp_path, env, "--timeout", "2") as mount:
        folder = mount.point / "m/one/v1"
        assert os.listdir(folder)
        server.plan(Rule(Stalled("before"), path="*w2.bin"))
        began = time.monotonic()
        with pytest.raises(OSError, match="Input/output error"):
            (folder / "w2.bin").read_bytes()
        assert time.monotonic() - began < 15
        # A reader that is killed while it waits ends at once.
        reader = subprocess.Popen(["cat", str(folder / "w2.bin")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.3)
        reader.kill()
        began = time.monotonic()
        reader.wait(10)
        assert time.monotonic() - began < 1.5
        assert (folder / "w1.bin").read_bytes() == FILES["w1.bin"]
        server.plan()


_READER = """
import mmap, os, random, sys
from pathlib import Path
folder, truth, seed, rounds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
chance = random.Random(seed)
names = sorted(path.name for path in truth.glob("w*.bin"))
for _ in range(rounds):
    name = chance.choice(names)
    right = (truth / name).read_bytes()
    fd = os.open(folder / name, os.O_RDONLY)
    mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ) if chance.random() < 0.5 else None
    for _ in range(12):
        at, size = chance.randrange(len(right)), chance.choice((1, 4096, 70_000, 1 << 20))
        found = mapped[at : at + size] if mapped else os.pread(fd, size, at)
        assert found == right[at : at + size], (name, at, size)
    if mapped:
        mapped.close()
    os.close(fd)
"""


@pytest.mark.parametrize("cache", ["on", "off"])
def test_many_processes_read_anywhere_by_read_and_mmap(sick: Sick, tmp_path: Path, cache: str) -> None:
    server, env = sick
    truth = Path(env["FOLDER"]) / "m/one/v1"
    server.plan(Rule(Flip(), path="*.bin", chance=0.05), Rule(Reset("body"), path="*.bin", chance=0.05))
    with far(tmp_path, env, "--cache", cache, "--memory", "64MiB") as mount:
        words = [str(mount.point / "m/one/v1"), str(truth)]
        readers = [subprocess.Popen([sys.executable, "-c", _READER, *words, str(seed), "5"]) for seed in range(6)]
        assert [each.wait(60) for each in readers] == [0] * 6
    server.plan()


def test_eight_processes_fetch_a_model_once(sick: Sick, tmp_path: Path) -> None:
    server, env = sick
    server.plan()
    with far(tmp_path, env, "--metrics", "0") as mount:
        paths = [str(mount.point / "m/one/v1" / name) for name in FILES]
        readers = [subprocess.Popen(["sha256sum", *paths], stdout=subprocess.PIPE, text=True) for _ in range(8)]
        assert len({each.communicate(timeout=60)[0] for each in readers}) == 1
        assert mount.metrics()["storage_bytes_total"] <= 1.02 * sum(map(len, FILES.values()))
