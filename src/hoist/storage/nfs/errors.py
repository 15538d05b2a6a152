"""What goes wrong on the way to an NFS server, and which HoistError it is."""

from __future__ import annotations

import re

from hoist.errors import (
    FileNotFound,
    HoistError,
    LocalError,
    PermissionDenied,
    StorageNotFound,
    StorageUnavailable,
    StorageUnsupported,
)

_STATUS = re.compile(r"NFS4ERR_([A-Z_]+)")
_MISSING = ("NOENT", "NOTDIR", "ISDIR")
_DENIED = ("ACCESS", "PERM", "ROFS", "WRONGSEC")
_FULL = ("NOSPC", "DQUOT", "FBIG")
_UNSUPPORTED = ("NOTSUPP", "ATTRNOTSUPP", "MINOR_VERS_MISMATCH", "LOCK_NOTSUPP")
# The server has forgotten this client (its lease ran out, or the server started anew), or its cached path: a new
# session will do. It has refused the call, so that asking again does nothing twice.
_FORGOTTEN = (
    *("STALE", "FHEXPIRED", "BADHANDLE", "EXPIRED", "STALE_CLIENTID", "STALE_STATEID", "BAD_STATEID", "OLD_STATEID"),
    *("BAD_SEQID", "ADMIN_REVOKED", "CLID_INUSE", "NOFILEHANDLE"),
)
_PASSING = ("IO", "DELAY", "GRACE", "RESOURCE", "LOCKED", "SERVERFAULT", "SHARE_DENIED", "FILE_OPEN", "CB_PATH_DOWN")
_WORDS = {
    "ACCESS": "permission denied",
    "PERM": "operation not permitted",
    "ROFS": "the export is read-only",
    "WRONGSEC": "the export does not take AUTH_SYS (Hoist speaks no Kerberos)",
    "NOSPC": "no space left on it",
    "DQUOT": "over the quota",
    "FBIG": "the file is too large for it",
    "GRACE": "the server has just started and waits for its old clients",
    "DELAY": "the server asks to come again later",
}


class NfsStatus(Exception):
    """The server answered with an error; `name` is its name in RFC 7530 without `NFS4ERR_`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    @property
    def forgotten(self) -> bool:
        """Whether the same call on a new session is worth a try."""
        return self.name in _FORGOTTEN

    @property
    def missing(self) -> bool:
        """Whether what was named is not there."""
        return self.name in _MISSING


class NfsBroken(Exception):
    """There was no answer: the connection is gone or silent, and nobody knows whether the call was carried out."""


def status_of(text: str) -> NfsStatus | NfsBroken:
    """What a message of libnfs says."""
    found = _STATUS.search(text)
    return NfsStatus(found[1]) if found else NfsBroken(text)


def translated(error: NfsStatus | NfsBroken, address: str, key: str) -> HoistError:
    """The HoistError for an error about the key."""
    where = f"{address} at {key or '/'}"
    if isinstance(error, NfsBroken):
        return StorageUnavailable(f"{where}: no answer from the NFS server ({error}): is it up, is port 2049 open?")
    name = error.name
    said = _WORDS.get(name, f"the NFS server answered NFS4ERR_{name}")
    if name in _MISSING:
        return FileNotFound(f"{address} has no file {key!r}")
    if name in _DENIED:
        return PermissionDenied(f"no permission for {where}: {said}")
    if name in _FULL:
        return LocalError(f"{address} is full: {said}; free space, then run it again")
    if name in _PASSING or error.forgotten:
        return StorageUnavailable(f"{where}: {said}")
    if name in _UNSUPPORTED:
        return StorageUnsupported(f"{where}: the NFS server cannot do this (NFS4ERR_{name})")
    return LocalError(f"{where}: {said}")


def no_root(error: NfsStatus | NfsBroken, address: str, server: str, path: str) -> HoistError:
    """The HoistError for an export, or a folder in it, that cannot be opened."""
    if isinstance(error, NfsStatus) and error.missing:
        return StorageNotFound(
            f"{address}: {server} has no folder {path}: look at its exports, or make the folder; with NFSv4 the path begins "
            "at the server's pseudo-root"
        )
    if isinstance(error, NfsStatus) and error.name in ("ACCESS", "PERM"):
        return PermissionDenied(
            f"{address}: {server} lets this client not into {path}: the export has to allow this host and user (and the "
            "option `insecure`, where this is not root)"
        )
    return translated(error, address, "")
