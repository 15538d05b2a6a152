"""What a fuzz target is: a parser, the property that every input must keep, and inputs to start from."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from hoist.errors import HoistError

T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """One parser. `check` takes any bytes: True where they are accepted, False where they are refused by the right
    error; whatever it raises is a finding. `seeds` are inputs worth mutating, `words` what the format is made of."""

    name: str
    check: Callable[[bytes], bool]
    seeds: Callable[[], Sequence[bytes]]
    words: Sequence[bytes] = ()


def attempt(parse: Callable[[], T], *kinds: type[HoistError]) -> T | None:
    """What `parse` gives; None where it refuses by an error of these kinds. An error of any other kind goes through."""
    try:
        return parse()
    except kinds as error:
        assert str(error), "an error without a message"
        return None


@cache
def scratch() -> Path:
    """This process's folder for files that a parser wants as files: in memory, where that can be."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="hoist-fuzz-", dir=shared if shared.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
