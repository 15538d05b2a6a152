"""What every local server is: a context manager with an endpoint, keys, and a statement of what it really does."""

from __future__ import annotations

import http.client
import secrets
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self
from urllib.parse import quote

from obstore.store import S3Store

from hoist.errors import LocalError
from hoist.testing.servers.children import Children
from hoist.testing.servers.ports import LOOPBACK, free_port, listens
from hoist.testing.servers.sigv4 import Signer

# System folders that an ordinary user's PATH lacks on Debian.
SYSTEM_FOLDERS: tuple[str, ...] = ("/usr/local/sbin", "/usr/sbin")
_PROBE_EVERY_S = 0.05
_REQUEST_LIMIT_S = 20.0
_SHOWN_BYTES = 300


@dataclass(frozen=True, slots=True)
class Traits:
    """What a server really does, measured (`tests/testing/test_server_traits.py` probes each)."""

    writable: bool
    """PUT and DELETE work, and objects are listed."""
    ranges_with_206: bool
    """A ranged GET answers 206; otherwise 200, with the asked bytes and a right Content-Range."""
    honours_if_none_match: bool
    """PUT with `If-None-Match: *` on a present key answers 412; otherwise it overwrites."""
    honours_if_match: bool
    """PUT with an ETag in `If-Match` that is not the key's is refused (412; 412 or 404 when the key is absent), and
    one of racing writers wins; otherwise it overwrites."""
    if_match_takes_quotes: bool
    """PUT matches an ETag sent as it was received, with its quotes; otherwise it matches only without them."""
    checks_signatures: bool
    """A presigned request with a wrong signature answers 403."""
    refuses_anonymous: bool
    """A request without any signature is refused (403 or 400)."""
    checks_checksums: bool
    """A PUT whose x-amz-checksum-* header is wrong is refused."""
    keeps_versions: bool
    """Bucket versioning can be switched on."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer to one request; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class LocalServer(ABC):
    """A real server on a free loopback port, for the length of a `with` block.

    `folder` holds the data: a given one is created if need be and stays; by default it is a temporary one that goes
    with the server. Only the processes started here are ended, and they end too when Python dies.

    Raises LocalError when the server is not available here or does not come up within `start_limit_s` seconds.
    """

    name: ClassVar[str]
    start_limit_s: ClassVar[float] = 20.0
    stop_patience_s: ClassVar[float] = 3.0

    def __init__(self, folder: Path | None = None) -> None:
        self._given_folder = folder
        self._children: Children | None = None
        self._port = 0
        self.address = LOOPBACK
        """The address to listen on. Another than loopback's is set before the start, which then happens on that host."""

    @classmethod
    @abstractmethod
    def unavailable(cls) -> str | None:
        """None when the server can run here, else the reason and the mend."""

    @abstractmethod
    def _launch(self, children: Children, port: int, folder: Path) -> None:
        """Start the processes, to answer on `port` of `self.address` with their data in `folder`."""

    @property
    def endpoint(self) -> str:
        """The server's URL, `http://127.0.0.1:PORT` but for another `address`."""
        self._running()
        return f"http://{self._host}"

    @property
    def data_folder(self) -> Path:
        """Where the data is; for servers of plain files, `data_folder/BUCKET/KEY` is the object's own file."""
        return self._given_folder or self._running().folder / "data"

    @property
    def pids(self) -> tuple[int, ...]:
        """The ids of the processes that this server consists of; none when it is stopped."""
        return self._children.pids if self._children else ()

    def start(self) -> Self:
        """Start it and wait until it answers. Prefer `with`, which also stops it."""
        if self._children is not None:
            raise LocalError(f"{self.name}: already started")
        reason = self.unavailable()
        if reason is not None:
            raise LocalError(reason)
        self._children = Children(self.name)
        self._port = free_port(self.address)
        try:
            self.data_folder.mkdir(parents=True, exist_ok=True)
            self._launch(self._children, self._port, self.data_folder)
            self._wait_until_it_answers(self._children)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End its processes and remove its temporary folder; does nothing when it is stopped already."""
        children, self._children = self._children, None
        if children is not None:
            children.stop(self.stop_patience_s)

    def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL); its port and its files stay, and `restart` starts it again."""
        self._running().kill_all()

    def restart(self) -> None:
        """Start it again on the same port with the same folder, killing it first if it still runs."""
        children = self._running()
        children.kill_all()
        self._launch(children, self._port, self.data_folder)
        self._wait_until_it_answers(children)

    def freeze(self) -> None:
        """Stop its processes where they are (SIGSTOP): connections are taken and nothing answers, until `thaw`."""
        self._running().signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self._running().signal_all(signal.SIGCONT)

    def check(self) -> None:
        """Raise LocalError, with the tail of its log, unless every process of it is running."""
        self._running().check()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """What the server answers. Raises LocalError, naming the process that has ended if one has."""
        try:
            return self._exchange(method, target, headers, body)
        except (OSError, http.client.HTTPException) as error:
            self.check()
            path = target.partition("?")[0]
            raise LocalError(f"{self.name}: no answer to {method} {path}: {error}") from error

    @property
    def _host(self) -> str:
        return f"{self.address}:{self._port}"

    def _running(self) -> Children:
        if self._children is None:
            raise LocalError(f"{self.name}: the server is not started")
        return self._children

    def _exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        connection = http.client.HTTPConnection(self.address, self._port, timeout=_REQUEST_LIMIT_S)
        try:
            connection.request(method, target, body, dict(headers))
            response = connection.getresponse()
            got = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, got, response.read())
        finally:
            connection.close()

    def _wait_until_it_answers(self, children: Children) -> None:
        deadline = time.monotonic() + self.start_limit_s
        while time.monotonic() < deadline:
            children.check()
            with suppress(OSError, http.client.HTTPException):
                # Any answer will do, a refusal too, but it must be this server's: the port may be another's.
                if self._exchange("GET", "/", {}, b"").status < 500 and listens(
                    self._port, children.pids, self.address
                ):
                    return
            time.sleep(_PROBE_EVERY_S)
        raise LocalError(
            f"{self.name}: no answer on {self._host} within {self.start_limit_s:.0f} s{children.log_tail()}"
        )


class S3Server(LocalServer):
    """A server that speaks S3, or a part of it: its keys, its buckets, and requests that are signed."""

    traits: ClassVar[Traits]
    region: ClassVar[str] = "us-east-1"

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.access_key = secrets.token_hex(10)
        self.secret_key = secrets.token_hex(20)

    def create_bucket(self, name: str) -> None:
        """Create the bucket, or leave it as it is. Raises LocalError when the server refuses or is gone."""
        answer = self.request("PUT", f"/{name}")
        if answer.status not in (200, 409):
            shown = answer.body[:_SHOWN_BYTES].decode(errors="replace")
            raise LocalError(f"{self.name}: creating bucket {name} answered {answer.status}: {shown}")

    def open_store(self, bucket: str) -> S3Store:
        """An obstore client of the bucket, with the server's keys."""
        return S3Store(
            bucket,
            endpoint=self.endpoint,
            region=self.region,
            access_key_id=self.access_key,
            secret_access_key=self.secret_key,
            client_options={"allow_http": True},
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        signed: bool = True,
    ) -> Answer:
        """Send one request as it is, signed with the server's keys unless told otherwise; for what obstore lacks.

        `path` is unquoted, `query` canonical (sorted, each name with a `=`). Raises LocalError when there is no
        answer, naming the process that has ended if one has.
        """
        sent = dict(headers or {})
        if signed:
            signer = Signer(self.access_key, self.secret_key, self.region)
            sent = signer.headers(method, self._host, path, query, sent, body)
        return self._answer(method, quote(path) + (f"?{query}" if query else ""), sent, body)


def find_program(name: str) -> str | None:
    """The full path of a program on PATH or in a system folder, or None."""
    for path in (None, *SYSTEM_FOLDERS):
        found = shutil.which(name, path=path)
        if found is not None:
            return found
    return None


def missing_programs(server: str, programs: Iterable[str], mend: str) -> str | None:
    """The reason, with the mend, when not every one of `programs` is installed; None when they are."""
    missing = [program for program in programs if find_program(program) is None]
    if not missing:
        return None
    return f"{server} is not installed (no {', '.join(missing)}): {mend}"
