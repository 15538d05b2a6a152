"""What the kernel counts of each disk of this host: /proc/diskstats, parsed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# The kernel's own unit in that table, whatever the disk's is.
_SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class Disk:
    """The counters of one disk or partition since the machine's start: bytes read from it, by how many requests, and the
    seconds of all of them together. What the page cache gives is not among them."""

    name: str
    reads: int
    read_bytes: int
    read_seconds: float


def parse_diskstats(text: str) -> Mapping[str, Disk]:
    """The disks by their numbers, as `8:1`. Never raises: what cannot be read is left out."""
    found: dict[str, Disk] = {}
    for line in text.splitlines():
        fields = line.split()
        numbers = [*fields[:2], *fields[3:7]]
        if len(numbers) < 6 or not all(each.isascii() and each.isdigit() for each in numbers):
            continue
        major, minor, reads, _, sectors, milliseconds = map(int, numbers)
        found[f"{major}:{minor}"] = Disk(fields[2], reads, sectors * _SECTOR_BYTES, milliseconds / 1e3)
    return found
