"""What is known of the versions in one member: whether it holds them, where they lie, and which of their files are wrong."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from hoist.storage.base import Version

# What a member did not have, or had wrong, is looked for again after this: it may have been brought there, or mended.
ABSENT_SECONDS = 30.0
_MOST_KNOWN = 4096


@dataclass(frozen=True, slots=True)
class _Held:
    """The digest of a version (empty: it is not there), until when that holds, and whether its files lie on a disk of this
    host (None: nobody has looked)."""

    digest: str
    until: float
    local: bool | None = None


class Known:
    """Safe for many threads: each entry is replaced whole."""

    def __init__(self) -> None:
        self._held: dict[Version, _Held] = {}
        self._wrong: dict[tuple[Version, str], float] = {}

    def holds(self, version: Version, digest: str) -> bool | None:
        """Whether the version is there with this digest; None: it has to be looked at."""
        held = self._held.get(version)
        if held is None or time.monotonic() > held.until:
            return None
        return held.digest == digest

    def found(self, version: Version, digest: str) -> None:
        """What the version's digest is; empty where it is not there."""
        before = self._held.get(version)
        if before is None or before.digest != digest or not digest:
            if len(self._held) >= _MOST_KNOWN:
                self._held.clear()
            self._held[version] = _Held(digest, math.inf if digest else time.monotonic() + ABSENT_SECONDS)

    def forget(self, version: Version) -> None:
        """It may be another by now."""
        self._held.pop(version, None)

    def is_local(self, version: Version) -> bool | None:
        """Whether its files lie on a disk of this host; None: it has to be looked at."""
        held = self._held.get(version)
        return held.local if held is not None and held.digest else False

    def found_local(self, version: Version, local: bool) -> None:
        """Whether they do."""
        held = self._held.get(version)
        if held is not None:
            self._held[version] = replace(held, local=local)

    def trusts(self, version: Version, key: str) -> bool:
        """Whether nothing has been wrong with this file of late."""
        return not self._wrong or self._wrong.get((version, key), 0.0) <= time.monotonic()

    def wrong(self, version: Version, key: str) -> None:
        """The file is not there, or not right: others are asked first, for a while."""
        if len(self._wrong) >= _MOST_KNOWN:
            self._wrong.clear()
        self._wrong[(version, key)] = time.monotonic() + ABSENT_SECONDS
