"""Where on which server, as whom, and how long it may be silent."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

from hoist.storage.nfs.errors import NfsBroken

CONNECT_SECONDS = 10.0
SILENT_SECONDS = 30.0
# Measured against nfs-ganesha: two reads of 512 KiB at once; larger ones and more of them were slower.
READ_BYTES = 512 << 10


@dataclass(frozen=True, slots=True)
class Place:
    """A folder on a server, and as whom: `path` begins at the server's root; uid and gid None are this process's."""

    server: str
    port: int
    path: str
    uid: int | None = None
    gid: int | None = None
    read_bytes: int = READ_BYTES


def resolved(place: Place) -> tuple[int, Any]:
    """The family and the address of the server. Raises NfsBroken."""
    try:
        found = socket.getaddrinfo(place.server, place.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NfsBroken(f"{place.server} cannot be resolved: {error.strerror}") from None
    return found[0][0], found[0][4]
