"""`kill -9` of the mount's process while it fills the host cache, and of its readers: then everything reads right.

HOIST_TEST_KILLS sets how many kills each test does (100 by default). Each comes at a stage of the filling that is drawn
at random, from a seed; one in eight at a moment of the mount's start.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from uuid import uuid4

import pytest
from mount_forks import GONE, kill, start_mount, start_reader
from mounting import Mount

from hoist.model.reference import parse_reference
from hoist.progress import Progress
from hoist.read.cache.host import HostCache
from hoist.testing.servers import RcloneServer
from hoist.transfer.cached import verify_cache
from makers import directory_storage, noise, put_version

pytest_plugins = ("mount_fixtures",)
KILLS = int(os.environ.get("HOIST_TEST_KILLS", "100"))
KIB = 1 << 10
BLOCK = 64 * KIB
FILES = {f"w{n}.bin": noise(1200 * KIB + n, n) for n in range(3)}
# What a reader may come to whose mount is killed.
_ENDS = (0, GONE, -signal.SIGBUS)


@dataclass
class Forked:
    """A mount that is killed and taken over again and again."""

    home: Path
    env: dict[str, str]
    options: tuple[str, ...] = ()
    process: BaseProcess | None = None
    truth: Path = field(init=False)

    def __post_init__(self) -> None:
        self.mount = Mount(self.home, ("far",), (), self.env)
        self.truth = Path(self.env["FOLDER"]) / "m/one"
        self.cache = HostCache(self.home / "cache")

    def folder(self, label: str = "v1") -> Path:
        return self.mount.point / "m/one" / label

    def start(self) -> None:
        """Begin to mount, in the place of what a kill has left."""
        words = ("far", str(self.mount.point), "--refresh", "60", *self.options)
        self.process = start_mount(words, self.mount.environment(), self.home)

    def await_ready(self) -> None:
        assert self.process
        until = time.monotonic() + 20
        while True:
            assert self.process.exitcode is None, self.mount.log
            try:
                if os.listdir(self.mount.point / "m"):
                    return
            except OSError:
                assert time.monotonic() < until, self.mount.log
                time.sleep(0.002)

    def kill(self) -> None:
        assert self.process
        kill(self.process)

    def read_all(self, label: str = "v1") -> None:
        """Everything reads right."""
        for path in sorted((self.truth / label).glob("*.bin")):
            assert (self.folder(label) / path.name).read_bytes() == path.read_bytes()

    def held_bytes(self) -> int:
        return sum(entry.held_bytes for entry in self.cache.entries())


@pytest.fixture
def forked(fuse: None, rclone_server: RcloneServer, tmp_path: Path) -> Iterator[Callable[..., Forked]]:
    """Makes one on a bucket with the given versions of m/one, cut into small blocks."""
    made: list[Forked] = []

    def make(versions: dict[str, dict[str, bytes]], *options: str) -> Forked:
        bucket = f"kills-{uuid4().hex[:12]}"
        rclone_server.create_bucket(bucket)
        folder = rclone_server.data_folder / bucket
        for label, files in versions.items():
            put_version(directory_storage(folder), files, BLOCK, parse_reference(f"m/one:{label}"))
        env = {
            "AWS_ACCESS_KEY_ID": rclone_server.access_key,
            "AWS_SECRET_ACCESS_KEY": rclone_server.secret_key,
            "HOIST_STORAGE_FAR_URL": f"s3://{bucket}",
            "HOIST_STORAGE_FAR_ENDPOINT": rclone_server.endpoint,
            "HOIST_STORAGE_FAR_REGION": rclone_server.region,
            "FOLDER": str(folder),
        }
        made.append(Forked(tmp_path, env, options))
        return made[-1]

    yield make
    for each in made:
        if each.process and each.process.exitcode is None:
            each.kill()
        subprocess.run(["umount", "-l", str(each.mount.point)], capture_output=True, check=False)
        assert "Traceback" not in each.mount.log, each.mount.log
        assert "internal error" not in each.mount.log, each.mount.log


def test_kills_of_the_daemon(forked: Callable[..., Forked]) -> None:
    mount = forked({"v1": FILES})
    whole = sum(map(len, FILES.values()))
    chance, stages = random.Random(11), set[int]()
    for number in range(KILLS):
        readers: list[BaseProcess] = []
        mount.start()
        if number % 8 == 7:
            time.sleep(chance.random() * 0.15)
        else:
            mount.await_ready()
            words = (mount.folder(), mount.truth / "v1")
            readers = [start_reader(*words, number * 2 + n, mapped=bool(n), rounds=20) for n in range(2)]
            _await(mount, chance.random() * whole, readers)
            if number % 3 == 0:
                kill(chance.choice(readers))
        mount.kill()
        stages.add(mount.held_bytes() * 10 // whole)
        for reader in readers:
            reader.join(20)
            assert reader.exitcode in (*_ENDS, -signal.SIGKILL)
        # No block that the cache says it has is wrong, and the next mount there serves everything.
        assert not verify_cache(mount.cache, mount.cache.entries(), Progress()).damaged
        mount.start()
        mount.await_ready()
        mount.read_all()
        mount.kill()
        if chance.random() < 0.8:
            for entry in mount.cache.entries():
                # The dead mount point may keep it in use: the kernel has what it was given to read by itself.
                assert mount.cache.drop(entry.name, force=True)
    assert len(stages) > 3 or KILLS < 20, "kills at many stages"


def _await(mount: Forked, held_bytes: float, readers: list[BaseProcess]) -> None:
    """Wait until the cache holds so much, or the readers are done."""
    while mount.held_bytes() < held_bytes and any(reader.exitcode is None for reader in readers):
        time.sleep(0.001)


@pytest.mark.parametrize("cache", ["on", "off"])
def test_kills_of_readers(forked: Callable[..., Forked], cache: str) -> None:
    """The mount lives; each round reads what nobody has read before, so that readers die while they wait for bytes."""
    rounds = KILLS // 4
    made = {f"v{n}": {f"w{k}.bin": noise(500 * KIB + k, n * 10 + k) for k in range(2)} for n in range(rounds)}
    mount = forked(made, "--cache", cache, "--memory", "32MiB")
    mount.start()
    mount.await_ready()
    chance, killed = random.Random(12), 0
    for number, label in enumerate(made):
        words = (mount.folder(label), mount.truth / label)
        readers = [start_reader(*words, number * 4 + n, mapped=bool(n % 2), rounds=8) for n in range(4)]
        for reader in readers[:2]:
            time.sleep(chance.random() * 0.02)
            kill(reader)
            killed += reader.exitcode == -signal.SIGKILL
        for reader in readers[2:]:
            reader.join(20)
            assert reader.exitcode == 0
        mount.read_all(label)
    assert killed > rounds or KILLS < 20
    assert mount.process
    assert mount.process.exitcode is None
