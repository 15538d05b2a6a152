"""nfs:// on a real nfs-ganesha: the commands, the same tree as a directory's, what it refuses and says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest

import hoist
from hoist.config import StorageConfig, load_config
from hoist.errors import (
    HoistError,
    InvalidConfig,
    LocalError,
    PermissionDenied,
    StorageNotFound,
    StorageUnavailable,
)
from hoist.storage import open_storage
from hoist.storage.nfs import libnfs
from hoist.storage.nfs.objects import NfsObjects, stamp
from hoist.storage.nfs.open_nfs import parse_place
from hoist.storage.nfs.swap import Swap
from hoist.storage.tree import TreeStorage
from hoist.testing.servers import GaneshaServer
from hoist.testing.servers.ports import free_port
from makers import SOURCE, noise

_FULL_BYTES = 6 << 20


@pytest.fixture
def root(ganesha: GaneshaServer) -> Path:
    """A new folder on the server, as its own path."""
    folder = ganesha.data_folder / uuid4().hex
    folder.mkdir()
    return folder


@pytest.fixture
def url(ganesha: GaneshaServer, root: Path) -> str:
    return f"{ganesha.url}/{root.name}"


@pytest.fixture
def objects(url: str) -> Iterator[NfsObjects]:
    with opened(url) as storage:
        assert isinstance(storage.objects, NfsObjects)
        yield storage.objects


def opened(url: str) -> TreeStorage:
    storage = open_storage(StorageConfig("nfs", url), {})
    assert isinstance(storage, TreeStorage)
    return storage


def source(folder: Path) -> Path:
    made = folder / "source"
    made.mkdir()
    (made / "large.bin").write_bytes(noise((17 << 20) + 3))
    (made / "config.json").write_text("{}")
    (made / "alias").symlink_to("config.json")
    return made


def run(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(SOURCE), "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "hoist", *words], env=env, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_commands(url: str, tmp_path: Path) -> None:
    made = source(tmp_path)
    location = f"{url}//sd15/any:v1"
    for words in (
        ("publish", str(made), location, "--tag", "stable"),
        ("verify", location),
        ("pull", f"{url}//sd15/any:stable", str(tmp_path / "pulled")),
    ):
        ended = run(*words, home=tmp_path)
        assert ended.returncode == 0, ended.stderr
    listed = run("list", url, home=tmp_path)
    assert "sd15/any" in listed.stdout and "stable" in listed.stdout
    for name in ("large.bin", "config.json", "alias"):
        assert (tmp_path / "pulled" / name).read_bytes() == (made / name).read_bytes()
    removed = run("remove", location, "--force", "--yes", home=tmp_path)
    assert removed.returncode == 0, removed.stderr
    assert "v1" not in run("list", url, home=tmp_path).stdout


def test_the_doctor_knows_it(url: str, tmp_path: Path) -> None:
    ended = run("doctor", url, home=tmp_path)
    assert "libnfs" in ended.stdout and "free space" in ended.stdout, ended.stdout + ended.stderr
    away = run("doctor", f"nfs://127.0.0.1:{free_port()}/exp", home=tmp_path)
    assert away.returncode != 0 and "no answer from the NFS server" in away.stdout


@pytest.mark.parametrize("by_path_first", [False, True])
def test_one_tree_by_path_and_by_nfs(url: str, root: Path, tmp_path: Path, by_path_first: bool) -> None:
    made = source(tmp_path)
    first, second = (str(root), url) if by_path_first else (url, str(root))
    digest = hoist.publish(made, f"{first}//any:v1").digest
    assert hoist.publish(made, f"{second}//any:v1").digest == digest
    pulled = tmp_path / "pulled"
    hoist.pull(f"{second}//any:v1", pulled)
    assert (pulled / "large.bin").read_bytes() == (made / "large.bin").read_bytes()
    assert (root / "any/v1/large.bin").stat().st_mode & 0o777 == 0o444
    assert (root / "any/v1/alias").is_symlink()
    assert list((root / ".hoist/tmp").glob("[0-9a-f]*")) == []


def test_what_is_not_there(ganesha: GaneshaServer) -> None:
    for path in ("/exp/nowhere", "/nowhere"):
        with opened(ganesha.url_of(path)) as storage, pytest.raises(StorageNotFound, match=path):
            list(storage.versions())
    (ganesha.data_folder / "a-file").write_bytes(b"x")
    with opened(f"{ganesha.url}/a-file") as storage, pytest.raises(StorageNotFound):
        list(storage.versions())


def test_nobody_listens() -> None:
    with (
        opened(f"nfs://127.0.0.1:{free_port()}/exp") as storage,
        pytest.raises(StorageUnavailable, match="no answer"),
    ):
        list(storage.versions())


def test_a_user_without_permission(url: str, root: Path) -> None:
    (root / "any").mkdir(mode=0o700)
    with opened(f"{url}?uid=4321&gid=4321") as storage:
        with pytest.raises(PermissionDenied):
            storage.objects.put("x", b"1")
        with pytest.raises(PermissionDenied):
            storage.objects.get("any/x")
    (root / "closed").mkdir(mode=0)
    with opened(f"{url}/closed?uid=4321&gid=4321") as storage, pytest.raises(PermissionDenied):
        list(storage.versions())


def test_a_full_export(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    small, exported = tmp_path / "small", tmp_path / "exported"
    small.mkdir()
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(_FULL_BYTES)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(small)], capture_output=True, check=False).returncode:
        pytest.skip("no loop devices here")
    try:
        with GaneshaServer(exported, more={"/small": small}) as server, opened(server.url_of("/small")) as storage:
            large = tmp_path / "large.bin"
            large.write_bytes(noise(2 * _FULL_BYTES))
            with pytest.raises(LocalError, match="is full"):
                storage.objects.put_file("any/v1/large.bin", large, 2 * _FULL_BYTES, lambda _: None)
            # Nothing is left of it: there is room for something else.
            assert list(storage.objects.unfinished()) == []
            storage.objects.put("small", b"fits")
            assert storage.objects.get("small").data == b"fits"
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_an_idle_session_is_forgotten_by_the_server(tmp_path: Path) -> None:
    """A lease of one second is over at once; the next call does not notice."""
    with GaneshaServer(tmp_path, lease_s=1) as server, opened(server.url) as storage:
        storage.objects.put("x", b"1")
        subprocess.run(["sleep", "4"], check=True)
        assert storage.objects.get("x").data == b"1"


def test_swap_lets_one_win(objects: NfsObjects) -> None:
    objects.put("tag", b"0")
    old = objects.get("tag").stamp
    won: list[int] = []

    def move(number: int) -> None:
        if objects.swap("tag", str(number).encode(), old):
            won.append(number)

    threads = [Thread(target=move, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(won) == 1
    assert objects.get("tag").data == str(won[0]).encode()
    assert list(objects.unfinished()) == []


def test_a_lock_that_was_left_behind(objects: NfsObjects, root: Path) -> None:
    """Its writer was killed a while ago: it is taken away. A new one is waited for."""
    objects.put("tag", b"0")
    swap = Swap("tag", b"1")
    lock = root / swap.lock_key
    lock.write_bytes(b"a dead writer's")
    os.utime(lock, (0, 0))
    assert objects.swap("tag", b"1", stamp(b"0"))
    assert objects.get("tag").data == b"1"
    assert not lock.exists()


@pytest.mark.parametrize(
    "bad",
    [
        "nfs://server",
        "nfs://server/",
        "nfs:///exp",
        "nfs://me@server/exp",
        "nfs://server:x/exp",
        "nfs://server/exp/../etc",
        "nfs://server/exp?version=3",
        "nfs://server/exp?uid=me",
        "nfs://server/exp?colour=red",
        "nfs://server/exp?rsize=1",
    ],
)
def test_urls_that_are_none(bad: str) -> None:
    with pytest.raises(InvalidConfig):
        open_storage(StorageConfig("nfs", bad), {})


def test_url_options() -> None:
    place = parse_place(StorageConfig("nfs", "nfs://nas.example.com:2050/exp/a%20b/?uid=7&gid=8&version=4&rsize=65536"))
    assert (place.server, place.port, place.path) == ("nas.example.com", 2050, "/exp/a b")
    assert (place.uid, place.gid, place.read_bytes) == (7, 8, 65536)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libnfs, "NAMES", ("libnfs-of-another-world.so.0",))
    libnfs.load.cache_clear()
    try:
        with pytest.raises(LocalError, match="apt-get install libnfs13"):
            open_storage(StorageConfig("nfs", "nfs://server/exp"), {})
    finally:
        monkeypatch.undo()
        libnfs.load.cache_clear()


def test_a_name_in_hoist_toml(url: str, tmp_path: Path) -> None:
    (tmp_path / "hoist.toml").write_text(f'[storage.nas]\nurl = "{url}?uid=0"\n')
    config = load_config({"HOME": str(tmp_path)}, tmp_path)
    made = tmp_path / "m"
    made.mkdir()
    (made / "a").write_bytes(b"a")
    hoist.publish(made, "nas//any:v1", config=config)
    with pytest.raises(HoistError):
        hoist.inspect("nas//any:v2", config=config)
