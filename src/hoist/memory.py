"""Large pieces of memory for weights: private, in large pages where the system gives them, free when nobody refers to it."""

from __future__ import annotations

import mmap

from hoist.errors import LocalError

# Smaller pieces gain nothing from large pages, and a large page for each would waste memory.
HUGE_BYTES = 2 << 20


def allocate(size: int) -> mmap.mmap:
    """At least `size` bytes of zeros, of which only what is touched takes memory. Raises LocalError.

    Private on purpose: Python's default is shared memory, which gets no large pages on most systems, so that first
    touch costs several times as much.
    """
    try:
        memory = mmap.mmap(-1, max(1, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError, ValueError) as error:
        raise LocalError(f"no memory for {size} bytes: {getattr(error, 'strerror', None) or error}") from None
    if size >= HUGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
