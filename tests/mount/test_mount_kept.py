"""Small files through a mount: what was read is in the host cache, for the next mount and for every other process."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mount_fixtures import bucket_with
from mounting import Mount

from hoist.testing.servers import RcloneServer
from hoist.testing.servers.faults import FaultServer
from hoist.testing.servers.origins import ServerOrigin
from makers import noise, write_files

pytest_plugins = ("mount_fixtures",)
Counted = tuple[FaultServer, dict[str, str]]
MANY = {f"part{n % 3}/{n:03}.json": noise(3_000 + n, n) for n in range(120)}
FEW = {"config.json": b"{}" * 400, "vocab.txt": noise(70_000, 500)}


@pytest.fixture(scope="module", params=["many", "few"])
def stored(
    request: pytest.FixtureRequest, fuse: None, rclone_server: RcloneServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Counted, dict[str, bytes]]]:
    """Many small files, which are packed, and few, which are not."""
    files = MANY if request.param == "many" else FEW
    env = bucket_with(rclone_server, files, tmp_path_factory.mktemp("source"))
    with FaultServer(ServerOrigin(rclone_server.endpoint)) as server:
        yield (server, env | {"HOIST_STORAGE_FAR_ENDPOINT": server.endpoint}), files


def _read_all(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        assert (folder / name).read_bytes() == data


def _asked(server: FaultServer) -> list[str]:
    """The requests for packs and files: manifests say what there is now, and are always asked for."""
    paths = [seen.path for seen in server.seen if "/m/one/v1/" in seen.path]
    return [path for path in paths if not path.endswith("/manifest.json")]


def test_the_next_mount_does_not_ask_again(stored: tuple[Counted, dict[str, bytes]], tmp_path: Path) -> None:
    (server, env), files = stored
    for turn in range(2):
        server.plan()
        with Mount(tmp_path, ("far",), ("--refresh", "60", "--metrics", "0"), env) as mount:
            _read_all(mount.point / "m/one/v1", files)
            assert bool(_asked(server)) == (turn == 0), _asked(server)
            assert (mount.metrics()["storage_bytes_total"] > 0) == (turn == 0)
            listed = mount.hoist("cache", "list").stdout
            assert ("small files, pack" in listed) == (files is MANY)
    assert mount.hoist("cache", "verify").returncode == 0
    # A pull of the same user finds them there too.
    server.plan()
    mount.env = env | {"HOIST_CACHE": str(tmp_path / "cache")}
    pulled = mount.hoist("pull", "far//m/one:v1", str(tmp_path / "out"), "--quiet")
    assert pulled.returncode == 0, pulled.stderr
    _read_all(tmp_path / "out", files)
    assert not _asked(server)
    # And after a drop they come from the storage again.
    assert mount.hoist("cache", "drop", "far//m/one:v1").returncode == 0
    server.plan()
    with mount:
        _read_all(mount.point / "m/one/v1", files)
    assert _asked(server)


def test_links_inside_a_version(fuse: None, rclone_server: RcloneServer, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"w.bin": noise(2_000_000), "sub/a.txt": b"a"})
    links = {"sub/up.bin": "../w.bin", "alias.bin": "sub/up.bin", "down.txt": "sub/a.txt"}
    for name, target in links.items():
        (source / name).symlink_to(target)
    env = bucket_with(rclone_server, {}, source)
    with Mount(tmp_path, ("far",), (), env) as mount:
        folder = mount.point / "m/one/stable"
        assert {name: os.readlink(folder / name) for name in links} == links
        assert (folder / "alias.bin").read_bytes() == noise(2_000_000)
        assert (folder / "alias.bin").lstat().st_size == len("sub/up.bin")
        assert sorted(os.listdir(folder)) == ["alias.bin", "down.txt", "sub", "w.bin"]
        copied = subprocess.run(["cp", "-a", f"{folder}/.", str(tmp_path / "copy")], check=False)
        assert copied.returncode == 0
        assert os.readlink(tmp_path / "copy/alias.bin") == "sub/up.bin"
        # In the bucket it is a plain file.
        assert (Path(env["FOLDER"]) / "m/one/v1/down.txt").read_bytes() == b"a"
