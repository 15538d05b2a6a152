"""How large versions are, remembered on this host, so that a second look reads no manifest again.

A note is a line: what a listing tells of a manifest (its SHA-256 or MD5), the bytes of its version, its number of files. One
that is missing costs reading a manifest; nothing else depends on them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

_LINE = re.compile(r"((?:sha256|md5):[0-9a-f]{32,64}) ([0-9]{1,19}) ([0-9]{1,9})")
# About 200,000 lines. Above it, the older half is forgotten.
_MOST_BYTES = 20 << 20


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes and files of a version."""

    size: int
    files: int


class Sizes:
    """The notes in one file; None keeps them for the length of this process only. Safe for many threads and processes."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = Lock()
        self._known: dict[str, Size] | None = None

    def recall(self, keys: Iterable[str]) -> Size | None:
        """What is known of the version whose manifest has any of these."""
        with self._lock:
            known = self._loaded()
            return next((known[key] for key in keys if key in known), None)

    def note(self, sizes: Mapping[str, Size]) -> None:
        """Remember them. Failing to is no error."""
        with self._lock:
            known = self._loaded()
            new = {key: size for key, size in sizes.items() if known.get(key) != size}
            known |= new
        lines = "".join(f"{key} {size.size} {size.files}\n" for key, size in new.items())
        if self._path is None or not lines:
            return
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Whole lines in one write: two processes may add at once.
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.write(fd, lines.encode())
                large = os.fstat(fd).st_size > _MOST_BYTES
            finally:
                os.close(fd)
            if large:
                self._forget_half()

    def _loaded(self) -> dict[str, Size]:
        if self._known is None:
            self._known = {}
            with suppress(OSError):
                text = self._path.read_text(errors="replace") if self._path else ""
                # What is no note, as the half of one that a full disk has left, says nothing.
                found = filter(None, map(_LINE.fullmatch, text.splitlines()))
                self._known = {each[1]: Size(int(each[2]), int(each[3])) for each in found}
        return self._known

    def _forget_half(self) -> None:
        assert self._path is not None
        lines = self._path.read_text(errors="replace").splitlines(keepends=True)
        half = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        half.write_text("".join(lines[len(lines) // 2 :]))
        half.replace(self._path)
