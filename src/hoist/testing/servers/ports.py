"""Loopback ports for servers that cannot choose one themselves: a free one, and whose it is."""

from __future__ import annotations

import secrets
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

LOOPBACK = "127.0.0.1"
# Below the range that Linux gives to outgoing connections (32768 and up): a port that is free now is not taken
# by somebody's client before the server binds it.
_LOWEST, _COUNT = 15000, 17000
_LISTENING = "0A"
# This thread's own: it may be in another network namespace than the process.
_TABLES = (Path("/proc/thread-self/net/tcp"), Path("/proc/thread-self/net/tcp6"))


def free_port(address: str = LOOPBACK) -> int:
    """A TCP port of `address` that nothing listens on, chosen at random."""
    while True:
        port = _LOWEST + secrets.randbelow(_COUNT)
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port


def listens(port: int, pids: Iterable[int], address: str = LOOPBACK) -> bool:
    """Whether one of the processes `pids` holds the socket that listens on `port` of the IPv4 `address`."""
    plain = f"{int.from_bytes(socket.inet_aton(address), sys.byteorder):08X}"
    # The second is how a socket for both families has that address.
    addresses = (f"{plain}:{port:04X}", f"0000000000000000FFFF0000{plain}:{port:04X}")
    lines = [line for table in _TABLES if table.exists() for line in table.read_text().splitlines()[1:]]
    rows = [line.split() for line in lines]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1] in addresses and row[3] == _LISTENING}
    for pid in pids:
        with suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    if str(descriptor.readlink()) in sockets:
                        return True
    return False
