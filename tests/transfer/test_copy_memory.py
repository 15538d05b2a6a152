"""What a copy costs at its peak, by the kernel's count: under 512 MiB at any size, to each kind and to three at once."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

import hoist
from hoist.testing.servers import DockerRegistry, GaneshaServer, RcloneServer
from makers import finish, run_python

pytestmark = [pytest.mark.long, pytest.mark.slow]
MIB = 1 << 20
SIZE = 1 << 30
_COPY = """
import sys, json, hoist
source, *targets = sys.argv[1:]
done = hoist.copy(source, targets)
assert all(each.error is None for each in done), done
peak = next(int(line.split()[1]) >> 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([peak, [each.size for each in done]]))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A directory with a version of 1 GiB: a file of most of it, others, and small ones."""
    folder = tmp_path_factory.mktemp("copied")
    (folder / "m").mkdir()
    for name, tiles in (("unet.bin", 11), ("text.bin", 3), ("vae.bin", 1)):
        with (folder / "m" / name).open("wb") as file:
            for _ in range(tiles):
                file.write(os.urandom(64 * MIB))
    for number in range(64):
        (folder / "m" / f"{number}.txt").write_bytes(os.urandom(MIB - 7))
    (folder / "models").mkdir()
    location = f"{folder}/models//m:v1"
    hoist.publish(folder / "m", location)
    yield location
    shutil.rmtree(folder)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """The address of a new, empty storage of a kind, whose files go after the test."""
    folders: list[Path] = []

    def make(kind: str) -> str:
        name = f"peak-{uuid4().hex[:10]}"
        folders.append(tmp_path / name)
        if kind == "directory":
            folders[-1].mkdir()
            return str(folders[-1])
        if kind == "layout":
            return f"oci-layout://{tmp_path / name}"
        if kind == "registry":
            registry: DockerRegistry = request.getfixturevalue("docker_registry")
            return f"oci://{registry.host}/{name}"
        if kind == "nfs":
            server: GaneshaServer = request.getfixturevalue("ganesha")
            folders.append(server.data_folder / name)
            folders[-1].mkdir()
            return f"{server.url}/{name}"
        store: RcloneServer = request.getfixturevalue("rclone_server")
        store.create_bucket(name)
        folders.append(store.data_folder / name)
        return f"s3://{name}/models"

    yield make
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _peak(source: str, targets: list[str], store: RcloneServer, home: Path) -> int:
    """MiB that a copy took at its peak; storages are given by their URLs."""
    environ = {
        "AWS_ACCESS_KEY_ID": store.access_key,
        "AWS_SECRET_ACCESS_KEY": store.secret_key,
        "HOME": str(home),
    }
    url, _, reference = source.rpartition("//")
    for number, each in enumerate((url, *targets)):
        environ[f"HOIST_STORAGE_S{number}_URL"] = each
        if each.startswith("s3:"):
            environ |= {
                f"HOIST_STORAGE_S{number}_ENDPOINT": store.endpoint,
                f"HOIST_STORAGE_S{number}_REGION": store.region,
            }
    names = [f"s{number}" for number in range(1, len(targets) + 1)]
    peak, sizes = json.loads(finish(run_python(_COPY, f"s0//{reference}", *names, **environ), 600))
    assert sizes == [pytest.approx(SIZE, rel=0.01)] * len(targets)
    sys.stdout.write(f"\n{peak} MiB at the peak\n")
    return int(peak)


@pytest.mark.parametrize("kind", ["directory", "nfs", "bucket", "registry", "layout"])
def test_to_one(
    kind: str, source: str, place: Callable[[str], str], rclone_server: RcloneServer, tmp_path: Path
) -> None:
    assert _peak(source, [place(kind)], rclone_server, tmp_path) < 512


def test_to_three_at_once_from_a_bucket(
    source: str, place: Callable[[str], str], rclone_server: RcloneServer, tmp_path: Path
) -> None:
    bucket = place("bucket")
    assert _peak(source, [bucket], rclone_server, tmp_path) < 512
    targets = [place(kind) for kind in ("directory", "bucket", "registry")]
    assert _peak(f"{bucket}//m:v1", targets, rclone_server, tmp_path) < 512
