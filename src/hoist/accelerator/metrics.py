"""What an accelerator does, in numbers, from what nginx says of each request; and as Prometheus reads them.

nginx sends a datagram a slice, a check and a request to a socket of ours. It never waits for it: what is not read in time
is lost, and was not counted. A unix socket would hold ten of them; one of UDP holds thousands. Anybody on this host may
send to that, so only what begins with a word that nobody else knows is counted.
"""

from __future__ import annotations

import re
import secrets
import socket
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread

from hoist.expose import exposition

_RECENT_SECONDS = 60.0
_CONNECTIONS = 4096
_QUIET_SECONDS, _LINES = 10.0, 10
# What the origin says of a thing that is not there, or while it is busy: the client is told.
_EXPECTED = "auth request unexpected status"
_BUFFER_BYTES = 4 << 20
_QUERY = re.compile(r"\?[^\s\"',]*")
_LINE = re.compile(
    r"(?P<what>get|check) (?P<client>\S+) (?P<connection>\d+) (?P<number>\d+) (?P<status>.*?) "
    r"(?P<cache>[A-Z-]+)(?: : [A-Z-]+)* (?P<got>[\d-]+)(?:[ ,:]+[\d-]+)* (?P<sent>\d+)"
)
_HELP = {
    "requests_total": ("counter", "requests of clients that were answered, by status"),
    "slices_total": (
        "counter",
        "slices that were needed, by where they came from: hit, miss, bypass, expired, updating",
    ),
    "checks_total": ("counter", "permission checks, by where the answer came from: hit (remembered) or the origin"),
    "refusals_total": ("counter", "requests that were refused: by the origin's check or this accelerator's own rules"),
    "client_bytes_total": ("counter", "bytes of bodies sent to clients"),
    "origin_bytes_total": ("counter", "bytes received from the origin, checks included"),
    "hit_ratio": ("gauge", "slices that came from the cache, of all since the start"),
    "clients": ("gauge", "addresses that were served within the last minute"),
    "connections": ("gauge", "open connections of clients"),
    "restarts_total": ("counter", "times that nginx ended and was started again"),
    "start_time_seconds": ("gauge", "when this accelerator began, in seconds since the epoch"),
}


class Metrics:
    """Counters of one accelerator. Safe for many threads; `connections` asks nginx, None where it does not answer."""

    def __init__(self, connections: Callable[[], int | None] = lambda: None) -> None:
        self._lock = Lock()
        self._counts: defaultdict[str, float] = defaultdict(float)
        self._labelled: defaultdict[tuple[str, str, str], float] = defaultdict(float)
        self._sent: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._clients: dict[str, float] = {}
        self._connections = connections
        self._began = time.time()

    def take(self, line: str) -> None:
        """Count one line of nginx's log."""
        found = _LINE.search(line)
        if not found:
            return
        with self._lock:
            got = found["got"]
            self._counts["origin_bytes_total"] += int(got) if got.isdigit() else 0
            cache = found["cache"].lower()
            if found["what"] == "check":
                self._labelled["checks_total", "from", "hit" if cache == "hit" else "origin"] += 1
                return
            if cache != "-":
                self._labelled["slices_total", "from", cache] += 1
            status = found["status"]
            if status in ("401", "403", "405"):
                self._counts["refusals_total"] += 1
            self._client(found["client"])
            self._count_sent(found["connection"], found["number"], int(found["sent"]), status)

    def restarted(self) -> None:
        """nginx had ended, and was started again."""
        with self._lock:
            self._counts["restarts_total"] += 1
            # It counts its connections anew.
            self._sent.clear()

    def values(self) -> Mapping[str, float]:
        """All of them by name, with the label in braces where there is one."""
        connections = self._connections()
        with self._lock:
            found = {name: self._counts[name] for name, (kind, _) in _HELP.items() if kind == "counter"}
            labelled = dict(self._labelled)
            since = time.monotonic() - _RECENT_SECONDS
            self._clients = {client: at for client, at in self._clients.items() if at > since}
            found["clients"] = len(self._clients)
        found = {name: value for name, value in found.items() if name not in _LABELLED}
        for (name, label, value), count in sorted(labelled.items()):
            found[f'{name}{{{label}="{value}"}}'] = count
        slices = {value: count for (name, _, value), count in labelled.items() if name == "slices_total"}
        if slices:
            found["hit_ratio"] = slices.get("hit", 0.0) / sum(slices.values())
        if connections is not None:
            found["connections"] = connections
        found["start_time_seconds"] = self._began
        return found

    def text(self) -> str:
        """The exposition format of Prometheus."""
        return exposition("hoist_accelerator", _HELP, self.values())

    def _client(self, address: str) -> None:
        # A local client of a unix socket has no address that tells it from others.
        self._clients[address] = time.monotonic()
        if len(self._clients) > 4 * _CONNECTIONS:
            self._clients.clear()

    def _count_sent(self, connection: str, number: str, sent: int, status: str) -> None:
        """Lines of one request say what was sent of it so far: each slice's, and last its own."""
        before = self._sent.pop(connection, None)
        known = before[1] if before and before[0] == number else 0
        if not before or before[0] != number:
            self._labelled["requests_total", "status", status] += 1
        self._sent[connection] = (number, max(sent, known))
        self._counts["client_bytes_total"] += max(0, sent - known)
        if len(self._sent) > _CONNECTIONS:
            self._sent.popitem(last=False)


_LABELLED = ("requests_total", "slices_total", "checks_total")


class LogSocket:
    """Where nginx's log goes: counts are counted, errors handed to `say` without what a query may hold.

    `port` and `word` are what nginx has to know.
    """

    def __init__(self, metrics: Metrics, say: Callable[[str], None]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # As much as the system lets it have.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.word = secrets.token_hex(12)
        self._metrics, self._say = metrics, say
        self._until, self._told = 0.0, 0
        self._closing = False
        self._thread = Thread(target=self._listen, name="hoist-accelerator-log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, after what has come."""
        self._closing = True
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(2.0)
        self._socket.close()

    def _listen(self) -> None:
        while True:
            data = self._socket.recv(1 << 16)
            if not data and self._closing:
                return
            head, _, line = data.decode(errors="replace").partition(": ")
            if head.endswith(f"a{self.word}"):
                self._metrics.take(line)
            elif head.endswith(f"e{self.word}") and _EXPECTED not in line:
                self._tell(_QUERY.sub("?...", line.strip()))

    def _tell(self, line: str) -> None:
        """An origin that is down fails each request in the same words: a few of them will do."""
        now = time.monotonic()
        if now > self._until:
            self._until, self._told = now + _QUIET_SECONDS, 0
        self._told += 1
        if self._told <= _LINES:
            self._say(line)
        elif self._told == _LINES + 1:
            self._say(f"more of that is not shown for {_QUIET_SECONDS:.0f} s")


def connections_of(status: Path) -> int | None:
    """How many connections clients have open, by nginx's own word on its private socket; None if it does not answer."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
            asked.settimeout(2.0)
            asked.connect(str(status))
            asked.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while data := asked.recv(4096):
                answer += data
    except OSError:
        return None
    found = re.search(rb"Active connections: (\d+)", answer)
    # The one that asks is counted too.
    return int(found[1]) - 1 if found else None
