"""What the kernel counts of each NFS mount of this host: /proc/self/mountstats, parsed. Pure.

The counters are of the whole mount: all processes of this host, whoever reads. They grow from the mount on, and begin
again at 0 when it is mounted anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hoist.storage.mounts import unescape

READ = "READ"
_DEVICE = re.compile(r"device ([^ \t\n]+) mounted on ([^ \t\n]+) with fstype (nfs4?)(?: statvers=(\S+))?")
_OPERATION = re.compile(r"\s+([A-Z][A-Z0-9_]*):((?: \d+){8,})\s*")
_BYTES = re.compile(r"\s+bytes:((?:\s+\d+){8})\s*")
_AGE = re.compile(r"\s+age:\s*(\d+)\s*")
_VERSION = re.compile(r"\s+opts:.*\bvers=([0-9.]+)")
# The columns of `bytes:`, of which these are read by programs: from the page cache or past it, and past it by O_DIRECT.
_NORMAL_READ, _DIRECT_READ, _SERVER_READ = 0, 2, 4


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of one kind since the mount: how many, how often they were sent, timeouts after which they were sent again,
    and the seconds of all of them together: in the queue here, from sending to the answer, and in all. `errors` are
    answers that say so, None where the kernel does not count them (before `RPC iostats version: 1.1`)."""

    count: int
    transmissions: int
    timeouts: int
    sent_bytes: int
    received_bytes: int
    queue_seconds: float
    round_trip_seconds: float
    seconds: float
    errors: int | None = None


@dataclass(frozen=True, slots=True)
class NfsMount:
    """The counters of one mount. `server_bytes` came from the server; `read_bytes` were read by programs, from the page
    cache too. `version` is of the protocol, as `4.1`, empty where it is not told."""

    source: str
    point: str
    kind: str
    version: str
    age_seconds: int
    read_bytes: int
    server_bytes: int
    calls: Mapping[str, Calls] = field(default_factory=dict)


def parse_mountstats(text: str) -> list[NfsMount]:
    """The NFS mounts in the kernel's table, in its order. Never raises: what cannot be read is left out."""
    found = (_parse(head, body) for head, body in _sections(text))
    return [mount for mount in found if mount]


def nfs_mount_at(text: str, point: str) -> NfsMount | None:
    """The one that is mounted there, the topmost of several; None if there is none."""
    return next((mount for mount in reversed(parse_mountstats(text)) if mount.point == point), None)


def _sections(text: str) -> Iterator[tuple[re.Match[str], Sequence[str]]]:
    head: re.Match[str] | None = None
    body: list[str] = []
    for line in text.split("\n"):
        if line[:1] in (" ", "\t"):
            body.append(line)
            continue
        if head:
            yield head, body
        head, body = _DEVICE.fullmatch(line), []
    if head:
        yield head, body


def _parse(head: re.Match[str], body: Sequence[str]) -> NfsMount | None:
    age, version = 0, ""
    numbers: list[int] | None = None
    calls: dict[str, Calls] = {}
    for line in body:
        if found := _OPERATION.fullmatch(line):
            calls[found[1]] = _calls([int(each) for each in found[2].split()])
        elif found := _BYTES.fullmatch(line):
            numbers = [int(each) for each in found[1].split()]
        elif found := _AGE.fullmatch(line):
            age = int(found[1])
        elif found := _VERSION.match(line):
            version = found[1]
    if numbers is None:
        return None
    return NfsMount(
        source=unescape(head[1]),
        point=unescape(head[2]),
        kind=head[3],
        version=version,
        age_seconds=age,
        read_bytes=numbers[_NORMAL_READ] + numbers[_DIRECT_READ],
        server_bytes=numbers[_SERVER_READ],
        calls=calls,
    )


def _calls(columns: Sequence[int]) -> Calls:
    count, transmissions, timeouts, sent, received, queue, round_trip, whole, *rest = columns
    return Calls(count, transmissions, timeouts, sent, received, queue / 1e3, round_trip / 1e3, whole / 1e3, *rest[:1])
