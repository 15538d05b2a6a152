"""The folders of an accelerator: the cache, which stays and is one process's at a time, and the run's own, which goes."""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from hoist.errors import LocalError

# Memory, where there is some: the run's folder holds what was granted lately, with the signatures that it was granted to.
_MEMORY = Path("/dev/shm")  # noqa: S108
_SLICES, _IN_USE = "slices", "in-use"
_HEAD_BYTES = 16 << 10
_LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)\r\n", re.IGNORECASE)
# What a killed nginx had not finished: NAME.NUMBER beside the slices.
_UNFINISHED = re.compile(r"[0-9a-f]{32}\.[0-9]{10}")


class CacheFolder:
    """A cache's folder, held until `close`. Raises LocalError if it cannot be, or another accelerator has it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder.resolve()
        try:
            (self.path / _SLICES).mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LocalError(f"the cache folder {folder}: {error.strerror}: choose another by --cache-dir") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise LocalError(f"another accelerator uses {folder}: each needs a folder of its own") from None
        owner = (self.path / _SLICES).stat()
        self.uid, self.gid = owner.st_uid, owner.st_gid

    @property
    def user(self) -> str | None:
        """Whom nginx works as where it starts as root: the folder's owner. None where it can work as nobody else."""
        if os.geteuid() != 0:
            return None
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            raise LocalError(f"{self.path} is owned by no known user ({self.uid}): chown it to nginx's") from None

    def tidy(self) -> None:
        """Remove what a killed nginx had not finished. Only while none runs here."""
        for folder, _, names in os.walk(self.path / _SLICES):
            for name in names:
                if _UNFINISHED.fullmatch(name):
                    with suppress(OSError):
                        os.unlink(os.path.join(folder, name))  # noqa: PTH108, PTH118 there may be very many

    def check(self) -> int:
        """Drop the slices that are not as long as they say, unless all ended in order here; how many there were.

        nginx does not see it when a slice on its disk is too short, which is how a machine that lost its power leaves them.
        """
        mark = self.path / _IN_USE
        dropped = 0
        if mark.exists():
            for folder, _, names in os.walk(self.path / _SLICES):
                for name in names:
                    path = os.path.join(folder, name)  # noqa: PTH118 there may be very many
                    with suppress(OSError):
                        if not _is_whole(path):
                            os.unlink(path)  # noqa: PTH108
                            dropped += 1
        try:
            mark.touch()
        except OSError as error:
            raise LocalError(f"the cache folder {self.path}: {error.strerror}") from None
        return dropped

    def close(self) -> None:
        """Let others have it."""
        with suppress(OSError):
            (self.path / _IN_USE).unlink()
        os.close(self._lock)


def _is_whole(path: str) -> bool:
    """Whether a file of nginx's cache has as many bytes of a body as its header says."""
    with open(path, "rb") as file:  # noqa: PTH123
        head = file.read(_HEAD_BYTES)
        size = os.fstat(file.fileno()).st_size
    begin = head.find(b"\nHTTP/1.")
    end = head.find(b"\r\n\r\n", begin)
    length = _LENGTH.search(head, begin, end) if 0 < begin < end else None
    return length is not None and size == end + 4 + int(length[1])


def make_run_folder(uid: int, gid: int) -> Path:
    """A private folder in memory (else with the temporary files) for what a run needs and nobody may find later."""
    where = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="hoist-accelerate-", dir=where))
    if os.geteuid() == 0 and uid != 0:
        os.chown(path, uid, gid)
    return path


def remove_run_folder(path: Path) -> None:
    """Remove it with all that is in it."""
    shutil.rmtree(path, ignore_errors=True)
