"""Reading a local file past the page cache, straight from the disk into the caller's memory.

Where the page cache fills with small pages (a kernel or file system without large folios), its own bookkeeping costs more
than a fast disk does. What is read so is not there for the next load, or for another process: it is for models that are
loaded once.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hoist.errors import LocalError
from hoist.pagecache import cached_fraction
from hoist.read.source import Source
from hoist.storage.posix import fill

# Of a file that is here for the most part, the cache gives faster than the disk.
_MOSTLY = 0.5


def direct_source(source: Source) -> Source:
    """The source with its local file read past the page cache, if it has one that is not in there; else as it is."""
    path = source.local_path()
    if path is None:
        return source
    with suppress(LocalError, OSError):
        if cached_fraction(path) >= _MOSTLY:
            return source

    def read_into(offset: int, buffer: memoryview) -> None:
        # Whatever is in the way (a file system without it, memory that is not aligned), the plain read says or does it.
        if not _read_pages(path, offset, buffer):
            source.read_into(offset, buffer)

    return replace(source, read_into=read_into)


def _read_pages(path: Path, offset: int, buffer: memoryview) -> bool:
    """Fill `buffer`: whole pages from the disk, what is left at both ends plainly. False if that could not be done."""
    page = mmap.PAGESIZE
    begin, end = -(-offset // page) * page, (offset + len(buffer)) // page * page
    address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    if begin >= end or (address + begin - offset) % page:
        return False
    head, middle, tail = buffer[: begin - offset], buffer[begin - offset : end - offset], buffer[end - offset :]
    try:
        return _read(path, os.O_DIRECT, begin, middle) and _read(path, 0, offset, head) and _read(path, 0, end, tail)
    except OSError:
        return False


def _read(path: Path, flags: int, offset: int, buffer: memoryview) -> bool:
    if not buffer:
        return True
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        return fill(fd, offset, buffer) == len(buffer)
    finally:
        os.close(fd)
