"""What each file costs, whatever its size: thousands of small ones published, verified, pulled, removed.

Where the storage has packs they are pulled with and without them.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from hoist.bench.steps import Steps
from hoist.config import Config
from hoist.errors import FileNotFound
from hoist.model.reference import Reference
from hoist.progress import Progress
from hoist.read.connect import connect
from hoist.read.version import open_version
from hoist.storage.base import Storage, Version
from hoist.storage.wrap import Counting, Wrapper
from hoist.transfer.publish import Options, publish_version
from hoist.transfer.pull import pull_version
from hoist.transfer.verify import verify_version

FILES = 10_000
FILE_BYTES = 1000
_FOLDERS = 100


def run_small_files(
    address: str,
    *,
    files: int = FILES,
    file_bytes: int = FILE_BYTES,
    pack_below: int | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
    config: Config | None = None,
) -> list[dict[str, Any]]:
    """Publish `files` files of `file_bytes` to the storage at `address`, verify, pull and remove them.

    The records have seconds, peak memory and reading requests of each step. What was written is removed again, also what
    lies in `folder` on this machine meanwhile. Raises what a storage may.
    """
    storage, engine = connect(address, config)
    reference = Reference("bench/small", f"run-{uuid4().hex[:12]}")
    version = Version(reference.name, reference.label or "")
    about = {"storage": address, "kind": storage.kind, "files": files, "size": files * file_bytes}
    quiet = Progress()
    with tempfile.TemporaryDirectory(prefix="hoist-small-", dir=folder) as home, storage:
        source = Path(home) / "source"
        make_small_files(source, files, file_bytes)
        steps = Steps("small-files", about, progress or Progress())
        try:
            with steps.step("publish") as values:
                done = publish_version(source, storage, reference, Options(pack_below=pack_below), quiet)
                values |= {"packs": done.packs, "pack_bytes": done.pack_bytes}
            with steps.step("verify") as values, _counted(storage, values) as counting:
                verify_version(open_version(counting, reference, engine), quiet)
            if done.packs:
                with steps.step("pull without packs") as values, _counted(_Unpacked(storage), values) as counting:
                    pull_version(open_version(counting, reference, engine), Path(home) / "plain", quiet)
            with steps.step("pull") as values, _counted(storage, values) as counting:
                pull_version(open_version(counting, reference, engine), Path(home) / "pulled", quiet)
            with steps.step("pull again") as values, _counted(storage, values) as counting:
                pull_version(open_version(counting, reference, engine), Path(home) / "pulled", quiet)
        finally:
            if version in storage.versions(version.name):
                with steps.step("remove"):
                    storage.remove(version)
    return steps.records


class _Unpacked(Wrapper):
    """A storage whose packs nobody is told of."""

    def read_packs(self, version: Version, manifest_digest: str, most: int) -> bytes:
        raise FileNotFound(f"{self.address} is read without packs")


@contextmanager
def _counted(storage: Storage, values: dict[str, Any]) -> Iterator[Counting]:
    counting = Counting(storage)
    yield counting
    values["requests"] = sum(counting.calls.values())


def make_small_files(source: Path, files: int, file_bytes: int) -> None:
    """Write `files` files of noise, in folders of a hundredth of them each."""
    random_bytes = random.Random(0)  # noqa: S311
    for number in range(files):
        folder = source / f"part-{number % _FOLDERS:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file-{number:05d}.json").write_bytes(random_bytes.randbytes(file_bytes))
