"""Which accelerators show metrics on this host: a small file each, so that `hoist status` finds what is read by them."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class LiveAccelerator:
    """Where an accelerator of this host listens (HOST:PORT), and on which port of 127.0.0.1 it shows metrics."""

    listen: str
    metrics_port: int

    def is_at(self, url: str) -> bool:
        """Whether this is the one that a storage reaches at `url`."""
        parts = urlsplit(url)
        host, _, port = self.listen.rpartition(":")
        if (parts.port or _PORTS.get(parts.scheme)) != int(port):
            return False
        mine = ("localhost", "127.0.0.1", "::1", socket.gethostname().lower(), host.strip("[]").lower())
        return (parts.hostname or "") in mine


@contextmanager
def noted(folder: Path, accelerator: LiveAccelerator) -> Iterator[None]:
    """For the length of a `with` block say, in `folder`, that this process runs it. Where that cannot be written, nothing
    depends on it."""
    path = folder / "accelerators" / f"{os.getpid()}.json"
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        half = path.with_suffix(".half")
        half.write_text(json.dumps(asdict(accelerator)))
        half.replace(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()


def live_accelerators(folder: Path) -> list[LiveAccelerator]:
    """Those that were noted. One that was killed may be among them: it shows no metrics any more."""
    found = []
    for path in sorted((folder / "accelerators").glob("*.json")):
        with suppress(OSError, ValueError, TypeError, KeyError):
            document = json.loads(path.read_text())
            found.append(LiveAccelerator(str(document["listen"]), int(document["metrics_port"])))
    return found
