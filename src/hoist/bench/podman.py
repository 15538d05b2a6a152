"""A podman that keeps its images in a folder of its own, and leaves none of them, nor what it mounts."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from hoist.bench.peers.base import find
from hoist.bench.peers.copying import run_program
from hoist.errors import HoistError

OVERLAY, VFS = "overlay", "vfs"


class Podman:
    """Images below `root`, which podman makes, for the length of a `with` block."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # podman takes no longer path than 50 characters for it.
        self._run = Path(tempfile.mkdtemp(prefix="hp-"))

    @cached_property
    def driver(self) -> str:
        """How it stores images here: `overlay` where it can, else `vfs`, which copies for each layer all those below it."""
        path = find("podman")
        if path is None:
            return OVERLAY
        words = [path, *self._words(OVERLAY)[1:], "info"]
        done = subprocess.run(words, check=False, stdin=subprocess.DEVNULL, capture_output=True)
        shutil.rmtree(self.root, ignore_errors=True)
        return VFS if done.returncode else OVERLAY

    @property
    def words(self) -> Sequence[str]:
        """The beginning of each of its commands."""
        return self._words(self.driver)

    def clear(self) -> None:
        """Take away all its images, with what is mounted of them."""
        if self.root.exists():
            for words in (["image", "umount", "--all"], ["rmi", "--force", "--all"]):
                with suppress(HoistError):
                    run_program([*self.words, *words])
            shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
        shutil.rmtree(self._run, ignore_errors=True)

    def _words(self, driver: str) -> Sequence[str]:
        return ["podman", "--root", str(self.root), "--runroot", str(self._run), "--storage-driver", driver]
