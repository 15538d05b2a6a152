"""What the processes of one test run share: one radosgw, and the page cache in turns.

`pytest -n` runs the tests in workers. The process that started them owns what they share: it listens on a socket in
a folder of its own, starts a radosgw when the first worker asks, and ends it after the last test.

A plugin of conftest.py, which imports from it too: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import obstore
import pytest

from hoist.errors import HoistError, LocalError
from hoist.testing.servers import RadosgwServer

_SHARED = pytest.StashKey["Shared"]()


@dataclass(frozen=True)
class _Told:
    """What a worker must know of a server that another process has started."""

    host: str
    access_key: str
    secret_key: str
    data_folder: str
    pids: tuple[int, ...]


class Shared:
    """The side of the process that owns: a folder with a socket; the server runs from the first question on."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hoist-shared-"))
        self._servers = ExitStack()
        self._told: _Told | str | None = None
        self._listener = Listener(str(self.folder / "socket"), backlog=64)
        self._thread = threading.Thread(target=self._answer, name="shared-servers")
        self._thread.start()

    def _answer(self) -> None:
        while True:
            # A worker that has died meanwhile is not this one's trouble.
            with self._listener.accept() as asked, suppress(OSError, EOFError):
                if asked.recv() == "end":
                    return
                if self._told is None:
                    self._told = self._start()
                asked.send(asdict(self._told) if isinstance(self._told, _Told) else self._told)

    def _start(self) -> _Told | str:
        try:
            server = self._servers.enter_context(RadosgwServer())
        except HoistError as error:
            return str(error)
        return _told(server)

    def close(self) -> None:
        """End the server, and answer nobody any more."""
        with Client(str(self.folder / "socket")) as client:
            client.send("end")
        self._thread.join()
        self._listener.close()
        self._servers.close()
        shutil.rmtree(self.folder)


def _told(server: RadosgwServer) -> _Told:
    host = server.endpoint.removeprefix("http://")
    return _Told(host, server.access_key, server.secret_key, str(server.data_folder), server.pids)


class _Lent(RadosgwServer):
    """A radosgw that somebody else has started and will end."""

    def __init__(self, told: _Told) -> None:
        super().__init__(Path(told.data_folder))
        self.access_key, self.secret_key = told.access_key, told.secret_key
        self._told = told
        self._port = int(told.host.rpartition(":")[2])
        self._made: set[str] = set()

    def create_bucket(self, name: str) -> None:
        """A bucket of this process alone: no other may use this name."""
        super().create_bucket(name)
        self._made.add(name)

    def empty(self) -> None:
        """Take everything out of the buckets that this process has made: all is in memory, and that is bounded."""
        for name in self._made:
            store = self.open_store(name)
            for page in obstore.list(store):
                obstore.delete(store, [item["path"] for item in page])
            found = ElementTree.fromstring(self.request("GET", f"/{name}", query="uploads=").body)
            for upload in found.iterfind("{*}Upload"):
                key, number = upload.findtext("{*}Key"), upload.findtext("{*}UploadId")
                self.request("DELETE", f"/{name}/{key}", query=f"uploadId={number}")
        self._made.clear()

    @property
    def endpoint(self) -> str:
        return f"http://{self._told.host}"

    @property
    def pids(self) -> tuple[int, ...]:
        return self._told.pids

    def check(self) -> None:
        for pid in self.pids:
            if not Path(f"/proc/{pid}").exists():
                raise LocalError(f"{self.name}: the process {pid} has ended")


_LENT = pytest.StashKey[_Lent]()


def _folder(config: pytest.Config) -> Path | None:
    """The folder of the owner, in a worker; None where one process runs all."""
    given: dict[str, Any] = getattr(config, "workerinput", {})
    return Path(given["shared_folder"]) if "shared_folder" in given else None


@contextmanager
def radosgw(config: pytest.Config) -> Iterator[RadosgwServer]:
    """The one radosgw of the run."""
    folder = _folder(config)
    if folder is None:
        with RadosgwServer() as server:
            config.stash[_LENT] = lent = _Lent(_told(server))
            yield lent
        return
    with Client(str(folder / "socket")) as owner:
        owner.send("radosgw")
        told = owner.recv()
    if isinstance(told, str):
        raise LocalError(told)
    config.stash[_LENT] = lent = _Lent(_Told(**told))
    yield lent


@pytest.fixture(scope="module", autouse=True)
def what_was_stored_is_gone(request: pytest.FixtureRequest) -> Iterator[None]:
    """After the tests of a file."""
    yield
    lent = request.config.stash.get(_LENT, None)
    if lent:
        lent.empty()


@contextmanager
def page_cache_alone(config: pytest.Config) -> Iterator[None]:
    """No other worker empties the page cache meanwhile, or needs it to stay as it is."""
    folder = _folder(config)
    if folder is None:
        yield
        return
    file = os.open(folder / "page-cache", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        # Not by closing it alone: a child that was forked meanwhile may still have it open.
        fcntl.flock(file, fcntl.LOCK_UN)
        os.close(file)


@pytest.fixture
def page_cache(request: pytest.FixtureRequest) -> Iterator[None]:
    """For a test that empties the page cache, or says what is in it."""
    with page_cache_alone(request.config):
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In the owner, as it starts a worker."""
    config = node.config
    if _SHARED not in config.stash:
        config.stash[_SHARED] = Shared()
    node.workerinput["shared_folder"] = str(config.stash[_SHARED].folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """In the owner, when every worker has ended."""
    shared = config.stash.get(_SHARED, None)
    if shared:
        shared.close()
