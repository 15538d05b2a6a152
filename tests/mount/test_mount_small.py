"""Many small files through a mount: by their packs, in few requests, and mostly without being asked for a byte."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mount_fixtures import bucket_with
from mounting import Mount

from hoist.testing.servers import RcloneServer
from makers import noise

pytest_plugins = ("mount_fixtures",)

FILES = {f"{n // 100}/{n:04}.bin": noise(20_000 + 211 * n % 90_000, n) for n in range(900)}
# Some are the same, and one is too large for a pack.
FILES |= {"again.bin": FILES["0/0007.bin"], "large.bin": noise(700_000, 1)}

_READER = """
import hashlib, os, random, sys
folder, seed = sys.argv[1], int(sys.argv[2])
paths = sorted(os.path.join(at, name) for at, _, names in os.walk(folder) for name in names)
if seed:
    random.Random(seed).shuffle(paths)
digest = 0
for path in paths:
    with open(path, "rb") as file:
        digest ^= int.from_bytes(hashlib.sha256(path.encode() + file.read()).digest(), "big")
print(digest)
"""


@pytest.fixture(scope="module")
def bucket(fuse: None, rclone_server: RcloneServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return bucket_with(rclone_server, FILES, tmp_path_factory.mktemp("source"))


def _read_all(folder: Path, seeds: list[int]) -> list[int]:
    readers = [
        subprocess.Popen([sys.executable, "-c", _READER, str(folder), str(seed)], stdout=subprocess.PIPE, text=True)
        for seed in seeds
    ]
    return [int(reader.communicate(timeout=60)[0]) for reader in readers]


def _right(folder: Path) -> int:
    import hashlib

    digest = 0
    for path, data in FILES.items():
        digest ^= int.from_bytes(hashlib.sha256(str(folder / path).encode() + data).digest(), "big")
    return digest


def test_one_reader_is_served_ahead(bucket: dict[str, str], tmp_path: Path) -> None:
    with Mount(tmp_path, ("far",), ("--metrics", "0"), bucket) as mount:
        folder = mount.point / "m/one/v1"
        assert _read_all(folder, [0]) == [_right(folder)]
        found = mount.metrics()
        opens, reads = (found[f'operations_total{{operation="{what}"}}'] for what in ("open", "read"))
        assert opens == len(FILES)
        assert reads < opens / 2
        asked = sum(count for what, count in found.items() if what.startswith("storage_requests_total"))
        assert asked < len(FILES) / 10


@pytest.mark.parametrize("options", [(), ("--memory", "32MiB")], ids=["roomy", "tight"])
def test_many_readers_at_once(bucket: dict[str, str], tmp_path: Path, options: tuple[str, ...]) -> None:
    """In any order, with room for all of it or for half: each reads what was published."""
    with Mount(tmp_path, ("far",), ("--cache", "off", *options), bucket) as mount:
        folder = mount.point / "m/one/v1"
        assert _read_all(folder, [0, 0, 1, 2, 3]) == [_right(folder)] * 5
        # What was put into the page cache goes, and is asked for again.
        fds = [os.open(folder / path, os.O_RDONLY) for path in list(FILES)[:50]]
        for fd in fds:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        assert [os.pread(fd, 1 << 20, 0) for fd in fds] == list(FILES.values())[:50]
        for fd in fds:
            os.close(fd)
