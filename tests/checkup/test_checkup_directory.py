"""The doctor at directories, and what it reads of the kernel's tables."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import hoist
from hoist.checkup.disk import SAMPLE_BYTES
from hoist.checkup.limits import cpu_limit, memory_limit
from hoist.checkup.report import Finding
from hoist.config import Config, StorageConfig
from hoist.storage.mounts import Mount, mount_of
from makers import files_below, write_files
from signing_making import make_pair


def check(root: Path, *, read_only: bool = False) -> dict[str, Finding]:
    report = hoist.doctor(str(root), read_only=read_only, config=Config())
    return {item.name: item for item in report.findings if item.group == f"storage {root}"}


def everything_below(root: Path) -> list[Path]:
    return sorted(root.rglob("*"))


def test_a_directory_that_works_is_left_as_it_was(tmp_path: Path) -> None:
    write_files(tmp_path, {"m/v1/w.bin": b"x"})
    before = everything_below(tmp_path)
    found = check(tmp_path)
    names = ("folder", "free space", "write", "links and renames", "locks", "write speed", "read speed")
    assert {name: found[name].status for name in names} == dict.fromkeys(names, "ok")
    assert found["read speed"].figures["bytes_per_second"] > 0
    assert everything_below(tmp_path) == before


def test_what_others_have_under_way_stays(tmp_path: Path) -> None:
    write_files(tmp_path, {".hoist/tmp/half": b"half a file", ".hoist/tmp/doctor-other": b"another doctor's"})
    check(tmp_path)
    assert files_below(tmp_path) == {".hoist/tmp/half": b"half a file", ".hoist/tmp/doctor-other": b"another doctor's"}


def test_a_large_file_that_is_there_is_read_instead_of_writing_one(tmp_path: Path) -> None:
    with (tmp_path / "weights").open("wb") as file:
        file.truncate(SAMPLE_BYTES)
    found = check(tmp_path)
    assert "write speed" not in found
    assert found["read speed"].status == "ok"


def test_read_only_writes_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    before = tmp_path.stat().st_mtime_ns
    found = check(tmp_path, read_only=True)
    assert not {"write", "write speed", "locks", "links and renames"} & set(found)
    assert found["read speed"].status == "missing"
    assert tmp_path.stat().st_mtime_ns == before


def test_a_directory_that_is_not_there_and_one_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name in ("absent", "file"):
        found = check(tmp_path / name)
        assert [item.status for item in found.values()] == ["failed"]
        assert found["folder"].mend


@pytest.fixture
def read_only_mount(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "mounted"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("this user may not mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_read_only_mount_can_be_read_and_not_published_to(read_only_mount: Path) -> None:
    found = check(read_only_mount)
    assert found["folder"].status == "ok"
    assert "tmpfs" in found["file system"].detail
    assert "read-only" in found["file system"].detail
    assert found["write"].status == "warning"
    assert all(item.status != "failed" for item in found.values())


_MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /mnt/models ro,relatime - nfs4 nas:/models rw,vers=4.2
31 22 0:41 / /mnt/with\\040space rw - fuse.ossfs ossfs rw
32 30 0:42 / /mnt/models rw - xfs /dev/sdb rw
not a line of it
"""


@pytest.mark.parametrize(
    ("folder", "mount"),
    [
        ("/srv", Mount("/", "ext4", False, "8:1", "/dev/sda1")),
        ("/mnt/models/sd15", Mount("/mnt/models", "xfs", False, "0:42", "/dev/sdb")),
        ("/mnt/models2", Mount("/", "ext4", False, "8:1", "/dev/sda1")),
        ("/mnt/with space", Mount("/mnt/with space", "fuse.ossfs", False, "0:41", "ossfs")),
    ],
)
def test_mounts(tmp_path: Path, folder: str, mount: Mount) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(_MOUNTS)
    assert mount_of(Path(folder), table) == mount


def test_a_mount_that_only_reads(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text("\n".join(_MOUNTS.splitlines()[:2]))
    assert mount_of(Path("/mnt/models"), table) == Mount("/mnt/models", "nfs4", True, "0:40", "nas:/models")


@pytest.mark.parametrize(
    ("own", "files", "memory", "processors"),
    [
        ("0::/", {"memory.max": "max", "cpu.max": "max 100000"}, (None, 0), None),
        (
            "0::/a/b",
            {"memory.max": "9000", "a/memory.max": "5000", "a/memory.current": "70", "a/b/cpu.max": "150000 100000"},
            (5000, 70),
            1.5,
        ),
        (
            "5:cpu,cpuacct:/x\n4:memory:/y\n",
            {
                "memory/y/memory.limit_in_bytes": "4096",
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "cpu/x/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_quota_us": "50000",
                "cpu/cpu.cfs_period_us": "100000",
            },
            (4096, 0),
            0.5,
        ),
    ],
    ids=["no limit", "version 2", "version 1"],
)
def test_cgroups(
    tmp_path: Path, own: str, files: dict[str, str], memory: tuple[int | None, int], processors: float | None
) -> None:
    root = write_files(tmp_path / "cgroup", {path: text.encode() for path, text in files.items()})
    (tmp_path / "own").write_text(own)
    assert memory_limit(root, tmp_path / "own") == memory
    assert cpu_limit(root, tmp_path / "own") == processors


def test_keys_that_signatures_are_required_of(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "release")
    (tmp_path / "models").mkdir()

    def signatures(*signers: str) -> Finding:
        config = StorageConfig("models", str(tmp_path / "models"), require_signature=signers)
        report = hoist.doctor("models", read_only=True, config=Config({"models": config}))
        return next(item for item in report.findings if item.name == "signatures")

    found = signatures(str(pair.public))
    assert (found.status, found.detail) == ("ok", f"required: by {pair.public}")
    found = signatures(str(pair.public), str(tmp_path / "none.pub"))
    assert found.status == "failed"
    assert "none.pub" in found.detail
