"""libnfs, the NFS client in user space, through ctypes: its functions and structures, and nothing else.

Only the asynchronous calls are used. The synchronous ones wait without a limit, and when the connection breaks they leave
a request behind that answers into a stack frame which is gone.
"""

from __future__ import annotations

import ctypes as c
from functools import cache

from hoist.errors import LocalError

# Debian 12 has the first, Debian 13 and Ubuntu 24.04 the second; from libnfs 6 on arguments come in another order.
NAMES = ("libnfs.so.13", "libnfs.so.14")
MEND = "apt-get install libnfs13 (libnfs14 on newer systems), or mount the share and name its path"
Callback = c.CFUNCTYPE(None, c.c_int, c.c_void_p, c.c_void_p, c.c_void_p)
"""Status (0 or more, or a negative errno), context, data (on an error its text), and the number that the call was given."""
TYPE_FILE, TYPE_FOLDER = 1, 2


class Stat(c.Structure):
    """`struct nfs_stat_64`."""

    _fields_ = [
        (f"nfs_{name}", c.c_uint64)
        for name in (
            *(
                "dev",
                "ino",
                "mode",
                "nlink",
                "uid",
                "gid",
                "rdev",
                "size",
                "blksize",
                "blocks",
                "atime",
                "mtime",
                "ctime",
            ),
            *("atime_nsec", "mtime_nsec", "ctime_nsec", "used"),
        )
    ]


class _Time(c.Structure):
    _fields_ = [("seconds", c.c_long), ("microseconds", c.c_long)]


class Dirent(c.Structure):
    """`struct nfsdirent`, up to what is read of it."""

    _fields_ = [
        ("next", c.c_void_p),
        ("name", c.c_char_p),
        ("inode", c.c_uint64),
        ("type", c.c_uint32),
        ("mode", c.c_uint32),
        ("size", c.c_uint64),
        ("atime", _Time),
        ("mtime", _Time),
    ]


class StatVfs(c.Structure):
    """`struct statvfs`, as Linux has it on 64 bits."""

    _fields_ = [
        (f"f_{name}", c.c_ulong)
        for name in (
            *("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail", "fsid", "flag", "namemax"),
        )
    ] + [("spare", c.c_int * 6)]


_CONTEXT, _HANDLE, _PATH = c.c_void_p, c.c_void_p, c.c_char_p
_ASYNC = (Callback, c.c_void_p)
_FUNCTIONS: dict[str, tuple[object, tuple[object, ...]]] = {
    "nfs_init_context": (c.c_void_p, ()),
    "nfs_destroy_context": (None, (_CONTEXT,)),
    "nfs_parse_url_dir": (c.c_void_p, (_CONTEXT, c.c_char_p)),
    "nfs_destroy_url": (None, (c.c_void_p,)),
    "nfs_get_error": (c.c_char_p, (_CONTEXT,)),
    "nfs_set_uid": (None, (_CONTEXT, c.c_int)),
    "nfs_set_gid": (None, (_CONTEXT, c.c_int)),
    "nfs_set_dircache": (None, (_CONTEXT, c.c_int)),
    "nfs_set_autoreconnect": (None, (_CONTEXT, c.c_int)),
    "nfs4_set_client_name": (None, (_CONTEXT, c.c_char_p)),
    "nfs4_set_verifier": (None, (_CONTEXT, c.c_char_p)),
    "nfs_get_fd": (c.c_int, (_CONTEXT,)),
    "nfs_which_events": (c.c_int, (_CONTEXT,)),
    "nfs_service": (c.c_int, (_CONTEXT, c.c_int)),
    "nfs_readdir": (c.POINTER(Dirent), (_CONTEXT, c.c_void_p)),
    "nfs_closedir": (None, (_CONTEXT, c.c_void_p)),
    "nfs_mount_async": (c.c_int, (_CONTEXT, c.c_char_p, _PATH, *_ASYNC)),
    "nfs_open2_async": (c.c_int, (_CONTEXT, _PATH, c.c_int, c.c_int, *_ASYNC)),
    "nfs_close_async": (c.c_int, (_CONTEXT, _HANDLE, *_ASYNC)),
    "nfs_pread_async": (c.c_int, (_CONTEXT, _HANDLE, c.c_uint64, c.c_uint64, *_ASYNC)),
    "nfs_ftruncate_async": (c.c_int, (_CONTEXT, _HANDLE, c.c_uint64, *_ASYNC)),
    "nfs_stat64_async": (c.c_int, (_CONTEXT, _PATH, *_ASYNC)),
    "nfs_statvfs_async": (c.c_int, (_CONTEXT, _PATH, *_ASYNC)),
    "nfs_opendir_async": (c.c_int, (_CONTEXT, _PATH, *_ASYNC)),
    "nfs_mkdir2_async": (c.c_int, (_CONTEXT, _PATH, c.c_int, *_ASYNC)),
    "nfs_rmdir_async": (c.c_int, (_CONTEXT, _PATH, *_ASYNC)),
    "nfs_unlink_async": (c.c_int, (_CONTEXT, _PATH, *_ASYNC)),
    "nfs_chmod_async": (c.c_int, (_CONTEXT, _PATH, c.c_int, *_ASYNC)),
    "nfs_link_async": (c.c_int, (_CONTEXT, _PATH, _PATH, *_ASYNC)),
    "nfs_rename_async": (c.c_int, (_CONTEXT, _PATH, _PATH, *_ASYNC)),
    "nfs_symlink_async": (c.c_int, (_CONTEXT, c.c_char_p, _PATH, *_ASYNC)),
}


@cache
def load() -> c.CDLL:
    """The library, with the types of its functions. Raises LocalError, with the mend, where it is not installed."""
    for name in NAMES:
        try:
            library = c.CDLL(name)
        except OSError:
            continue
        for function, (result, arguments) in _FUNCTIONS.items():
            found = getattr(library, function)
            found.restype, found.argtypes = result, arguments
        return library
    raise LocalError(f"nfs:// needs libnfs, which is not installed: {MEND}")
