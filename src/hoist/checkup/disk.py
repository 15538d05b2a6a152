"""How fast a folder's disk reads, past the page cache, in about a second; and how fast it takes a file."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SAMPLE_BYTES = 64 << 20
_STEP = 4 << 20
_DEPTH = 8
_READ_SECONDS = 1.0
_WRITE_SECONDS = 1.5
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Speed:
    """Bytes a second over `size` bytes; `direct`: they did not come out of the page cache."""

    rate: float
    size: int
    direct: bool


def large_file(root: Path) -> Path | None:
    """A file below `root` that is large enough to measure with, if one is found soon."""
    until = time.monotonic() + _LOOK_SECONDS
    waiting = [root]
    while waiting and time.monotonic() < until:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False) and entry.stat().st_size >= SAMPLE_BYTES:
                    return Path(entry.path)
    return None


def write_sample(path: Path) -> Speed:
    """Write up to 64 MiB to a new file, and sync it; stops after about a second and a half. Raises OSError."""
    # Random, so that no file system makes nothing of it.
    data = os.urandom(_STEP)
    began = time.perf_counter()
    done = 0
    with path.open("xb", buffering=0) as file:
        while done < SAMPLE_BYTES and time.perf_counter() - began < _WRITE_SECONDS:
            done += file.write(data)
        os.fsync(file.fileno())
    return Speed(done / (time.perf_counter() - began), done, direct=False)


def read_speed(path: Path) -> Speed:
    """Read a file with eight reads at once, for at most about a second. Raises OSError."""
    size = path.stat().st_size // _STEP * _STEP
    fd, direct = _open(path)
    try:
        began = time.perf_counter()
        steps = iter(range(0, size, _STEP))
        with ThreadPoolExecutor(_DEPTH, "hoist-doctor") as pool:
            done = sum(pool.map(lambda _: _read(fd, steps, began + _READ_SECONDS), range(_DEPTH)))
        return Speed(done / (time.perf_counter() - began), done, direct)
    finally:
        os.close(fd)


def _open(path: Path) -> tuple[int, bool]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return fd, False
    try:
        with mmap.mmap(-1, mmap.PAGESIZE) as page:
            os.preadv(fd, [page], 0)
    except OSError:
        # Some file systems open for direct reads and then refuse each of them.
        os.close(fd)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC), False
    return fd, True


def _read(fd: int, steps: Iterator[int], until: float) -> int:
    done = 0
    with mmap.mmap(-1, _STEP) as buffer:
        # Taking the next step of a range is one operation: threads share the iterator.
        for offset in steps:
            done += os.preadv(fd, [buffer], offset)
            if time.perf_counter() > until:
                break
    return done
