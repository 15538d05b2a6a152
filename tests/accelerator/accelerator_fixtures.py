"""Accelerators before real stores, and requests to them as a client would send them, or as one should not.

A plugin of the modules here (`pytest_plugins`); they import from it too, before it is a plugin: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlsplit
from uuid import uuid4

import obstore
import pytest

from hoist.accelerator.origin import parse_origin
from hoist.accelerator.run import Accelerator
from hoist.accelerator.settings import Settings
from hoist.config import Config, EngineConfig, StorageConfig
from hoist.testing.servers import NginxServer, RadosgwServer
from hoist.testing.servers.ports import free_port

HOUR = timedelta(hours=1)
MIB = 1 << 20


@dataclass
class Running:
    """An accelerator that runs, and what it said."""

    accelerator: Accelerator
    port: int
    said: list[str] = field(default_factory=list)
    stop: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, name: str) -> float:
        """One of its metrics, all labels together."""
        values = self.accelerator.metrics.values()
        return sum(value for key, value in values.items() if key.partition("{")[0] == name)

    def ask(self, url: str, span: str | None = None, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        """The answer to an origin's URL, asked of the accelerator."""
        parts = urlsplit(url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        sent = {"Host": parts.netloc, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if span:
            sent["Range"] = f"bytes={span}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, target, headers=sent)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def raw(self, text: str) -> bytes:
        """What comes back for bytes as they are; `Connection: close` has to be among them."""
        with socket.create_connection(("127.0.0.1", self.port), 30) as asked:
            asked.sendall(text.encode("latin-1"))
            answer = b""
            while data := asked.recv(1 << 16):
                answer += data
        return answer


Accelerate = Callable[..., Running]


@pytest.fixture
def accelerate(tmp_path: Path) -> Iterator[Accelerate]:
    """`accelerate(base, **settings)` runs an accelerator before an origin's URL, watched, until the test ends."""
    with ExitStack() as stack:

        def start(base: str, *, ca_bundle: str | None = None, **fields: object) -> Running:
            port = free_port()
            given: dict[str, object] = {"cache": tmp_path / f"cache-{uuid4().hex[:6]}", "size": 256 * MIB} | fields
            origin = parse_origin("origin", base, ca_bundle)
            settings = Settings(origin, f"127.0.0.1:{port}", **given)  # type: ignore[arg-type]
            said: list[str] = []
            own = stack.enter_context(ExitStack())
            accelerator = own.enter_context(Accelerator(settings, said.append))
            stop = Event()
            thread = Thread(target=accelerator.watch, args=(stop,))
            thread.start()
            own.callback(thread.join)
            own.callback(stop.set)
            return Running(accelerator, port, said, own.close)

        yield start


@pytest.fixture(scope="session", autouse=True)
def _nginx() -> None:
    from conftest import require

    require(NginxServer)


@dataclass(frozen=True)
class Bucket:
    """A new bucket on radosgw, and its client."""

    server: RadosgwServer
    name: str

    @property
    def base(self) -> str:
        return f"{self.server.endpoint}/{self.name}"

    def put(self, key: str, size: int) -> bytes:
        """New random bytes at `key`."""
        data = os.urandom(size)
        obstore.put(self.server.open_store(self.name), key, data)
        return data

    def config(self, accelerators: Sequence[str] = (), endpoint: str | None = None) -> Config:
        """One storage, `models`, on the bucket below `in`."""
        server = self.server
        storage = StorageConfig(
            "models",
            f"s3://{self.name}/in",
            endpoint=endpoint or server.endpoint,
            region=server.region,
            accelerator=tuple(accelerators),
        )
        keys = {
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "HOME": "/nonexistent",
        }
        return Config({"models": storage}, EngineConfig(retry_seconds=30.0), keys)

    def sign(self, key: str, lasts: timedelta = HOUR) -> str:
        return obstore.sign(self.server.open_store(self.name), "GET", key, lasts)


@pytest.fixture
def rgw_bucket(radosgw_server: RadosgwServer) -> Bucket:
    name = f"accelerated-{uuid4().hex[:8]}"
    radosgw_server.create_bucket(name)
    return Bucket(radosgw_server, name)
