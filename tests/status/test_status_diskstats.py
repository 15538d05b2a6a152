"""The kernel's table of disks: that of old and new kernels, and this machine's."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hoist.status.diskstats import Disk, parse_diskstats

TABLE = """\
   8       0 sda 2495490 158303 227392382 23921130 3854910 1385834 1458194088 15020754 0 1839300 39593504 1859006 811 1 2 8 1
   8       1 sda1 12 0 96 7 0 0 0 0 0 7 7
 259       3 nvme0n1p3 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
 253       0 dm-0 7 0 16 2500
"""


def test_disks_by_their_numbers() -> None:
    found = parse_diskstats(TABLE)
    assert found["8:0"] == Disk("sda", 2495490, 227392382 * 512, 23921.13)
    assert found["8:1"] == Disk("sda1", 12, 49152, 0.007)
    assert set(found) == {"8:0", "8:1", "259:3", "253:0"}


def test_this_machine_has_disks() -> None:
    assert parse_diskstats(Path("/proc/diskstats").read_text())


@given(st.text())
def test_nothing_raises(text: str) -> None:
    parse_diskstats(text)
    parse_diskstats(f"8 0 sda 1 {text} 2 3 4 5")
