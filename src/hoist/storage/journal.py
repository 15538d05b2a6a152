"""What this host knows of an upload that it has begun: its id, and the content and ETag of each part that was sent.

A private file an upload. A part is taken for sent only where it agrees with what the server says; a journal that is
missing, torn or another's costs nothing but sending again.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock

from blake3 import blake3

# Stores are told to forget uploads sooner than that, as a rule.
_KEPT_SECONDS = 30 * 86400.0


class Journal:
    """The journal of one file on its way to one place; None as folder, or a file that is locked, keeps nothing."""

    def __init__(self, folder: Path | None, place: str, key: str, source: Path) -> None:
        name = blake3("\0".join((place, key, str(source.absolute()))).encode(errors="surrogateescape")).hexdigest()
        self._path = folder / name if folder else None
        self._lock = Lock()
        self._fd: int | None = None
        self.upload: str | None = None
        self.parts: dict[int, tuple[str, str]] = {}
        if self._path:
            with suppress(OSError):
                self._open(self._path)

    def begin(self, upload: str) -> None:
        """Note a new upload, in place of any other."""
        self.upload, self.parts = upload, {}
        if self._fd is not None:
            with suppress(OSError):
                os.ftruncate(self._fd, 0)
        self._write({"upload": upload})

    def note(self, number: int, digest: str, etag: str) -> None:
        """Note a part that the server has taken."""
        self.parts[number] = (digest, etag)
        self._write({"number": number, "digest": digest, "etag": etag})

    def forget(self) -> None:
        """The upload is over."""
        if self._path and self._fd is not None:
            self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def _open(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _prune(path.parent)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read(path.read_bytes())
        except OSError:
            # Another publish of the same file is at it: each sends for itself.
            os.close(fd)
            return
        self._fd = fd

    def _read(self, data: bytes) -> None:
        for line in data.splitlines():
            try:
                found = json.loads(line)
                if "upload" in found:
                    self.upload, self.parts = str(found["upload"]), {}
                else:
                    self.parts[int(found["number"])] = (str(found["digest"]), str(found["etag"]))
            except (ValueError, KeyError, TypeError):
                # The last line of a run that was killed.
                continue

    def _write(self, line: dict[str, object]) -> None:
        with self._lock:
            if self._fd is not None:
                with suppress(OSError):
                    os.write(self._fd, json.dumps(line).encode() + b"\n")


def _prune(folder: Path) -> None:
    oldest = time.time() - _KEPT_SECONDS
    for entry in list(os.scandir(folder)):
        with suppress(OSError):
            if entry.stat().st_mtime < oldest:
                Path(entry.path).unlink()
