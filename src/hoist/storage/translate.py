"""What the object store library's errors mean, and how they are said without a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from hoist.errors import (
    Conflict,
    FileNotFound,
    HoistError,
    InvalidConfig,
    LocalError,
    PermissionDenied,
    StorageNotFound,
    StorageUnavailable,
    StorageUnsupported,
)

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
_SECRET = re.compile(
    r"((?:X-Amz-(?:Signature|Credential|Security-Token)|Signature|sig|AWSAccessKeyId|access_token)=)[^&\s\"',]+", re.I
)
# What stores answer where the bucket itself is missing.
NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
_NO_CREDENTIALS = ("credential", "169.254", "metadata", "IMDS", "token")


def redact(text: str) -> str:
    """`text` without the signatures and tokens that a URL can carry."""
    return _SECRET.sub(r"\1***", text)


@contextmanager
def translated(address: str, key: str = "") -> Iterator[None]:
    """Turn whatever the object store library raises in the body into a HoistError about `key` in `address`."""
    from obstore import exceptions

    what = f"{address} at {key!r}" if key else address
    try:
        yield
    except HoistError:
        raise
    except (FileNotFoundError, exceptions.NotFoundError) as error:
        raise _absent(str(error), address, what) from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise _denied(str(error), what) from None
    except exceptions.NotSupportedError as error:
        raise StorageUnsupported(f"{what}: {_first_line(error)}") from None
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError, exceptions.NotModifiedError) as error:
        raise Conflict(f"{what} was changed by somebody else: {_reason(str(error))}") from None
    except exceptions.InvalidPathError as error:
        raise StorageUnsupported(f"{what}: the store cannot hold this path: {_first_line(error)}") from None
    except exceptions.UnknownConfigurationKeyError as error:
        raise InvalidConfig(f"{address}: {_first_line(error)}") from None
    except exceptions.BaseError as error:
        raise _generic(str(error), address, what) from None
    except (ValueError, TypeError) as error:
        raise InvalidConfig(f"{what}: {_first_line(error)}") from None
    except OSError as error:
        raise LocalError(f"{what}: {error.strerror or _first_line(error)}") from None


def _generic(text: str, address: str, what: str) -> HoistError:
    """The library says 'generic' for most of what a listing or a connection can meet: read the status."""
    found = _STATUS.search(text)
    status = int(found[1]) if found else 0
    if status == 404:
        return _absent(text, address, what)
    if status in (401, 403):
        return _denied(text, what)
    if status in (301, 307):
        return PermissionDenied(f"{what} lives in another region: set the storage's region or endpoint")
    if status in (405, 501):
        return StorageUnsupported(f"{what}: {_reason(text)}")
    if 400 <= status < 500 and status not in (408, 409, 425, 429):
        return HoistError(f"{what}: the server refused the request ({_reason(text)})")
    first = text.partition("\n")[0]
    if not status and any(word in first for word in _NO_CREDENTIALS):
        return PermissionDenied(
            f"{what}: no usable credentials ({redact(first)}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the "
            "store's own variables), a profile, or anonymous = true"
        )
    if not status and "builder error" in first:
        return InvalidConfig(f"{what}: the endpoint or the ca_bundle cannot be used ({redact(first)})")
    return StorageUnavailable(f"{what}: {_reason(text)}")


def _absent(text: str, address: str, what: str) -> HoistError:
    code = _CODE.search(text)
    if code and code[1] in NO_BUCKET:
        return StorageNotFound(f"{address}: there is no such bucket: make it first, or check its name and the endpoint")
    return FileNotFound(f"{what} is not there")


def _denied(text: str, what: str) -> PermissionDenied:
    return PermissionDenied(f"no permission for {what} ({_reason(text)}): check the credentials and the clock")


def _reason(text: str) -> str:
    status, code = _STATUS.search(text), _CODE.search(text)
    if status:
        return f"{status[1]} {code[1]}" if code else status[1]
    return _first_line(text)


def _first_line(error: object) -> str:
    return redact(str(error).partition("\n")[0])[:500]
