"""The kernel's table of NFS mounts: each version of its format, and whatever else stands there."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mountstats_texts import ALL, OTHERS, V3, V41

from hoist.status.mountstats import Calls, NfsMount, nfs_mount_at, parse_mountstats


def test_each_version_of_the_format() -> None:
    new, old, oldest = parse_mountstats(ALL)
    assert (new.source, new.point, new.kind, new.version) == ("nas:/models", "/mnt/nas", "nfs4", "4.1")
    assert (new.age_seconds, new.read_bytes, new.server_bytes) == (7822, 5 << 30, 3 << 30)
    assert new.calls["READ"] == Calls(3072, 3074, 1, 638976, 3221618688, 0.21, 6.144, 6.4, 2)
    assert set(new.calls) == {"NULL", "READ", "WRITE", "TEST_STATEID"}
    assert (old.point, old.kind, old.version, old.server_bytes) == ("/mnt/old nas", "nfs", "3", 65536)
    assert old.calls["READ"] == Calls(16, 16, 0, 2048, 67584, 0.001, 0.032, 0.033, None)
    assert (oldest.point, oldest.read_bytes, oldest.calls["READ"].count) == ("/mnt/udp", 512, 1)


def test_what_is_no_nfs_mount() -> None:
    assert parse_mountstats("") == parse_mountstats(OTHERS) == []
    # Without counters there is nothing to tell, and half a line is no reason to fail.
    assert parse_mountstats(V41.splitlines()[0]) == []
    assert parse_mountstats(V41.replace("bytes:\t4294967296", "bytes:\tmany")) == []
    cut = parse_mountstats(V3[: V3.index("READ")])
    assert [set(mount.calls) for mount in cut] == [{"NULL", "GETATTR"}]


def test_of_several_at_one_point_the_topmost_is_seen() -> None:
    covered = V3 + V3.replace("65536", "1").replace("10.0.0.9:/export/models mounted", "b:/x mounted")
    found = nfs_mount_at(covered, "/mnt/old nas")
    assert found
    assert (found.source, found.server_bytes) == ("b:/x", 1)
    assert nfs_mount_at(ALL, "/mnt") is None


def test_this_machine_has_a_table_that_can_be_read() -> None:
    parse_mountstats(Path("/proc/self/mountstats").read_text(errors="surrogateescape"))


COUNT = st.integers(0, 2**64 - 1)
NAME = st.sampled_from(("NULL", "READ", "WRITE", "GETATTR", "TEST_STATEID", "LAYOUTGET", "X2"))
POINT = st.text("aZ0./-_ \\\t\u00a0\u2028é漢", min_size=1, max_size=8)


@st.composite
def mounts(draw: st.DrawFn) -> tuple[NfsMount, str]:
    """A mount, and how the kernel writes it."""
    point, kind = "/" + draw(POINT), draw(st.sampled_from(("nfs", "nfs4")))
    normal, direct, server = (draw(COUNT) for _ in range(3))
    calls = draw(
        st.dictionaries(st.from_regex("[A-Z][A-Z0-9_]{1,12}", fullmatch=True), st.lists(COUNT, min_size=8, max_size=9))
    )
    escaped = "".join(f"\\{ord(each):03o}" if each in " \t\n\\" else each for each in point)
    lines = [
        f"device nas:/x mounted on {escaped} with fstype {kind} statvers=1.1",
        "\topts:\trw,vers=4.2,hard",
        "\tage:\t5",
        f"\tbytes:\t{normal} 1 {direct} 2 {server} 3 4 5 ",
        "\tRPC iostats version: 1.1  p/v: 100003/4 (nfs)",
        *(f"\t{name:>12}: {' '.join(map(str, columns))}" for name, columns in calls.items()),
    ]
    made = {
        name: Calls(*columns[:5], *(each / 1e3 for each in columns[5:8]), *columns[8:])
        for name, columns in calls.items()
    }
    return NfsMount("nas:/x", point, kind, "4.2", 5, normal + direct, server, made), "\n".join(lines) + "\n"


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(mounts(), max_size=2))
def test_what_the_kernel_writes_is_read_back(made: list[tuple[NfsMount, str]]) -> None:
    text = OTHERS.join(["", *(written for _, written in made), ""])
    assert parse_mountstats(text) == [mount for mount, _ in made]


@given(st.text())
def test_nothing_raises(text: str) -> None:
    assert parse_mountstats(text) == []


@given(st.integers(0, len(ALL)), st.integers(0, len(ALL)), st.text(max_size=3))
def test_no_damaged_table_raises(begin: int, end: int, middle: str) -> None:
    parse_mountstats(ALL[:begin] + middle + ALL[end:])


@pytest.mark.parametrize("point", ["/mnt/nas", "/mnt/old nas", "/mnt/udp"])
def test_found_by_where_it_is_mounted(point: str) -> None:
    found = nfs_mount_at(ALL, point)
    assert found
    assert found.point == point
