"""Four regions that can be lost: two object stores, a directory and a registry, each of them real.

Each can be broken in the ways that it names, and mended: then it is as a region is that came back, with its data. Files lie
on file systems of their own, which can be full or read-only. A plugin's material: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hoist.config import StorageConfig
from hoist.storage import open_storage
from hoist.storage.base import Storage
from hoist.testing.servers import DockerRegistry, FaultServer, LocalServer, RcloneServer, Rule, S3Server, ServerOrigin
from hoist.testing.servers.fault_kinds import Exchange, Refusal
from places import small_file_system

KILLED, FROZEN, FULL, READ_ONLY, SLOW = "killed", "frozen", "full", "read-only", "slow"
DISK_BYTES = 512 << 20
_SLACK_BYTES = 256 << 10
_BUSY_SECONDS = 1.0
_LATE_SECONDS = 0.04
_RUN_SECONDS, _REST_SECONDS = 0.004, 0.03


class Region(ABC):
    """A place that holds one storage. `env` says how a user reaches it; `open` how a test does, past what is broken."""

    name: str
    kinds: tuple[str, ...]

    @property
    @abstractmethod
    def env(self) -> dict[str, str]:
        """The variables that configure it, without those of the keys."""

    @abstractmethod
    def open(self, home: Path) -> Storage:
        """Its storage by the healthy way."""

    @abstractmethod
    def strike(self, kind: str) -> bool:
        """Break it; False if that could not be done at this moment. Breaking it twice is not possible."""

    @abstractmethod
    def mend(self) -> None:
        """Make it well again, whatever was done to it."""

    def _variables(self, **fields: str) -> dict[str, str]:
        return {f"HOIST_STORAGE_{self.name.upper()}_{key.upper()}": value for key, value in fields.items()}


class Disk:
    """A file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._said = ""

    def fill(self) -> bool:
        """Leave next to no room."""
        found = os.statvfs(self.folder)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        return self._remount(f"size={used + _SLACK_BYTES}")

    def make_read_only(self) -> bool:
        """No more writes; it has to wait until nobody has a file open to write."""
        return self._remount("ro")

    def mend(self) -> None:
        """Room and permission again."""
        assert self._remount(f"rw,size={DISK_BYTES}"), self._said

    def _remount(self, options: str) -> bool:
        until = time.monotonic() + _BUSY_SECONDS
        words = ["mount", "-o", f"remount,{options}", str(self.folder)]
        while True:
            ended = subprocess.run(words, check=False, capture_output=True, text=True)
            self._said = ended.stderr
            if not ended.returncode:
                return True
            if time.monotonic() > until:
                return False


class Directory(Region):
    """A folder as of a NAS. Killed: it is not mounted any more, and in its place is an empty folder."""

    name = "nas"
    kinds = (KILLED, FULL, READ_ONLY)

    def __init__(self, disk: Disk, folder: Path) -> None:
        self._disk, self._folder = disk, folder
        folder.mkdir()
        self._mount()

    @property
    def env(self) -> dict[str, str]:
        return self._variables(url=str(self._folder))

    def open(self, home: Path) -> Storage:
        return open_storage(StorageConfig(self.name, str(self._folder)), {})

    def strike(self, kind: str) -> bool:
        if kind == KILLED:
            self.unmount()
            # What was written there when it was away before.
            for item in self._folder.iterdir():
                shutil.rmtree(item, ignore_errors=True)
            return True
        return self._disk.fill() if kind == FULL else self._disk.make_read_only()

    def mend(self) -> None:
        if not self._folder.is_mount():
            self._mount()
        self._disk.mend()

    def unmount(self) -> None:
        """Whoever has files open keeps them, as with a lazy umount."""
        subprocess.run(["umount", "-l", self._folder], check=True)

    def _mount(self) -> None:
        subprocess.run(["mount", "--bind", self._disk.folder, self._folder], check=True)


class Stutter:
    """A server that hardly gets to run: it is stopped and let go many times a second."""

    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stutter")
        self._thread.start()

    def end(self) -> None:
        """It runs again."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            self._server.freeze()
            self._over.wait(_REST_SECONDS)
            self._server.thaw()
            self._over.wait(_RUN_SECONDS)


class Served(Region):
    """A region on a server that is its own, with its data on a disk of its own."""

    kinds = (KILLED, FROZEN, FULL, READ_ONLY, SLOW)

    def __init__(self, server: LocalServer, disk: Disk) -> None:
        self.server, self._disk = server, disk
        self._dead = False
        self._stutter: Stutter | None = None

    def strike(self, kind: str) -> bool:
        if kind == KILLED:
            self.server.kill()
            self._dead = True
        elif kind == FROZEN:
            self.server.freeze()
        elif kind == SLOW:
            self._stutter = Stutter(self.server)
        else:
            return self._disk.fill() if kind == FULL else self._disk.make_read_only()
        return True

    def mend(self) -> None:
        if self._stutter:
            self._stutter.end()
            self._stutter = None
        self._disk.mend()
        if self._dead:
            self.server.restart()
            self._dead = False
        self.server.thaw()


class OwnStore(Served):
    """An object store of files, which has no conditional writes."""

    name = "us"
    server: RcloneServer

    def __init__(self, server: RcloneServer, disk: Disk) -> None:
        super().__init__(server, disk)
        server.create_bucket("models")

    @property
    def env(self) -> dict[str, str]:
        return self._variables(
            url="s3://models/hoist", endpoint=self.server.endpoint, region=self.server.region, profile=self.name
        )

    def open(self, home: Path) -> Storage:
        return _open_bucket(self.name, "s3://models/hoist", self.server, home)


class OwnRegistry(Served):
    """A registry."""

    name = "reg"
    server: DockerRegistry

    @property
    def env(self) -> dict[str, str]:
        return self._variables(url=f"oci://{self.server.host}/models")

    def open(self, home: Path) -> Storage:
        return open_storage(StorageConfig(self.name, f"oci://{self.server.host}/models"), {"HOME": str(home)})


class SharedStore(Region):
    """An object store that other tests use too: what stands before it for this region's users is broken."""

    name = "eu"
    kinds = (KILLED, FROZEN, FULL, READ_ONLY, SLOW)

    def __init__(self, store: S3Server, front: FaultServer, bucket: str) -> None:
        self._store, self._front, self._url = store, front, f"s3://{bucket}/models"
        store.create_bucket(bucket)
        self._over = threading.Event()
        self._down: ExitStack | None = None

    @property
    def env(self) -> dict[str, str]:
        return self._variables(
            url=self._url, endpoint=self._front.endpoint, region=self._store.region, profile=self.name
        )

    def open(self, home: Path) -> Storage:
        return _open_bucket(self.name, self._url, self._store, home)

    def strike(self, kind: str) -> bool:
        if kind == KILLED:
            self._down = ExitStack()
            self._down.enter_context(self._front.down())
        elif kind == FROZEN:
            self._over.clear()
            self._front.plan(Rule(_Frozen(self._over), method="*"))
        elif kind == SLOW:
            self._front.plan(Rule(_Late(), method="*"))
        else:
            code = "QuotaExceeded" if kind == FULL else "AccessDenied"
            methods = ("PUT", "POST") if kind == FULL else ("PUT", "POST", "DELETE")
            self._front.plan(*(Rule(Refusal(403, code=code), method=method) for method in methods))
        return True

    def mend(self) -> None:
        self._front.plan()
        self._over.set()
        if self._down:
            self._down.close()
            self._down = None


class _Frozen:
    """No answer before it is over; then the right one, to whoever still waits."""

    def __init__(self, over: threading.Event) -> None:
        self._over = over

    def strike(self, exchange: Exchange) -> None:
        """See Fault."""
        while not self._over.wait(0.01):
            exchange.wait(0)
        exchange.send(exchange.origin())


class _Late:
    """The right answer, late."""

    def strike(self, exchange: Exchange) -> None:
        """See Fault."""
        exchange.wait(_LATE_SECONDS)
        exchange.send(exchange.origin())


def write_keys(home: Path, stores: dict[str, S3Server]) -> dict[str, str]:
    """A credentials file with a profile for each; the variable that names it."""
    path = home / "credentials"
    path.write_text(
        "".join(
            f"[{name}]\naws_access_key_id={store.access_key}\naws_secret_access_key={store.secret_key}\n"
            for name, store in stores.items()
        )
    )
    return {"AWS_SHARED_CREDENTIALS_FILE": str(path)}


def _open_bucket(name: str, url: str, store: S3Server, home: Path) -> Storage:
    config = StorageConfig(name, url, endpoint=store.endpoint, region=store.region, profile=name)
    return open_storage(config, {"AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"), "HOME": str(home)})


@contextmanager
def four_regions(
    folder: Path, shared: S3Server, bucket: str, require: Callable[[type[LocalServer]], None]
) -> Iterator[dict[str, Region]]:
    """The regions by name, with the credentials of both stores in `folder`, the home of their user."""
    for server in (RcloneServer, DockerRegistry):
        require(server)
    with ExitStack() as stack:
        size = f"{DISK_BYTES >> 20}m"
        disks = [
            Disk(stack.enter_context(small_file_system(folder / name, size, "755")))
            for name in ("d-us", "d-reg", "d-nas")
        ]
        rclone = stack.enter_context(RcloneServer(disks[0].folder))
        registry = stack.enter_context(DockerRegistry(disks[1].folder))
        front = stack.enter_context(FaultServer(ServerOrigin(shared.endpoint)))
        write_keys(folder, {"eu": shared, "us": rclone})
        nas = Directory(disks[2], folder / "nas")
        stack.callback(nas.unmount)
        regions = (SharedStore(shared, front, bucket), OwnStore(rclone, disks[0]), OwnRegistry(registry, disks[1]), nas)
        for each in regions:
            stack.callback(each.mend)
        yield {each.name: each for each in regions}
