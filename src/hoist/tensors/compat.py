"""Hoist's errors that are also those of safetensors' own loader, so that code written for it catches them."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from contextlib import contextmanager

from hoist.errors import FileNotFound, HoistError, InvalidFile, TensorNotFound, UsageError

try:
    from safetensors import SafetensorError
except ImportError:  # nobody can catch what is not installed

    class SafetensorError(Exception):  # type: ignore[no-redef]
        """Stands in for safetensors' own."""


class NoSuchFile(FileNotFound, builtins.FileNotFoundError):
    """There is no such file; also the built-in FileNotFoundError."""


class NoSuchTensor(TensorNotFound, SafetensorError):
    """There is no such tensor; also a SafetensorError."""


class MalformedFile(InvalidFile, SafetensorError):
    """A file that is malformed, or that torch cannot hold; also a SafetensorError."""


class Misuse(UsageError, SafetensorError):
    """An argument that has no meaning, or a file that is closed; also a SafetensorError."""


_KIN: dict[type[HoistError], type[HoistError]] = {
    FileNotFound: NoSuchFile,
    TensorNotFound: NoSuchTensor,
    InvalidFile: MalformedFile,
    UsageError: Misuse,
}


@contextmanager
def as_safetensors() -> Iterator[None]:
    """Give Hoist's errors in the body the kind that safetensors' own loader would raise as a second one."""
    try:
        yield
    except HoistError as error:
        kin = _KIN.get(type(error))
        if kin is None:
            raise
        raise kin(str(error)) from error.__cause__
