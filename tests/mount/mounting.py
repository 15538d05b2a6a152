"""Mounts by the real command, and file systems in process, for the tests of the mount."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from hoist.config import EngineConfig
from hoist.model.blocks import BlockTable
from hoist.model.manifest import FileEntry, Manifest, digest_of
from hoist.mount.filesystem import FileSystem
from hoist.mount.metrics import Metrics
from hoist.mount.openings import Contents
from hoist.mount.options import MountOptions
from hoist.mount.prefetch import Fetcher
from hoist.mount.shelf import Shelf
from hoist.mount.stores import BlockMemory
from hoist.read.engine import Engine
from hoist.storage.base import Storage
from makers import SOURCE, blocks_of

ROOT = os.geteuid() == 0


def require_fuse() -> None:
    """Skip where nothing can be mounted; fail instead when HOIST_REQUIRE_SERVERS=1, as in CI."""
    reason = None
    if not Path("/dev/fuse").exists():
        reason = "there is no /dev/fuse: modprobe fuse"
    elif not ROOT and not os.access("/dev/fuse", os.R_OK | os.W_OK):
        reason = "this user may not open /dev/fuse"
    if reason is None:
        return
    if os.environ.get("HOIST_REQUIRE_SERVERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass
class Mount:
    """A `hoist mount` in the foreground, for the length of a `with` block."""

    home: Path
    storages: tuple[str, ...]
    options: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.point = self.home / "mnt"
        self.point.mkdir(exist_ok=True)
        self.process: subprocess.Popen[str] | None = None

    def environment(self) -> dict[str, str]:
        """What its commands see."""
        home = {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home / "run"), "PYTHONPATH": str(SOURCE)}
        return {"PATH": os.environ["PATH"], "HOIST_CACHE": str(self.home / "cache"), **home, **self.env}

    def hoist(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Another command of the same user."""
        command = [sys.executable, "-m", "hoist", *words]
        return subprocess.run(
            command, env=self.environment(), cwd=self.home, capture_output=True, text=True, timeout=60, check=False
        )

    def start(self) -> Self:
        """Mount, and wait until it can be read."""
        command = [sys.executable, "-m", "hoist", "mount", *self.storages, str(self.point), *self.options]
        log = (self.home / "mount.log").open("a")
        self.process = subprocess.Popen(
            command, env=self.environment(), cwd=self.home, stdout=subprocess.PIPE, stderr=log, text=True
        )
        log.close()
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line.startswith("mounted"), line + self.log
        return self

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.home / "mount.log").read_text()

    def end(self, number: int = signal.SIGTERM, seconds: float = 20) -> int:
        """Send a signal and wait; its exit code."""
        assert self.process
        self.process.send_signal(number)
        code = self.process.wait(seconds)
        assert self.process.stdout
        self.process.stdout.close()
        self.process = None
        return code

    def metrics(self) -> Mapping[str, float]:
        """What its port shows; it needs --metrics 0."""
        from hoist.mount.live import LiveMounts, metrics_of

        live = LiveMounts(self.home / "run" / "hoist").of(self.point.resolve())
        assert live
        return metrics_of(live)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        if self.process is not None:
            with suppress(subprocess.TimeoutExpired):
                self.end()
        if self.process is not None:
            self.end(signal.SIGKILL)
        subprocess.run(["umount", "-l", str(self.point)], capture_output=True, check=False)
        assert "internal error" not in self.log, self.log
        assert "Traceback" not in self.log, self.log


@dataclass
class Inside:
    """A file system in process, without a kernel."""

    files: FileSystem
    shelf: Shelf
    metrics: Metrics
    contents: Contents
    fetcher: Fetcher
    memory: BlockMemory

    def find(self, path: str) -> Any:
        """The node at a path, as the kernel walks there."""
        node = self.files.root
        for name in path.split("/") if path else ():
            node = self.files.nodes.remember(self.files.lookup(node, name, patient=True).node)
        return node


def inside(storage: Storage, config: EngineConfig | None = None, **options: Any) -> Inside:
    """The file system of one storage, with blocks in memory."""
    chosen = MountOptions(**{"timeout_seconds": 5.0, **options})
    config = config or EngineConfig(retry_seconds=1.0)
    metrics, memory = Metrics(), BlockMemory(chosen.memory_bytes)
    shelf = Shelf("here", storage, Engine(config), chosen.refresh_seconds)
    fetcher = Fetcher(config, chosen.timeout_seconds)
    contents = Contents(chosen, fetcher, memory, metrics)
    return Inside(
        FileSystem({"here": shelf}, contents, chosen, levels=False), shelf, metrics, contents, fetcher, memory
    )


def big_version(count: int) -> tuple[Manifest, bytes, bytes]:
    """A manifest of very many files that share one content, its config and its table."""
    blocks = blocks_of(b"x" * 10, 4096)
    table = BlockTable.build([blocks]).to_bytes()
    files = [FileEntry(f"d{n % 100:02}/f{n:06}.bin", 10, digest_of(b"x" * 10)) for n in range(count)]
    manifest, config = Manifest.build(files, table)
    return manifest, config, table
