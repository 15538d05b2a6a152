"""What each file costs, whatever its size: thousands of tiny ones published, verified, pulled, removed."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

from hoist.bench.steps import Steps
from hoist.config import Config
from hoist.model.reference import Reference
from hoist.progress import Progress
from hoist.read.connect import connect
from hoist.read.version import open_version
from hoist.storage.base import Version
from hoist.transfer.publish import Options, publish_version
from hoist.transfer.pull import pull_version
from hoist.transfer.verify import verify_version

FILES = 10_000
_FILE_BYTES = 1000
_FOLDERS = 100


def run_small_files(
    address: str, *, files: int = FILES, progress: Progress | None = None, config: Config | None = None
) -> list[dict[str, Any]]:
    """Publish `files` files of 1,000 bytes to the storage at `address`, verify, pull and remove them.

    The records have seconds and peak memory of each step. What was written is removed again. Raises what a storage may.
    """
    storage, engine = connect(address, config)
    reference = Reference("bench/small", f"run-{uuid4().hex[:12]}")
    version = Version(reference.name, reference.label or "")
    about = {"storage": address, "kind": storage.kind, "files": files, "size": files * _FILE_BYTES}
    quiet = Progress()
    with tempfile.TemporaryDirectory(prefix="hoist-small-") as folder, storage:
        source = Path(folder) / "source"
        _make(source, files)
        steps = Steps("small-files", about, progress or Progress())
        try:
            with steps.step("publish"):
                publish_version(source, storage, reference, Options(), quiet)
            opened = open_version(storage, reference, engine)
            with steps.step("verify"):
                verify_version(opened, quiet)
            with steps.step("pull"):
                pull_version(opened, Path(folder) / "pulled", quiet)
            with steps.step("pull again"):
                pull_version(opened, Path(folder) / "pulled", quiet)
        finally:
            if version in storage.versions(version.name):
                with steps.step("remove"):
                    storage.remove(version)
    return steps.records


def _make(source: Path, files: int) -> None:
    random_bytes = random.Random(0)  # noqa: S311
    for number in range(files):
        folder = source / f"part-{number % _FOLDERS:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file-{number:05d}.json").write_bytes(random_bytes.randbytes(_FILE_BYTES))
