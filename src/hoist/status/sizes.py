"""How large versions are, remembered on this host, so that a second look reads no manifest again.

A note is a line: a manifest's SHA-256 and its MD5, as listings tell one or the other, the bytes of its version, and how many
files it has. One that is missing costs reading a manifest; nothing else depends on them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from hoist.storage.seen import Seen

_LINE = re.compile(r"(sha256:[0-9a-f]{64}) ([0-9a-f]{32}) ([0-9]{1,19}) ([0-9]{1,9})")
# About 150,000 lines. Above it, the older half is forgotten.
_MOST_BYTES = 20 << 20


@dataclass(frozen=True, slots=True)
class Sized:
    """A version's manifest by its SHA-256 and MD5, and its bytes and files."""

    digest: str
    md5: str
    size: int
    files: int


class Sizes:
    """The notes in one file; None keeps them for as long as this object. Safe for many threads and processes."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = Lock()
        self._known: dict[str, Sized] | None = None

    def recall(self, seen: Seen) -> Sized | None:
        """What is known of a version that was seen in a listing."""
        with self._lock:
            known = self._loaded()
            return known.get(seen.digest) or known.get(seen.md5)

    def note(self, found: Iterable[Sized]) -> None:
        """Remember them. Failing to is no error."""
        with self._lock:
            known = self._loaded()
            new = [each for each in found if each.digest not in known]
            known.update((key, each) for each in new for key in (each.digest, each.md5))
        if new and self._path is not None:
            with suppress(OSError):
                self._append(
                    self._path, "".join(f"{each.digest} {each.md5} {each.size} {each.files}\n" for each in new)
                )

    def _append(self, path: Path, lines: str) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Whole lines in one write: two processes may add at once.
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, lines.encode())
            large = os.fstat(fd).st_size > _MOST_BYTES
        finally:
            os.close(fd)
        if large:
            kept = path.read_text(errors="replace").splitlines(keepends=True)
            half = path.with_name(f"{path.name}.{os.getpid()}")
            half.write_text("".join(kept[len(kept) // 2 :]))
            half.replace(path)

    def _loaded(self) -> dict[str, Sized]:
        if self._known is None:
            self._known = {}
            with suppress(OSError):
                text = self._path.read_text(errors="replace") if self._path else ""
                # What is no note, as the half of one that a full disk has left, says nothing.
                for line in filter(None, map(_LINE.fullmatch, text.splitlines())):
                    each = Sized(line[1], line[2], int(line[3]), int(line[4]))
                    self._known |= {each.digest: each, each.md5: each}
        return self._known
