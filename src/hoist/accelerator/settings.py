"""What an accelerator is told, and what only a run of it knows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hoist.accelerator.origin import Origin
from hoist.errors import InvalidConfig


@dataclass(frozen=True, slots=True)
class Settings:
    """What an accelerator is told. `listen` is HOST:PORT; `size` the bytes of its cache; `slice_bytes` how much one
    request to the origin asks for; `certificate` and `key` are for its clients; `keep_free` bytes stay free on its disk."""

    origin: Origin
    listen: str
    cache: Path
    size: int
    check_seconds: int = 10
    slice_bytes: int = 8 << 20
    certificate: Path | None = None
    key: Path | None = None
    workers: int = 2
    connections: int = 4096
    keep_free: int = 0


@dataclass(frozen=True, slots=True)
class Places:
    """What only a run knows: a folder that goes with it, the user that nginx works as, the authorities that the origin's
    certificate is checked against, its addresses, and where the log goes."""

    folder: Path
    user: str | None = None
    trusted: Path | None = None
    addresses: tuple[str, ...] = ()
    log_port: int = 514
    log_word: str = "hoist"


def parse_listen(text: str) -> str:
    """HOST:PORT, checked. Raises InvalidConfig."""
    host, _, port = text.rpartition(":")
    if (
        not re.fullmatch(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]|\*", host)
        or not port.isdigit()
        or not 0 < int(port) < 65536
    ):
        raise InvalidConfig(f"--listen wants HOST:PORT, as 0.0.0.0:8080, not {text!r}")
    return text
