"""How large a cache may be where nobody says it."""

from __future__ import annotations

import os
from pathlib import Path

_SHARE = 0.8
_FREE_SHARE, _MOST_FREE = 0.02, 1 << 30
_LEAST = 64 << 20


def default_sizes(folder: Path) -> tuple[int, int]:
    """For a cache in `folder`, which need not exist yet: its bytes, and those that shall stay free on its disk.

    Below the second, nginx drops the slices that were not read for longest, whoever took the room.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    disk = os.statvfs(there)
    whole, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    held = _held(folder / "slices")
    return max(_LEAST, int(_SHARE * (free + held))), min(_MOST_FREE, int(_FREE_SHARE * whole))


def _held(folder: Path) -> int:
    total = 0
    for above, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(above, name)).st_blocks * 512  # noqa: PTH116, PTH118 there may be many
            except OSError:
                continue
    return total
