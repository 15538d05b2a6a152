"""Collecting what killed publishes and removals have left in a storage: looked at first, deleted when told."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from hoist.errors import UsageError
from hoist.storage.base import Leftover, Storage

GRACE_SECONDS = 24 * 3600.0
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([smhd]?)")


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collect found, and what of it was `deleted` (nothing, by a dry run); `used`: what is in use by now."""

    found: Sequence[Leftover]
    deleted: Sequence[Leftover]
    used: Sequence[Leftover]
    dry_run: bool

    @property
    def size(self) -> int:
        """Bytes of what was found."""
        return sum(item.size for item in self.found)


def collect_storage(storage: Storage, *, grace_seconds: float = GRACE_SECONDS, delete: bool = False) -> Collected:
    """Find what killed publishes and removals have left, and nothing has touched for `grace_seconds`; delete it if told.

    Raises StorageUnsupported, and what a storage may.
    """
    older_than = time.time() - grace_seconds
    found = storage.leftovers(older_than)
    deleted: list[Leftover] = []
    used: list[Leftover] = []
    for item in found if delete else ():
        (deleted if storage.collect(item, older_than) else used).append(item)
    return Collected(found, deleted, used, not delete)


def parse_duration(text: str) -> float:
    """Seconds from `90s`, `30m`, `24h`, `7d` or a number. Raises UsageError."""
    found = _DURATION.fullmatch(text.strip().lower())
    if not found:
        raise UsageError(f"{text!r} is not a time: write 90s, 30m, 24h or 7d")
    return float(found[1]) * _UNITS[found[2]]
