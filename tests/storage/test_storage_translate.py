"""Each error of the object store library means something of ours, and none is left out; none tells a secret."""

from __future__ import annotations

import inspect

import pytest
from obstore import exceptions

from hoist.errors import (
    Cancelled,
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
from hoist.storage.translate import redact, translated

EXPECTED: dict[type[Exception], type[HoistError]] = {
    exceptions.BaseError: StorageUnavailable,
    exceptions.GenericError: StorageUnavailable,
    exceptions.JoinError: StorageUnavailable,
    exceptions.NotFoundError: FileNotFound,
    exceptions.AlreadyExistsError: Conflict,
    exceptions.PreconditionError: Conflict,
    exceptions.NotModifiedError: Conflict,
    exceptions.InvalidPathError: StorageUnsupported,
    exceptions.NotSupportedError: StorageUnsupported,
    exceptions.PermissionDeniedError: PermissionDenied,
    exceptions.UnauthenticatedError: PermissionDenied,
    exceptions.UnknownConfigurationKeyError: InvalidConfig,
}
BUILT_IN: dict[type[Exception], type[HoistError]] = {
    FileNotFoundError: FileNotFound,
    ValueError: InvalidConfig,
    TypeError: InvalidConfig,
    OSError: LocalError,
}
URL = "http://h/b/k?X-Amz-Credential=CRED%2Fx&X-Amz-Security-Token=TOKEN&X-Amz-Signature=SIGNED&sig=AZURE&x=1"


def caught(error: Exception) -> HoistError:
    with pytest.raises(HoistError) as found, translated("oss", "a/key"):
        raise error
    return found.value


def test_no_error_of_the_library_is_left_out() -> None:
    theirs = {item for _, item in inspect.getmembers(exceptions, inspect.isclass) if issubclass(item, Exception)}
    assert theirs == set(EXPECTED)


@pytest.mark.parametrize("error", [*EXPECTED, *BUILT_IN])
def test_each_error_is_translated_and_tells_no_secret(error: type[Exception]) -> None:
    found = caught(error(f"something about {URL}"))
    assert type(found) is (EXPECTED | BUILT_IN)[error]
    assert "oss" in str(found)
    for secret in ("CRED", "TOKEN", "SIGNED", "AZURE"):
        assert secret not in str(found)


def test_our_own_errors_pass() -> None:
    ours = Cancelled("enough")
    assert caught(ours) is ours


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, PermissionDenied),
        (307, PermissionDenied),
        (400, HoistError),
        (401, PermissionDenied),
        (403, PermissionDenied),
        (404, FileNotFound),
        (405, StorageUnsupported),
        (408, StorageUnavailable),
        (409, StorageUnavailable),
        (412, HoistError),
        (429, StorageUnavailable),
        (500, StorageUnavailable),
        (501, StorageUnsupported),
        (503, StorageUnavailable),
    ],
)
def test_statuses_of_the_generic_error(status: int, error: type[HoistError]) -> None:
    found = caught(exceptions.GenericError(f"Server returned status code: {status} Xx: <Code>TheCode</Code> {URL}"))
    assert type(found) is error
    assert "SIGNED" not in str(found)


def test_missing_bucket_and_missing_credentials() -> None:
    for code in ("NoSuchBucket", "ContainerNotFound"):
        text = f"status code: 404: <Error><Code>{code}</Code></Error>"
        assert type(caught(exceptions.GenericError(text))) is StorageNotFound
        assert type(caught(FileNotFoundError(text))) is StorageNotFound
    for text in ("no credential found", "error sending request for url (http://169.254.169.254/latest)"):
        found = caught(exceptions.GenericError(text))
        assert type(found) is PermissionDenied
        assert "AWS_ACCESS_KEY_ID" in str(found)


def test_redact_keeps_the_rest() -> None:
    kept = redact(URL)
    assert kept.endswith("&x=1")
    assert kept.startswith("http://h/b/k?X-Amz-Credential=***&")
    assert redact("nothing to hide") == "nothing to hide"
