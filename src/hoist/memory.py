"""Memory for weights: large private pieces, in large pages where the system gives them; and Python's collector kept away.

A piece is free when nobody refers to it.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hoist.errors import LocalError

# Smaller pieces gain nothing from large pages, and a large page for each would waste memory.
_HUGE_BYTES = 2 << 20
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Memory(mmap.mmap):
    """A mapping whose pages are let go of without the interpreter lock: gigabytes of small ones take a tenth of a second."""

    def __del__(self) -> None:
        # Nobody refers to it any more, so nobody misses what is dropped; unmapping it is quick then.
        with suppress(ValueError, TypeError, AttributeError):
            address = ctypes.addressof(ctypes.c_char.from_buffer(self))
            _LIBC.madvise(address, len(self), mmap.MADV_DONTNEED)


def allocate(size: int) -> mmap.mmap:
    """At least `size` bytes of zeros, of which only what is touched takes memory. Raises LocalError.

    Private on purpose: Python's default is shared memory, which gets no large pages on most systems, so that first
    touch costs several times as much.
    """
    try:
        memory = Memory(-1, max(1, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError, ValueError) as error:
        raise LocalError(f"no memory for {size} bytes: {getattr(error, 'strerror', None) or error}") from None
    prefer_large_pages(memory)
    return memory


def prefer_large_pages(memory: mmap.mmap) -> None:
    """Ask for large pages, where the system has them and they are worth it; it may not give them."""
    if len(memory) >= _HUGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)


@contextmanager
def no_collection() -> Iterator[None]:
    """Hold Python's cyclic collector back while thousands of small objects are made that hold no cycles.

    Their number alone would set it off, and one pass over a process that has imported torch takes as long as reading
    a fifth of a gigabyte. It is switched off for all threads; meant for milliseconds of parsing, not for transfers.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
