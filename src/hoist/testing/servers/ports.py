"""Free loopback ports for servers that cannot choose one themselves."""

from __future__ import annotations

import secrets
import socket

LOOPBACK = "127.0.0.1"
# Below the range that Linux gives to outgoing connections (32768 and up): a port that is free now is not taken
# by somebody's client before the server binds it.
_LOWEST, _COUNT = 15000, 17000


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on, chosen at random."""
    while True:
        port = _LOWEST + secrets.randbelow(_COUNT)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
