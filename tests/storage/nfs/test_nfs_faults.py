"""An NFS server that dies and comes back, and a publisher that is killed: it ends well, or with an error in time."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Lock, Thread

import pytest

import hoist
from conftest import require
from hoist.config import Config, EngineConfig
from hoist.errors import HoistError, StorageUnavailable
from hoist.progress import Progress
from hoist.testing.servers import GaneshaServer
from makers import noise, run_python

_SIZE = 96 << 20
_SOON = 45.0


@pytest.fixture(scope="module")
def server() -> Iterator[GaneshaServer]:
    require(GaneshaServer)
    with GaneshaServer() as found:
        yield found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A model like no other: what the server has already would only be linked."""
    made = tmp_path / "source"
    made.mkdir()
    part = noise(16 << 20, seed=len(str(tmp_path)) + sum(map(ord, tmp_path.name)))
    with (made / "large.bin").open("wb") as file:
        for number in range(_SIZE >> 24):
            file.write(number.to_bytes(4, "big") + part[4:])
    (made / "config.json").write_text("{}")
    return made


def slowly(home: Path) -> Config:
    """So slow that there is a middle."""
    return Config(engine=EngineConfig(retry_seconds=60.0, max_bandwidth=100 << 20), environ={"HOME": str(home)})


def test_the_server_starts_anew_while_it_is_read(server: GaneshaServer, source: Path, tmp_path: Path) -> None:
    location = f"{server.url}//read:v1"
    hoist.publish(source, location)
    crash = Crash(server)
    hoist.pull(location, tmp_path / "pulled", config=slowly(tmp_path), progress=crash.progress)
    crash.thread.join(60)
    assert crash.happened.is_set()
    assert (tmp_path / "pulled/large.bin").read_bytes() == (source / "large.bin").read_bytes()


def test_the_server_stays_away(server: GaneshaServer, source: Path, tmp_path: Path) -> None:
    location = f"{server.url}//away:v1"
    hoist.publish(source, location)
    server.kill()
    try:
        began = time.monotonic()
        soon = Config(engine=EngineConfig(retry_seconds=1.0), environ={"HOME": str(tmp_path)})
        with pytest.raises(StorageUnavailable, match="no answer"):
            hoist.pull(location, tmp_path / "pulled", config=soon)
        assert time.monotonic() - began < _SOON
    finally:
        server.restart()


def test_the_server_starts_anew_while_it_is_written(server: GaneshaServer, source: Path, tmp_path: Path) -> None:
    location = f"{server.url}//written:v1"
    crash = Crash(server)
    for _ in range(3):
        began = time.monotonic()
        try:
            hoist.publish(source, location, config=slowly(tmp_path), progress=crash.progress)
            break
        except HoistError as error:
            # Whatever it is in the middle of, it says so and ends; the next run goes on.
            assert isinstance(error, StorageUnavailable), error
            assert time.monotonic() - began < 2 * _SOON
            crash.thread.join(60)
    crash.thread.join(60)
    assert crash.happened.is_set()
    hoist.verify(location)


def test_a_publisher_that_is_killed(server: GaneshaServer, source: Path, tmp_path: Path) -> None:
    location = f"{server.url}//killed:v1"
    child = run_python(
        "import sys, hoist; hoist.publish(sys.argv[1], sys.argv[2])",
        str(source),
        location,
        HOME=str(tmp_path),
        HOIST_MAX_BANDWIDTH="60MiB",
    )
    tmp = server.data_folder / ".hoist/tmp"
    until = time.monotonic() + 60
    while not (begun := [path for path in tmp.glob("stage-*") if path.stat().st_blocks > 40 << 11]):
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    inode = begun[0].stat().st_ino
    child.kill()
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    again = run_python(
        "import sys, hoist; print(hoist.publish(sys.argv[1], sys.argv[2]).digest)",
        str(source),
        location,
        HOME=str(tmp_path),
    )
    out, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert out.startswith("sha256:")
    hoist.verify(location)
    assert list(tmp.glob("stage-*")) == []
    # The second run went on with the file of the first.
    assert (server.data_folder / "killed/v1/large.bin").stat().st_ino == inode


class Crash:
    """Kills the server once some bytes have moved, and starts it again a little later."""

    def __init__(self, server: GaneshaServer) -> None:
        self.happened = Event()
        self._server, self._lock, self._moved = server, Lock(), 0
        self.thread = Thread(target=self._run, daemon=True)
        self.progress = _Watching(self)

    def told(self, count: int) -> None:
        with self._lock:
            self._moved += count
            if self._moved > _SIZE // 3 and not self.happened.is_set():
                self.happened.set()
                self.thread.start()

    def _run(self) -> None:
        self._server.kill()
        time.sleep(0.5)
        self._server.restart()


class _Watching(Progress):
    def __init__(self, crash: Crash) -> None:
        self._crash = crash

    def advance(self, count: int) -> None:
        self._crash.told(count)
