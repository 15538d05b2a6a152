"""Bringing a version's files to a folder: in parallel, verified, resumable.

Files arrive in a hidden folder beside their places, named by digest, and are renamed when they are whole. A pull that
was killed finds there what it had: each block that is right already is kept, whatever the crash left between.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from hoist.errors import Conflict, FileNotFound, HoistError, LocalError
from hoist.model.blocks import FileBlocks, block_digest
from hoist.model.manifest import FileEntry
from hoist.progress import Progress
from hoist.read.engine import Job
from hoist.read.plan import Request, plan_ranges
from hoist.read.sink import CallbackSink
from hoist.read.source import local_error
from hoist.read.version import OpenedVersion
from hoist.storage.posix import fill

STAGING = ".hoist-pull"


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull did: bytes fetched, and bytes that were there already."""

    files: int
    size: int
    fetched_bytes: int
    kept_bytes: int
    seconds: float


def pull_version(
    opened: OpenedVersion, folder: Path, progress: Progress, *, include: Sequence[str] = (), force: bool = False
) -> Pulled:
    """Bring the files (those that match a pattern of `include`, if any) to `folder`. Running it again resumes.

    A file that is there with other content is left alone unless `force`. Raises Conflict for that, FileNotFound if no
    file matches, LocalError for a full disk, and what a storage may.
    """
    began = time.monotonic()
    entries = [entry for path, entry in opened.files.items() if _wanted(path, include)]
    if not entries:
        raise FileNotFound(f"no file of {opened.version} matches {' or '.join(include)}")
    size = sum(entry.size for entry in entries)
    fetched = 0
    progress.begin(f"pulling {opened.version}", size)
    try:
        staging = folder / STAGING
        staging.mkdir(parents=True, exist_ok=True)
        todo = [entry for entry in entries if not _in_place(folder, entry, opened, progress, force)]
        for entry in todo:
            fetched += _bring(opened, entry, folder, staging, progress)
        with suppress(OSError):
            shutil.rmtree(staging)
    except OSError as error:
        raise _disk_error(error, folder) from None
    progress.end()
    return Pulled(len(entries), size, fetched, size - fetched, time.monotonic() - began)


def _wanted(path: str, include: Sequence[str]) -> bool:
    return not include or any(fnmatch(path, pattern) for pattern in include)


def _in_place(folder: Path, entry: FileEntry, opened: OpenedVersion, progress: Progress, force: bool) -> bool:
    target = folder / entry.path
    if not target.exists() and not target.is_symlink():
        return False
    if target.is_file() and target.stat().st_size == entry.size:
        blocks = opened.blocks(entry.path)
        with target.open("rb", buffering=0) as file:
            if len(_right_blocks(file.fileno(), blocks)) == len(blocks):
                progress.advance(entry.size)
                return True
    if target.is_dir() or not force:
        raise Conflict(f"{target} is there with other content: pull to another folder, or --force to replace it")
    return False


def _bring(opened: OpenedVersion, entry: FileEntry, folder: Path, staging: Path, progress: Progress) -> int:
    """Fetch what is missing of one file and put it in its place; the bytes fetched."""
    source = opened.source(entry.path)
    part = staging / entry.digest.removeprefix("sha256:")
    fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        right = _right_blocks(fd, source.blocks)
        os.ftruncate(fd, entry.size)
        spans = [source.blocks.span(index) for index in range(len(source.blocks)) if index not in right]
        kept = entry.size - sum(end - begin for begin, end in spans)
        progress.advance(kept)

        def write(request: Request, view: memoryview) -> None:
            done = 0
            while done < request.size:
                done += os.pwrite(fd, view[done:], request.begin + done)

        plan = plan_ranges(source.blocks, spans, source.traits.request_bytes)
        sink = CallbackSink(write)
        opened.engine.run((Job(source, request, sink) for request in plan.requests), on_bytes=progress.advance)
    finally:
        os.close(fd)
    target = folder / entry.path
    target.parent.mkdir(parents=True, exist_ok=True)
    # Two files of one version may have the same content: the part may be wanted once more.
    part.replace(target)
    return plan.bytes_read


def _right_blocks(fd: int, blocks: FileBlocks) -> set[int]:
    """The blocks that the local file holds already, by their digests."""
    size = os.fstat(fd).st_size
    memory = memoryview(bytearray(max((end - begin for begin, end in map(blocks.span, range(len(blocks)))), default=0)))
    right = set()
    for index in range(len(blocks)):
        begin, end = blocks.span(index)
        view = memory[: end - begin]
        if end <= size and fill(fd, begin, view) == len(view) and block_digest(view) == blocks.digest(index):
            right.add(index)
    return right


def _disk_error(error: OSError, folder: Path) -> HoistError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LocalError(
            f"no space left for {folder}: free some, then run the pull again; it goes on where it stopped"
        )
    return local_error(error, folder)
