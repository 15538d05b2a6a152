"""What the cgroups of this process allow, version 1 or 2; None where there is no limit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def memory_limit(root: Path = _ROOT, own: Path = Path("/proc/self/cgroup")) -> tuple[int | None, int]:
    """The lowest memory limit of the groups that this process is in, and what that group uses, in bytes."""
    found: list[tuple[int, int]] = []
    for folder in _folders(root, own, "memory"):
        for most, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            limit = _number(folder / most)
            # Version 1 says "no limit" by a number near 2^63.
            if limit is not None and limit < 1 << 60:
                found.append((limit, _number(folder / used) or 0))
    return min(found, default=(None, 0))


def cpu_limit(root: Path = _ROOT, own: Path = Path("/proc/self/cgroup")) -> float | None:
    """How many processors' time the groups of this process may use."""
    found: list[float] = []
    for folder in _folders(root, own, "cpu"):
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        fields = _text(folder / "cpu.max").split()
        if len(fields) == 2 and all(field.isdigit() for field in fields):
            quota, period = int(fields[0]), int(fields[1])
        if quota is not None and period and quota > 0:
            found.append(quota / period)
    return min(found, default=None)


def _folders(root: Path, own: Path, controller: str) -> Iterator[Path]:
    """The folders of a controller's groups, from this process's own up; in a container the root is its own."""
    for line in _text(own).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        base = root / controller if controllers else root
        folder = base / path.lstrip("/")
        for each in (folder, *folder.parents):
            yield each
            if each == base:
                break


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
