"""/dev/fuse: mounting, as root or by fusermount3, unmounting, and what a mounted device can be told."""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import os
import re
import shutil
import socket
import struct
import subprocess
from contextlib import suppress
from pathlib import Path

from hoist.errors import Conflict, LocalError, PermissionDenied, StorageUnsupported
from hoist.storage.mounts import mounts

KIND = "fuse.hoist"
_DEVICE = Path("/dev/fuse")
_READONLY, _NOSUID, _NODEV, _NOATIME = 1, 2, 4, 1024
_DETACH = 2
_CLONE = 0x8004E500
_BACKING_OPEN = 0x4010E501
_BACKING_CLOSE = 0x4004E502
_BACKING = struct.Struct("=iIQ")
_GIVEN = re.compile(r"/dev/fd/([0-9]{1,9})")
HELPERS = ("fusermount3", "fusermount")
_HELPER_SECONDS = 20
_LIBC = ctypes.CDLL(None, use_errno=True)


class Device:
    """A mounted /dev/fuse. `point` is where; None if whoever gave us the descriptor knows alone."""

    def __init__(self, fd: int, point: Path | None) -> None:
        self.fd = fd
        self.point = point

    def clone(self) -> int:
        """Another descriptor of the same mount, with a queue of its own; the same one where the kernel has no clones."""
        try:
            fd = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return self.fd
        try:
            fcntl.ioctl(fd, _CLONE, struct.pack("=I", self.fd))
        except OSError:
            os.close(fd)
            return self.fd
        return fd

    def open_backing(self, fd: int) -> int | None:
        """Give the kernel a file to read in a node's place; its number, or None if it refuses."""
        try:
            return int(fcntl.ioctl(self.fd, _BACKING_OPEN, bytearray(_BACKING.pack(fd, 0, 0)), True))
        except OSError:
            return None

    def close_backing(self, number: int) -> None:
        """Take it back; who has it open goes on reading it."""
        with suppress(OSError):
            fcntl.ioctl(self.fd, _BACKING_CLOSE, struct.pack("=I", number))

    def read_ahead(self, size: int) -> bool:
        """Let the kernel ask for so much ahead, which it cuts to 128 KiB at the start; False where this user may not."""
        if self.point is None:
            return False
        try:
            device = self.point.stat().st_dev
            folder = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}")
            (folder / "read_ahead_kb").write_text(str(size >> 10))
        except OSError:
            return False
        return True


def given_descriptor(point: str) -> int | None:
    """The number in `/dev/fd/N`: a descriptor of a device that is mounted already; None for a folder. Raises LocalError."""
    found = _GIVEN.fullmatch(point)
    if found is None:
        return None
    try:
        os.fstat(int(found[1]))
    except OSError:
        raise LocalError(f"{point}: there is no such descriptor: whoever starts hoist mount must pass it on") from None
    return int(found[1])


def open_device(point: str, source: str, *, allow_other: bool) -> Device:
    """Mount at `point`; with `/dev/fd/N` take what is mounted. Raises LocalError, Conflict, PermissionDenied."""
    given = given_descriptor(point)
    if given is not None:
        os.set_inheritable(given, False)
        return Device(given, None)
    if not _DEVICE.exists():
        raise StorageUnsupported(
            f"there is no {_DEVICE}: modprobe fuse, as root; for a container, --device /dev/fuse --cap-add SYS_ADMIN"
        )
    folder = ready_point(Path(point))
    if os.geteuid() == 0:
        return Device(_mount_as_root(folder, source, allow_other=allow_other), folder)
    return Device(_mount_by_helper(folder, source, allow_other=allow_other), folder)


def ready_point(point: Path) -> Path:
    """The mount point without links, as a folder that can be mounted on; one that a dead mount has left is freed.

    Raises LocalError, Conflict.
    """
    point = Path(os.path.abspath(point))  # noqa: PTH100 resolve() would ask a dead mount
    kind = mounted_kind(point)
    if kind == KIND and _is_dead(point):
        unmount(point, lazy=True)
    elif kind == KIND:
        raise Conflict(f"{point} is mounted already: hoist umount {point}, or choose another folder")
    try:
        if not point.is_dir():
            raise LocalError(f"{point} is not a folder: mkdir -p it, then mount there")
        return point.resolve()
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            raise LocalError(f"{point} is a dead mount of another program: umount -l {point} first") from None
        raise LocalError(f"{point}: {error.strerror}") from None


def unmount(point: Path, *, lazy: bool = False) -> None:
    """Unmount; `lazy` even if it is in use: what is open goes on, nobody opens anything more.

    Raises Conflict if it is in use, LocalError.
    """
    if os.geteuid() == 0:
        if _LIBC.umount2(os.fsencode(point), _DETACH if lazy else 0) == 0:
            return
        number = ctypes.get_errno()
        if number == errno.EBUSY:
            raise Conflict(f"{point} is in use: end what uses it (fuser -m {point}), or hoist umount --lazy {point}")
        raise LocalError(f"cannot unmount {point}: {os.strerror(number)}")
    helper = _helper()
    done = _run_helper([helper, "-u", *(["-z"] if lazy else []), "--", str(point)])
    if done.returncode == 0:
        return
    if "busy" in done.stderr:
        raise Conflict(f"{point} is in use: end what uses it (fuser -m {point}), or hoist umount --lazy {point}")
    raise LocalError(f"cannot unmount {point}: {_said(done.stderr)}")


def mounted_kind(point: Path) -> str | None:
    """The kind of file system mounted exactly there (the topmost); None if there is none."""
    return next((mount.kind for mount in reversed(mounts()) if mount.point == str(point)), None)


def file_system_of(folder: Path) -> str | None:
    """The kind of file system that a folder, or what is above it, lies on."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    number = folder.stat().st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    return next((mount.kind for mount in mounts() if mount.device == device), None)


def _is_dead(point: Path) -> bool:
    try:
        # A stat may be answered from what the kernel remembers.
        os.statvfs(point)
    except OSError as error:
        return error.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    return False


def _mount_as_root(folder: Path, source: str, *, allow_other: bool) -> int:
    try:
        fd = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise LocalError(f"cannot open {_DEVICE}: {error.strerror}; for a container, --device /dev/fuse") from None
    options = f"fd={fd},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},default_permissions"
    options += ",allow_other" if allow_other else ""
    flags = _READONLY | _NOSUID | _NODEV | _NOATIME
    if _LIBC.mount(source.encode(), os.fsencode(folder), KIND.encode(), flags, options.encode()) == 0:
        return fd
    number = ctypes.get_errno()
    os.close(fd)
    if number == errno.EPERM:
        raise PermissionDenied(
            f"may not mount at {folder}: a container needs --cap-add SYS_ADMIN (and apparmor to allow it)"
        )
    raise LocalError(f"cannot mount at {folder}: {os.strerror(number)}")


def _mount_by_helper(folder: Path, source: str, *, allow_other: bool) -> int:
    helper = _helper()
    name = source.replace("\\", "\\\\").replace(",", "\\,")
    words = ["ro", "nosuid", "nodev", "default_permissions", "subtype=hoist", f"fsname={name}"]
    words += ["allow_other"] if allow_other else []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [helper, "-o", ",".join(words), "--", str(folder)]
        done = _run_helper(command, theirs.fileno())
        if done.returncode:
            raise LocalError(f"cannot mount at {folder}: {_said(done.stderr)}")
        ours.settimeout(_HELPER_SECONDS)
        _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fd = array.array("i", data[:4])[0]
            os.set_inheritable(fd, False)
            return fd
    raise LocalError(f"{helper} gave no descriptor for {folder}")


def _helper() -> str:
    found = next((path for path in map(shutil.which, HELPERS) if path), None)
    if found is None:
        raise LocalError("mounting without being root needs fusermount3: apt-get install fuse3")
    return found


def _run_helper(command: list[str], talk: int | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["/usr/bin/env", *([f"_FUSE_COMMFD={talk}"] if talk is not None else []), *command],
            pass_fds=[talk] if talk is not None else [],
            capture_output=True,
            text=True,
            timeout=_HELPER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LocalError(f"{command[0]} does not end within {_HELPER_SECONDS} s") from None


def _said(text: str) -> str:
    line = (text.strip().splitlines() or ["it says nothing"])[0]
    if "allow_other" in line:
        line += " (as root, put user_allow_other into /etc/fuse.conf)"
    return line
