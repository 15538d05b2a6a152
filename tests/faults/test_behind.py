"""Hosts whose clocks lie, on stores whose listings are behind, killed at any request: nothing is half visible, no tag names
what is not there, and a run on a healthy host ends it all.

In memory, so that every order of requests can be tried: each trial is a random, seeded run of copies, tags, removals and
collections by two hosts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from conftest import ONE_IN
from hoist.errors import HoistError, VersionNotFound
from hoist.model.reference import Reference
from hoist.progress import Progress
from hoist.storage import layout
from hoist.storage.base import Tag, Version
from hoist.storage.memory import MemoryObjects
from hoist.storage.objects import ObjectInfo, Stamped
from hoist.storage.tree import TreeStorage
from hoist.transfer.collect import collect_storage
from hoist.transfer.copy import Options, copy_version
from hoist.transfer.verify import verify_version
from makers import memory_storage, noise, opened, publish, write_files

TRIALS = 60 // ONE_IN
STEPS = 16
DAY = 86400.0
NAME = "m/one"
LABELS = ("v1", "v2", "v3")
OPTIONS = Options(retry_seconds=0.2)


class Killed(BaseException):
    """The process is no more."""


class Server(MemoryObjects):
    """What the store really holds. Its clock is right."""

    def _write(self, key: str, data: bytes | memoryview) -> None:
        self._writes += 1
        self._held[key] = (bytes(data), str(self._writes), NOW())


def NOW() -> float:  # noqa: N802 the real clock, which the hosts do not see
    return time.clock_gettime(time.CLOCK_REALTIME)


class Host(MemoryObjects):
    """A host's view of a store: what it lists is what was there when it last caught up, and it may die at any request."""

    def __init__(self, server: Server) -> None:
        super().__init__("store")
        self._server = server
        self.left: int | None = None
        self.catch_up()

    def catch_up(self) -> None:
        """List from now on what there is now."""
        self._listed = list(self._server.list(""))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._asked()
        yield from [info for info in self._listed if info.key.startswith(prefix)]

    def head(self, key: str) -> ObjectInfo:
        self._asked()
        return self._server.head(key)

    def get(self, key: str) -> Stamped:
        self._asked()
        return self._server.get(key)

    def read_into(self, key: str, offset: int, buffer: memoryview) -> None:
        self._asked()
        self._server.read_into(key, offset, buffer)

    def put(self, key: str, data: bytes | memoryview) -> None:
        self._asked()
        self._server.put(key, data)

    def swap(self, key: str, data: bytes, expected: str | None) -> bool:
        self._asked()
        return self._server.swap(key, data, expected)

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._asked()
            self._server.delete([key])

    def _asked(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed


class Trial:
    """Two hosts at one store, and a source of versions: of each label two contents, of which one comes first."""

    def __init__(self, sources: list[TreeStorage], rng: random.Random) -> None:
        self.sources, self.rng = sources, rng
        self.server = Server()
        self.hosts = [Host(self.server), Host(self.server)]
        self.offsets = [rng.choice((-400 * DAY, -DAY, 0.0, 3600.0, 2 * DAY)) for _ in self.hosts]
        self.offset = 0.0

    def now(self) -> float:
        """What the clock of the host at work says."""
        return NOW() + self.offset

    def step(self) -> None:
        """One host does something, to its end or until it is killed."""
        number = self.rng.randrange(2)
        host, self.offset = self.hosts[number], self.offsets[number]
        if self.rng.random() < 0.4:
            host.catch_up()
        host.left = self.rng.choice((None, self.rng.randrange(60)))
        storage = TreeStorage(host, "nas")
        try:
            self._act(storage, host)
        except (HoistError, Killed):
            pass
        finally:
            host.left = None

    def _act(self, storage: TreeStorage, host: Host) -> None:
        version = Version(NAME, self.rng.choice(LABELS))
        what = self.rng.choice(("copy", "copy", "copy", "tag", "tag", "remove", "collect"))
        if what == "copy":
            self.copy(storage, self.rng.choice(self.sources), version.label)
        elif what == "tag":
            digest = opened(storage, Reference(NAME, label=version.label)).manifest.digest
            storage.set_tag(Tag(NAME, self.rng.choice(("stable", "latest")), version.label, digest))
        elif what == "remove":
            # What is not listed yet is not seen to be tagged: docs/sync.md says so of removals.
            host.catch_up()
            storage.remove(version, unless_tagged=True)
        else:
            collect_storage(storage, grace_seconds=self.rng.choice((0.0, DAY)), delete=True)

    def copy(self, storage: TreeStorage, source: TreeStorage, label: str, *, replace: bool = False) -> None:
        """Copy one of the contents of a label. Raises what went wrong."""
        options = Options(tags=("stable",), replace_unfinished=replace, retry_seconds=OPTIONS.retry_seconds)
        (done,) = copy_version(opened(source, Reference(NAME, label=label)), [storage], options, Progress())
        if done.error:
            raise done.error

    def check(self) -> None:
        """What is visible is whole, and tags name what is there."""
        storage = TreeStorage(self.server, "nas")
        for version in storage.versions():
            checked = verify_version(opened(storage, Reference(NAME, label=version.label)), Progress())
            assert not checked.damaged, (version, checked.damaged)
        for tag in storage.tags():
            assert opened(storage, Reference(NAME, label=tag.label)).manifest.digest == tag.digest


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[TreeStorage]:
    """Two that have other contents under the same labels; a file is in several versions."""
    found = [memory_storage(), memory_storage()]
    for number, source in enumerate(found):
        for place, label in enumerate(LABELS):
            files = {
                "shared.bin": noise((1 << 20) + 3, 7),
                "own.bin": noise(5000, 10 * number + place),
                "c.json": b"{}",
            }
            folder = write_files(tmp_path_factory.mktemp("contents"), files)
            publish(folder, source, f"{NAME}:{label}")
    return found


@pytest.mark.parametrize("chunk", range(6))
def test_kills_behind_listings_and_clocks_that_lie(
    chunk: int, sources: list[TreeStorage], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for seed in range(chunk, TRIALS, 6):
        trial = Trial(sources, random.Random(seed))
        monkeypatch.setattr(time, "time", trial.now)
        for _ in range(STEPS):
            trial.step()
            trial.check()
        # All is well, and what a killed removal has announced is over: each label gets what it has, or one of the contents.
        trial.offset = 120.0
        storage = TreeStorage(trial.server, "nas")
        for label in LABELS:
            _end(trial, storage, label)
        trial.check()
        assert sorted(version.label for version in storage.versions()) == sorted(LABELS)
        collect_storage(storage, grace_seconds=-1.0, delete=True)
        left = [info.key for info in trial.server.list(layout.CLAIMS)]
        assert left == []
        trial.check()
        monkeypatch.undo()


def _end(trial: Trial, storage: TreeStorage, label: str) -> None:
    try:
        digest = opened(storage, Reference(NAME, label=label)).manifest.digest
        source = next(
            each for each in trial.sources if opened(each, Reference(NAME, label=label)).manifest.digest == digest
        )
    except VersionNotFound:
        source = trial.sources[0]
    trial.copy(storage, source, label, replace=True)
