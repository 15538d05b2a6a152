"""Bringing a version's files to a folder: in parallel, verified, resumable.

Files arrive in a hidden folder beside their places, named by digest, and are renamed when they are whole. A pull that
was killed finds there what it had: each block that is right already is kept, whatever the crash left between.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from hoist.errors import Conflict, FileNotFound, HoistError, LocalError
from hoist.model.blocks import FileBlocks, block_digest
from hoist.model.manifest import FileEntry, link_target
from hoist.model.packs import FEWEST_FILES, MOST_PACK_BELOW
from hoist.parallel import SMALL_AT_ONCE, SMALL_BYTES, for_each
from hoist.progress import Progress
from hoist.read.cache.fill import Want, deliver
from hoist.read.plan import Request, plan_ranges
from hoist.read.sink import CallbackSink
from hoist.read.source import local_error
from hoist.read.version import OpenedVersion
from hoist.storage.posix import fill

STAGING = ".hoist-pull"


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull did: bytes fetched, and bytes that were here already, or came with a file of equal content."""

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
    progress.begin(f"pulling {opened.version}", size)
    try:
        with _staging(folder) as staging:
            todo: dict[str, list[FileEntry]] = {}
            links: list[FileEntry] = []
            paths = {entry.path for entry in entries}
            for entry in entries:
                # A link without what it leads to is a plain file.
                is_link = bool(entry.link) and link_target(entry.path, entry.link) in paths
                if is_link and _is_linked(folder / entry.path, entry):
                    progress.advance(entry.size)
                elif not _in_place(folder, entry, opened, progress, force):
                    (links if is_link else todo.setdefault(entry.digest, [])).append(entry)

            def bring(equal: list[FileEntry]) -> int:
                return _bring(opened, equal, folder, staging, progress)

            fetched = _bring_packed(opened, todo, folder, staging, progress)
            # A large file keeps every connection busy by itself; small ones go several at a time.
            fetched += sum(for_each(bring, [e for e in todo.values() if e[0].size <= SMALL_BYTES], SMALL_AT_ONCE))
            fetched += sum(bring(equal) for equal in todo.values() if equal[0].size > SMALL_BYTES)
            for entry in links:
                _make_link(folder, entry, staging)
                progress.advance(entry.size)
    except OSError as error:
        raise _disk_error(error, folder) from None
    progress.end()
    return Pulled(len(entries), size, fetched, size - fetched, time.monotonic() - began)


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """The hidden folder of one pull; it stays after an error, for the next run to go on with."""
    staging = folder / STAGING
    staging.mkdir(parents=True, exist_ok=True)
    with (staging / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another pull to {folder} is under way: wait for it, or pull to another folder") from None
        yield staging
        with suppress(OSError):
            shutil.rmtree(staging)


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


def _is_linked(path: Path, entry: FileEntry) -> bool:
    """Whether the link is there already; what it leads to is looked at for itself."""
    return path.is_symlink() and str(path.readlink()) == entry.link


def _make_link(folder: Path, entry: FileEntry, staging: Path) -> None:
    made = staging / "link"
    made.unlink(missing_ok=True)
    made.symlink_to(entry.link)
    _put_in_place(made, folder / entry.path)


def _bring_packed(
    opened: OpenedVersion, todo: dict[str, list[FileEntry]], folder: Path, staging: Path, progress: Progress
) -> int:
    """Bring those of `todo` that lie in packs, if they are many, and take them out of it; the bytes fetched."""
    small = sum(0 < equal[0].size < MOST_PACK_BELOW for equal in todo.values())
    packed = opened.small_files() if small >= FEWEST_FILES else None
    wanted = {equal[0].path: equal for equal in todo.values() if packed and equal[0].path in packed}
    if not packed or len(wanted) < FEWEST_FILES:
        return 0

    def place(path: str, view: memoryview) -> None:
        equal = wanted[path]
        part = staging / equal[0].digest.removeprefix("sha256:")
        with open(part, "wb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o644)) as file:
            file.write(view)
        progress.advance(equal[0].size)
        _spread(equal, part, folder, progress)

    # Told of from any thread, where appending is safe.
    fetched: list[int] = []
    packed.each(wanted, place, on_bytes=fetched.append)
    for equal in wanted.values():
        del todo[equal[0].digest]
    return sum(fetched)


def _bring(opened: OpenedVersion, equal: list[FileEntry], folder: Path, staging: Path, progress: Progress) -> int:
    """Fetch what is missing of one content and put it in its places; the bytes fetched."""
    entry = equal[0]
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
        came = deliver([Want(source, plan, sink)], opened.engine, on_bytes=progress.advance)
    finally:
        os.close(fd)
    _spread(equal, part, folder, progress)
    return came.fetched_bytes


def _spread(equal: list[FileEntry], part: Path, folder: Path, progress: Progress) -> None:
    """Put a whole file in all of its places."""
    for other in equal[1:]:
        copied = part.with_suffix(".copy")
        shutil.copyfile(part, copied)
        _put_in_place(copied, folder / other.path)
        progress.advance(other.size)
    _put_in_place(part, folder / equal[0].path)


def _put_in_place(part: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part.replace(target)


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
    if isinstance(error, NotADirectoryError | FileExistsError | IsADirectoryError):
        return LocalError(f"{error.filename2 or error.filename or folder} is in the way: pull to another folder")
    return local_error(error, folder)
