"""The verb in Python: records in, the page out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hoist.config import Config, load_config
from hoist.errors import LocalError, UsageError
from hoist.function.trace_file import read_traces
from hoist.read.source import local_error
from hoist.report.case import judge_case
from hoist.report.drawing import check_library
from hoist.report.material import read_material
from hoist.report.page import make_page
from hoist.report.strings import LANGUAGES

BOTH = "both"


@dataclass(frozen=True, slots=True)
class Report:
    """The page that was written, its bytes, and of how many records and traces."""

    path: Path
    size: int
    records: int
    traces: int


def write_report(
    records: Iterable[str | Path],
    output: str | Path,
    *,
    scenario: str | Path | None = None,
    language: str = BOTH,
    traces: str | None = None,
    config: Config | None = None,
) -> Report:
    """Write the page of these files of records. `traces` is a file of traces, or the URL of a function; `language` is en,
    zh or both. The file appears whole or not at all.

    Raises UsageError, InvalidFile for records of another schema or without what they should have, LocalError without
    matplotlib, and what the scenario, the traces and the file system may.
    """
    check_library()
    paths, target = [Path(each) for each in records], Path(output)
    if any(target.exists() and path.exists() and path.samefile(target) for path in paths):
        raise UsageError(f"{target} is one of the records: name another file for the page")
    if not target.parent.is_dir():
        raise LocalError(f"{target}: there is no folder {target.parent}")
    material = read_material(paths)
    found = read_traces(traces) if traces else ()
    case = judge_case(paths, material, Path(scenario) if scenario else None, config or load_config())
    page = make_page(material, case, found, _languages(language)).encode()
    _write(target, page)
    return Report(target, len(page), len(material.records), len(found))


def _languages(language: str) -> Sequence[str]:
    if language == BOTH:
        return tuple(LANGUAGES)
    if language not in LANGUAGES:
        raise UsageError(f"there is no language {language!r}; there are {', '.join(LANGUAGES)} and {BOTH}")
    return (language,)


def _write(path: Path, page: bytes) -> None:
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise local_error(error, path) from None
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 a descriptor
            file.write(page)
            os.fchmod(file.fileno(), 0o666 & ~_umask())
        os.replace(name, path)  # noqa: PTH105
    except OSError as error:
        with suppress(OSError):
            os.unlink(name)  # noqa: PTH108
        raise local_error(error, path) from None


def _umask() -> int:
    found = os.umask(0o077)
    os.umask(found)
    return found
