"""The storages of a herd on this machine: servers behind links of their own rates, and hosts for the instances.

Where namespaces may be made, each server is a host with a shaped link, and so is each instance. Elsewhere everything is on
loopback, and the instances share the storage's rate by a wrapper around it; what such a wrapper cannot do is left out.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from hoist.accelerator.origin import parse_origin
from hoist.accelerator.run import Accelerator
from hoist.accelerator.settings import Settings
from hoist.bench.herd_model import Bandwidths
from hoist.bench.herd_task import Task
from hoist.bench.netns import Host, Network, inside
from hoist.bench.stage import BUCKET, isolated_config
from hoist.config import Config
from hoist.errors import LocalError
from hoist.storage.base import Version
from hoist.storage.nfs.libnfs import load as load_libnfs
from hoist.testing.servers import DockerRegistry, GaneshaServer, NginxBucket
from hoist.testing.servers.base import LocalServer
from hoist.verbs import publish

_ACCELERATOR_PORT = 8080
_CACHE_BYTES = 4 << 30
NAMESPACES, THROTTLED = "namespaces", "throttled"
HOW: Mapping[str, str] = {
    NAMESPACES: "each server and each instance in a network namespace behind a shaped link",
    THROTTLED: "all on loopback; the instances share the storage's bandwidth by a wrapper around it",
}


@dataclass(frozen=True)
class Subject:
    """One storage of a herd. `rates` are the shaped ones; `server` says who it is.

    `origin` is the host whose link leads to the bytes, where there is one; `servers` are the sessions' leaders of the
    servers that work for it. `renew` makes it cold again.
    """

    name: str
    server: str
    location: str
    rates: Bandwidths
    servers: Callable[[], Iterable[int]] = tuple
    origin: Host | None = None
    renew: Callable[[], None] = lambda: None

    def sent_bytes(self) -> int | None:
        """What has left the origin so far, by the count of its link; None where there is no such link."""
        return self.origin.sent_bytes() if self.origin else None


@dataclass(frozen=True)
class HerdStage:
    """What is up: the configuration that has all of it, and the storages by name; those that are not, with the reason."""

    home: Path
    how: str
    config: Config
    subjects: Mapping[str, Subject]
    missing: Mapping[str, str]
    hosts: tuple[Host, ...] = ()

    def tasks(self, subject: Subject, instances: int, jitter: float = 0.0) -> list[Task]:
        """What each of so many instances does; `jitter` in seconds."""
        if self.how == NAMESPACES:
            return [Task(subject.location, host.namespace, (), jitter) for host in self.hosts[:instances]]
        shared = (str(self.home / f"{subject.name}.rate"), subject.rates.storage)
        own = subject.rates.instance
        return [
            Task(subject.location, None, (shared, (str(self.home / f"{subject.name}-{number}.rate"), own)), jitter)
            for number in range(instances)
        ]


@contextmanager
def set_herd_stage(
    file: Path,
    version: Version,
    rates: Mapping[str, Bandwidths],
    instances: int,
    *,
    how: str,
    folder: Path | None = None,
) -> Iterator[HerdStage]:
    """Publish `file` as `version` to each storage that `rates` names, and serve it; hosts for so many instances.

    Raises LocalError where hosts cannot be made; a storage that is not to be had is in `missing`.
    """
    with tempfile.TemporaryDirectory(prefix="hoist-herd-", dir=folder) as name, ExitStack() as stack:
        network = stack.enter_context(Network()) if how == NAMESPACES else None
        builder = _Builder(Path(name), file, version, network, stack)
        subjects, missing = {}, {}
        for storage, own in rates.items():
            try:
                subjects[storage] = OPENERS[storage](builder, own)
            except LocalError as error:
                missing[storage] = str(error)
        config = isolated_config(builder.home, "\n".join(builder.lines.values()), None)
        # What the directory's files were verified for another instance shall not spare the next one the work.
        config = replace(config, environ={**config.environ, "HOIST_RECHECK": "1", "HOIST_CACHE": "off"})
        link = max((own.instance for own in rates.values()), default=0.0)
        hosts = tuple(network.add(f"instance{n}", receive_rate=link) for n in range(instances)) if network else ()
        yield HerdStage(builder.home, how, config, subjects, missing, hosts)


class _Builder:
    """Starts servers as storages ask for them; `lines` is what hoist.toml shall say of each."""

    def __init__(self, home: Path, file: Path, version: Version, network: Network | None, stack: ExitStack) -> None:
        self.home, self.file, self.version, self.network = home, file, version, network
        self.lines: dict[str, str] = {}
        self.stack = stack
        self._bucket: tuple[NginxBucket, Host | None] | None = None

    def location(self, storage: str) -> str:
        return f"{storage}//{self.version}"

    def publish(self, address: str, config_text: str = "") -> None:
        publish(self.file, f"{address}//{self.version}", config=isolated_config(self.home, config_text, None))

    def serve(self, server: LocalServer, name: str, rate: float) -> Host | None:
        """Start it, on a host of its own where there are hosts."""
        if self.network is None:
            self.stack.enter_context(server)
            return None
        host = self.network.add(name, rate=rate)
        server.address = host.address
        with inside(host.namespace):
            self.stack.enter_context(server)
        return host

    def bucket(self, rate: float) -> tuple[NginxBucket, Host | None]:
        """A public bucket with the version in it; the same one for all who ask."""
        if self._bucket is None:
            server = NginxBucket(self.home / "www")
            host = self.serve(server, "bucket", rate)
            server.create_bucket(BUCKET)
            self.publish(str(self.home / "www" / BUCKET))
            self._bucket = (server, host)
        return self._bucket


def _open_bucket(builder: _Builder, rates: Bandwidths) -> Subject:
    server, host = builder.bucket(rates.storage)
    builder.lines["oss"] = f'[storage.oss]\nurl = "s3://{BUCKET}"\nendpoint = "{server.endpoint}"\nanonymous = true\n'
    return Subject("oss", "nginx as a public bucket", builder.location("oss"), rates, lambda: server.pids, host)


def _open_nas(builder: _Builder, rates: Bandwidths) -> Subject:
    """NFS where there are hosts; on loopback a directory, as the wrapper is what makes it a NAS there."""
    folder = builder.home / "nas"
    folder.mkdir()
    builder.publish(str(folder))
    if builder.network is None:
        builder.lines["nas"] = f'[storage.nas]\nurl = "{folder}"\n'
        return Subject("nas", "a directory of this machine", builder.location("nas"), rates)
    load_libnfs()
    server = GaneshaServer(folder)
    host = builder.serve(server, "nas", rates.storage)
    builder.lines["nas"] = f'[storage.nas]\nurl = "{server.url}"\n'
    return Subject("nas", "nfs-ganesha, read by nfs://", builder.location("nas"), rates, lambda: server.pids, host)


def _open_image(builder: _Builder, rates: Bandwidths) -> Subject:
    folder = builder.home / "registry"
    # It is published where its own link does not slow it, and served from the same folder.
    with DockerRegistry(folder) as registry:
        builder.publish(f"oci://{registry.host}/{BUCKET}")
    server = DockerRegistry(folder)
    host = builder.serve(server, "registry", rates.storage)
    builder.lines["image"] = f'[storage.image]\nurl = "oci://{server.host}/{BUCKET}"\nendpoint = "{server.endpoint}"\n'
    return Subject(
        "image", "docker-registry, layers read by range", builder.location("image"), rates, lambda: server.pids, host
    )


def _open_accelerator(builder: _Builder, rates: Bandwidths) -> Subject:
    """The bucket's link is the one to its origin; instances reach it by that link too where they fall back to it."""
    if builder.network is None:
        raise LocalError("a read cache needs a link of its own to its origin, and a wrapper around a storage is none")
    assert rates.origin is not None, "a cache has an origin"
    server, origin = builder.bucket(rates.origin)
    assert origin is not None, "there are hosts"
    host = builder.network.add("accelerator", rate=rates.storage)
    cache = builder.stack.enter_context(ColdCache(host, f"{server.endpoint}/{BUCKET}", builder.home / "accelerator"))
    builder.lines["accl"] = (
        f'[storage.accl]\nurl = "s3://{BUCKET}"\nkind = "accl"\nendpoint = "{server.endpoint}"\nanonymous = true\n'
        f'accelerator = "{cache.url}"\n'
    )
    about = "hoist accelerate before that bucket, its cache empty"
    return Subject(
        "accl", about, builder.location("accl"), rates, lambda: [*server.pids, cache.pid], origin, cache.renew
    )


class ColdCache:
    """An accelerator on `host` before the bucket at `base`, for the length of a `with` block; `renew` empties it."""

    def __init__(self, host: Host, base: str, folder: Path) -> None:
        self._host, self._base, self._folder = host, base, folder
        self._running: Accelerator | None = None
        self._number = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self._host.address}:{_ACCELERATOR_PORT}"

    @property
    def pid(self) -> int:
        """The process that leads its session."""
        assert self._running is not None, "it is entered"
        return self._running.pid

    def renew(self) -> None:
        """Start it anew with nothing in its cache. Raises LocalError."""
        self._end()
        self._number += 1
        folder = self._folder / str(self._number)
        folder.mkdir(parents=True)
        listen = f"{self._host.address}:{_ACCELERATOR_PORT}"
        settings = Settings(parse_origin("oss", self._base), listen, folder, _CACHE_BYTES)
        with inside(self._host.namespace):
            self._running = Accelerator(settings).__enter__()

    def __enter__(self) -> Self:
        self.renew()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            # Its log listens on that host's loopback, and is told there that it is over.
            with inside(self._host.namespace):
                running.__exit__(None, None, None)
            shutil.rmtree(self._folder, ignore_errors=True)


OPENERS: Mapping[str, Callable[[_Builder, Bandwidths], Subject]] = {
    "nas": _open_nas,
    "oss": _open_bucket,
    "accl": _open_accelerator,
    "image": _open_image,
}
