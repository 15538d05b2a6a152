"""What a folder lies on: the kind of its file system and how it is mounted, from the kernel's table."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TABLE = Path("/proc/self/mountinfo")
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount: where, of what kind, and whether it can only be read; its `device` by numbers, as `8:1`."""

    point: str
    kind: str
    read_only: bool
    device: str = ""
    source: str = ""


def mount_of(folder: Path, table: Path = _TABLE) -> Mount | None:
    """The mount that holds `folder`, which has no links in it; None where the kernel does not say."""
    found: Mount | None = None
    with suppress(OSError):
        for mount in mounts(table):
            # Of several at one point the last one covers the others.
            if _holds(mount.point, str(folder)) and (found is None or len(mount.point) >= len(found.point)):
                found = mount
    return found


def mounts(table: Path = _TABLE) -> list[Mount]:
    """All mounts, in the kernel's order. Raises OSError."""
    # Only these part lines and fields there: a name may have any other space in it.
    lines = table.read_text(errors="surrogateescape").split("\n")
    return [mount for line in lines if (mount := _parse(line))]


def _parse(line: str) -> Mount | None:
    left, dash, right = line.partition(" - ")
    fields, rest = left.split(" "), right.split(" ")
    if not dash or len(fields) < 6 or not rest[0]:
        return None
    point, source = (unescape(field) for field in (fields[4], rest[1] if len(rest) > 1 else ""))
    options = fields[5].split(",") + (rest[2].split(",") if len(rest) > 2 else [])
    return Mount(point, rest[0], "ro" in options, fields[2], source)


def unescape(field: str) -> str:
    """A field of one of the kernel's tables, where a space is `\\040`."""
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), field)


def _holds(point: str, folder: str) -> bool:
    return folder == point or folder.startswith(point.rstrip("/") + "/")
