"""Local files: reading them into the caller's memory, and opening what is to be published."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from hoist.errors import HoistError, LocalError, PermissionDenied, StorageUnavailable

_COPY_BYTES = 8 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What an unwell disk or a file server that is away gives: worth trying again.
_PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.EHOSTDOWN, errno.ENOTCONN)


def fill(fd: int, offset: int, buffer: memoryview) -> int:
    """Read from `offset` until `buffer` is full or the file ends; return the bytes read. Raises OSError."""
    done = 0
    while done < len(buffer):
        got = os.preadv(fd, [buffer[done:]], offset + done)
        if not got:
            break
        done += got
    return done


def send_some(source: int, target: int) -> int:
    """Move up to 8 MiB between two files in the kernel; 0 at the end. Raises OSError."""
    try:
        return os.copy_file_range(source, target, _COPY_BYTES)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        return os.sendfile(target, source, None, _COPY_BYTES)


def open_source(source: Path) -> BinaryIO:
    """Open a file that is to be published. Raises LocalError: it is this machine's, not the storage's."""
    try:
        return source.open("rb")
    except OSError as error:
        raise LocalError(f"cannot read {source}: {error.strerror}") from None


def sync_folder(folder: os.PathLike[str]) -> None:
    """Have the names in a folder on its disk, where the file system can. Raises OSError."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        # Pruned since: what was in it has been deleted by somebody else.
        return
    try:
        # Some network file systems refuse to sync a folder; the rename is theirs to keep.
        with suppress(OSError):
            os.fsync(fd)
    finally:
        os.close(fd)


def os_error(error: OSError, address: str, where: str) -> HoistError:
    """What the operating system raised about `where` in the storage `address`, but for what is not there."""
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return PermissionDenied(f"no permission for {where}: {error.strerror}")
    if error.errno in _FULL:
        return LocalError(f"{address} is full: {error.strerror}; free space, then run it again")
    if error.errno in _PASSING:
        return StorageUnavailable(f"{where}: {error.strerror}")
    return LocalError(f"{where}: {error.strerror or error}")


def changed(source: Path) -> LocalError:
    """What to raise for a file that is no longer what was scanned."""
    return LocalError(f"{source} changed while it was published: run the publish again")


# What mounts a disk of this machine, or its memory; anything else may be a network away.
_LOCAL_TYPES = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "overlay", "tmpfs", "erofs", "squashfs")
)


def on_local_disk(path: Path) -> bool:
    """Whether a file lies on a disk or in the memory of this machine; False where that cannot be told."""
    try:
        device = path.stat().st_dev
    except OSError:
        return False
    return _file_system(os.major(device), os.minor(device)) in _LOCAL_TYPES


@cache
def _file_system(major: int, minor: int) -> str:
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        fields = line.split()
        if fields[2] == f"{major}:{minor}" and "-" in fields:
            return fields[fields.index("-") + 1]
    return ""
