"""Places that several tests need: a public bucket that can go wrong, and a disk that is soon full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hoist.testing.servers import FaultServer
from hoist.testing.servers.origins import FolderOrigin


@contextmanager
def public_bucket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """`folder`'s `models`, a directory storage, as a public bucket that is configured as `here`."""
    with FaultServer(FolderOrigin(folder)) as server:
        for field, value in (("URL", "s3://models"), ("ENDPOINT", server.endpoint), ("ANONYMOUS", "true")):
            monkeypatch.setenv(f"HOIST_STORAGE_HERE_{field}", value)
        yield server


@contextmanager
def small_file_system(folder: Path, size: str, mode: str) -> Iterator[Path]:
    """A file system of `size` (`4m`) at `folder`; the test is skipped where none can be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode={mode}", "hoist-test", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("cannot mount a small file system here: needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
