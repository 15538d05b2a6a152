"""A mount of a logical storage whose first region is lost while files are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mounting import Mount

from hoist.testing.servers.fault_kinds import Fault, Flip, Refusal, Stalled
from hoist.testing.servers.faults import Rule
from makers import directory_storage, noise, publish, write_files
from regions import Regions, two_regions

pytest_plugins = ("mount_fixtures",)
MIB = 1 << 20
FILES = {f"w{n}.bin": noise(3 * MIB + n, n) for n in range(4)}


@pytest.fixture(scope="module")
def regions(fuse: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Regions]:
    served = tmp_path_factory.mktemp("regions")
    with directory_storage(served / "models") as storage:
        publish(write_files(tmp_path_factory.mktemp("source"), FILES), storage, "m/one:v1", tags=["stable"])
    with two_regions(served) as found:
        yield found


@pytest.mark.parametrize(
    "fault", [Stalled("before"), Refusal(404, code="NoSuchKey"), Flip()], ids=lambda fault: type(fault).__name__
)
def test_a_region_is_lost_under_a_mount(regions: Regions, tmp_path: Path, fault: Fault) -> None:
    # A public bucket cannot be listed: what is mounted is the one version.
    regions.eu.plan()
    with Mount(tmp_path, ("models//m/one:stable",), ("--cache", "off"), regions.env) as mount:
        version = mount.point / "m/one/v1"
        assert (version / "w0.bin").read_bytes() == FILES["w0.bin"]
        with (version / "w1.bin").open("rb", buffering=0) as file:
            head = file.read(1000)
            regions.eu.plan(Rule(fault))
            assert head + file.readall() == FILES["w1.bin"]
        for name in ("w2.bin", "w3.bin"):
            assert (version / name).read_bytes() == FILES[name]
        assert regions.eu.struck()
