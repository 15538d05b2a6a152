"""Every error that Hoist raises on purpose.

    HoistError
    ├── UsageError              the caller asked for something that has no meaning
    │   ├── InvalidReference    a name, version, tag, reference or location that cannot be parsed
    │   └── InvalidConfig       hoist.toml or the environment says something impossible
    ├── NotFound                the thing named does not exist
    │   ├── StorageNotFound     no such storage, bucket or folder
    │   ├── VersionNotFound     no such model, version, tag or digest in a storage
    │   ├── FileNotFound        no such file in a version, or object in a storage
    │   │   └── TensorNotFound  no such tensor in a file
    │   └── ModelUnknown        a function serves no model of that name
    ├── Conflict                somebody else's version, tag or publish stands in the way
    ├── PermissionDenied        the storage refuses these credentials
    ├── StorageUnavailable      the storage is down, slow or busy: worth retrying
    ├── StorageUnsupported      the storage cannot do this at all: not worth retrying
    ├── Busy                    a function has no room or no turn for a model now: worth retrying
    │   └── DeadlineExceeded    the request's time was over before its turn came
    ├── HandlerError            a function's own code raised, or gave what cannot be used
    ├── Damaged                 bytes are not what the manifest says
    │   ├── DamagedBlock        a block at rest or on the way has the wrong digest
    │   └── InvalidManifest     a manifest or block table is malformed or lies
    ├── Unsigned                a version has no good signature by those who have to have signed it
    ├── InvalidFile             a weight file is truncated, malformed or lies
    │   └── UnsafeCheckpoint    a checkpoint that would execute code when loaded
    ├── LocalError              this machine: a full disk, a path that is in the way, a missing library
    └── Cancelled               the caller stopped it

Each message names the thing and, where there is one, the mend. No message holds a secret.
The command line maps each branch to an exit code (`HoistError.exit_code`).
"""

from __future__ import annotations

from collections.abc import Iterable


class HoistWarning(UserWarning):
    """Something is worth knowing, and nothing failed: given to Python's `warnings`, in the same words as an error."""


class HoistError(Exception):
    """The root: catch this to catch everything Hoist raises on purpose."""

    exit_code = 1


class UsageError(HoistError):
    """The caller asked for something that has no meaning."""

    exit_code = 2


class InvalidReference(UsageError):
    """A name, version, tag, reference or location that cannot be parsed."""


class InvalidConfig(UsageError):
    """hoist.toml or the environment says something impossible."""


class NotFound(HoistError):
    """The thing named does not exist."""

    exit_code = 3


class StorageNotFound(NotFound):
    """No such storage, bucket or folder."""


class VersionNotFound(NotFound):
    """No such model, version, tag or digest in a storage."""


class FileNotFound(NotFound):
    """No such file in a version, or object in a storage."""


class TensorNotFound(FileNotFound):
    """No such tensor in a file."""


class ModelUnknown(NotFound):
    """A function serves no model of that name."""


class Conflict(HoistError):
    """Somebody else's version, tag or publish stands in the way."""

    exit_code = 4


class PermissionDenied(HoistError):
    """The storage refuses these credentials."""

    exit_code = 5


class StorageUnavailable(HoistError):
    """The storage is down, slow or busy. The engine retries these."""

    exit_code = 6
    retry_after: float | None = None
    """For how many seconds the storage asks to be left alone; None where it does not say."""


class StorageUnsupported(HoistError):
    """The storage cannot do this at all."""

    exit_code = 6


class Busy(HoistError):
    """A function has no room or no turn for a model now: trying again later may help."""

    exit_code = 6
    retry_after: float | None = 1.0
    """In how many seconds it is worth asking again; None where nobody knows."""


class DeadlineExceeded(Busy):
    """The request's time was over before its turn came."""


class HandlerError(HoistError):
    """A function's own code raised, or gave what cannot be used; its traceback is in the log, or the `__cause__`'s."""

    exit_code = 10
    raised: str = ""
    """The name of the exception's type, where it raised: its text may say what no client should read."""


class Damaged(HoistError):
    """Bytes are not what the manifest says."""

    exit_code = 7


class DamagedBlock(Damaged):
    """A block at rest or on the way has the wrong digest."""


class InvalidManifest(Damaged):
    """A manifest or block table is malformed or lies."""


class Unsigned(HoistError):
    """A version has no good signature by those who have to have signed it."""

    exit_code = 11


class InvalidFile(HoistError):
    """A weight file is truncated, malformed or lies."""

    exit_code = 8


class UnsafeCheckpoint(InvalidFile):
    """A checkpoint that would execute code when loaded."""


class LocalError(HoistError):
    """This machine: a full disk, a path that is in the way, a missing library."""

    exit_code = 9


class Cancelled(HoistError):
    """The caller stopped it."""

    exit_code = 130


def common_exit_code(codes: Iterable[int]) -> int:
    """The exit code of a command in which several things may have failed: 0 for none, theirs if all failed alike, else 1."""
    found = set(codes)
    return 0 if not found else found.pop() if len(found) == 1 else 1


def error_document(error: HoistError | None) -> dict[str, str] | None:
    """What went wrong with a thing among others, as JSON shows it; None if nothing did."""
    return None if error is None else {"kind": type(error).__name__, "message": str(error)}
