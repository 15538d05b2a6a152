"""Written files: what is there with the same bytes stays untouched, what differs is replaced only where that is asked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from hoist.errors import Conflict, LocalError


def write_files(files: Mapping[Path, str], *, force: bool = False) -> list[Path]:
    """Write texts, each whole or not at all; returns those that were written, without what had the same bytes.

    Raises Conflict before anything is written if one of them is there and differs, unless `force`; LocalError.
    """
    wanted = [path for path, text in files.items() if _differs(path, text)]
    for path in wanted:
        if path.exists() and not force:
            raise Conflict(f"{path} is there and differs: --force replaces it, or write elsewhere with -o")
    for path in wanted:
        replace_file(path, files[path])
    return wanted


def replace_file(path: Path, text: str) -> None:
    """Write one text in place of what is there, keeping its permissions. Raises LocalError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = path.resolve()
        mode = target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~_umask()
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
                stream.write(text)
            Path(name).chmod(mode)
            Path(name).replace(target)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise LocalError(f"{path} cannot be written: {error.strerror}") from None


def read_file(path: Path) -> str:
    """A text as it lies there, line ends and all. Raises LocalError."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise LocalError(f"{path} is no UTF-8 text") from None
    except OSError as error:
        raise LocalError(f"{path} cannot be read: {error.strerror}") from None


def _differs(path: Path, text: str) -> bool:
    if path.is_dir():
        raise LocalError(f"{path} is a folder, where a file shall be written")
    return not path.exists() or path.read_bytes() != text.encode()


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
