"""Which mounts are served on this host by this user: a small file each, which says whose it is."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hoist.errors import LocalError
from hoist.mount.device import KIND, mounted_kind


@dataclass(frozen=True, slots=True)
class LiveMount:
    """A mount, and the process that serves it; `ticks` tells it from a later process of the same number.

    `point` is empty where only the process that gave the descriptor knows.
    """

    point: str
    storages: tuple[str, ...]
    pid: int
    ticks: int
    began: float
    metrics_port: int | None = None
    log: str = ""

    @property
    def serving(self) -> bool:
        """Whether its process is there."""
        return _ticks_of(self.pid) == self.ticks


class LiveMounts:
    """The notes in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "mounts"

    def note(self, point: str, storages: Sequence[str], metrics_port: int | None, log: str) -> Path | None:
        """Say that this process serves a mount; None where that cannot be written, which nothing depends on."""
        mount = LiveMount(
            point, tuple(storages), os.getpid(), _ticks_of(os.getpid()) or 0, time.time(), metrics_port, log
        )
        name = hashlib.sha256((point or str(os.getpid())).encode(errors="surrogateescape")).hexdigest()[:24]
        path = self._folder / f"{name}.json"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            half = path.with_suffix(f".{os.getpid()}")
            half.write_text(json.dumps(asdict(mount)))
            half.replace(path)
        except OSError:
            return None
        return path

    def all(self) -> list[LiveMount]:
        """Those that are served, and those whose process is gone but which are mounted still; other notes are dropped."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            mount = _read(path)
            if mount is None or not (mount.serving or _is_mounted(mount.point)):
                with suppress(OSError):
                    path.unlink()
                continue
            found.append(mount)
        return found

    def of(self, point: Path) -> LiveMount | None:
        """The note on a mount point, if there is one."""
        return next((mount for mount in self.all() if mount.point == str(point)), None)

    def await_end(self, mount: LiveMount, seconds: float) -> bool:
        """Whether the process of a mount ends within so long."""
        until = time.monotonic() + seconds
        while mount.serving:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True


def metrics_of(mount: LiveMount) -> Mapping[str, float]:
    """What a live mount shows on its port. Raises LocalError."""
    import urllib.request

    from hoist.expose import parse_samples

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{mount.metrics_port}/metrics", timeout=2) as answer:
            text = answer.read().decode()
    except OSError as error:
        raise LocalError(f"the metrics of {mount.point} cannot be read: {error}") from None
    return {name.removeprefix("hoist_mount_"): value for name, value in parse_samples(text).items()}


def _read(path: Path) -> LiveMount | None:
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        document["storages"] = tuple(document["storages"])
        return LiveMount(**document)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _is_mounted(point: str) -> bool:
    return bool(point) and mounted_kind(Path(point)) == KIND


def _ticks_of(pid: int) -> int | None:
    """When a process began, in ticks since the start of the machine; None if it is not there, or is dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
