"""fio's own verification of random and mapped reads from several processes through a mount.

fio writes the file with a checksum in each 4 KiB; it is published, and verified as it is read through the mount. A file
that has one other byte, published as it is, shows that a wrong byte would be seen.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mount_fixtures import bucket_with
from mounting import Mount

from hoist.testing.servers import RcloneServer
from makers import directory_storage, publish

pytest_plugins = ("mount_fixtures",)
SIZE = 24 << 20
PROCESSES = 4
_VERIFY = ("--verify=crc32c", "--verify_interval=4k", "--output-format=json", f"--size={SIZE}")


@pytest.fixture(scope="module")
def fio() -> str:
    found = shutil.which("fio")
    if found:
        return found
    reason = "fio is not installed: scripts/install-servers.sh"
    if os.environ.get("HOIST_REQUIRE_SERVERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def stored(
    fio: str, fuse: None, rclone_server: RcloneServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """A bucket with what fio has written as m/one:v1, and with one byte of it flipped as m/one:flipped."""
    folder = tmp_path_factory.mktemp("fio")
    path = folder / "w.bin"
    write = [fio, "--name=write", "--rw=write", "--bs=256k", "--do_verify=0", f"--filename={path}", *_VERIFY]
    subprocess.run(write, cwd=folder, capture_output=True, check=True)
    data = bytearray(path.read_bytes())
    env = bucket_with(rclone_server, {"w.bin": bytes(data)}, tmp_path_factory.mktemp("source"))
    data[SIZE * 2 // 3 + 2000] ^= 1
    path.write_bytes(data)
    publish(path, directory_storage(Path(env["FOLDER"])), "m/one:flipped")
    return env


@pytest.fixture(scope="module", params=["cache", "no cache"])
def mounted(
    stored: dict[str, str], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mount]:
    options = ("--cache", "on" if request.param == "cache" else "off", "--memory", "32MiB")
    with Mount(tmp_path_factory.mktemp("home"), ("far",), options, stored) as mount:
        yield mount


def verify(fio: str, path: Path, engine: str, order: str, folder: Path) -> tuple[list[int], list[int], str]:
    """Read a file by several processes; the error and the bytes of each, and what fio says."""
    how = ("--readonly", f"--ioengine={engine}", f"--rw={order}", "--bsrange=4k-256k", "--invalidate=1")
    command = [fio, "--name=verify", *how, f"--numjobs={PROCESSES}", "--verify_fatal=1", f"--filename={path}", *_VERIFY]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    jobs = json.loads(done.stdout[done.stdout.index("{") :])["jobs"]
    assert (done.returncode == 0) == (not any(job["error"] for job in jobs)), done.stderr
    return [job["error"] for job in jobs], [job["read"]["io_bytes"] for job in jobs], done.stderr


@pytest.mark.parametrize("engine", ["psync", "mmap"])
@pytest.mark.parametrize("order", ["randread", "read"])
def test_many_processes(fio: str, mounted: Mount, tmp_path: Path, engine: str, order: str) -> None:
    errors, sizes, said = verify(fio, mounted.point / "m/one/v1/w.bin", engine, order, tmp_path)
    assert errors == [0] * PROCESSES, said
    assert sizes == [SIZE] * PROCESSES


@pytest.mark.parametrize("engine", ["psync", "mmap"])
def test_it_would_see_one_wrong_byte(fio: str, mounted: Mount, tmp_path: Path, engine: str) -> None:
    errors, _, said = verify(fio, mounted.point / "m/one/flipped/w.bin", engine, "randread", tmp_path)
    assert all(errors)
    assert "verify failed" in said
