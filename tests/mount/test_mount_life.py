"""A mount's beginning and end: daemons, signals, kills, users, given descriptors, umount."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mounting import ROOT, Mount, big_version

from hoist.mount.device import KIND, mounted_kind
from hoist.storage.base import Version
from makers import SOURCE, directory_storage, noise, publish, wait_for, write_files

DATA = noise(3_000_000)
pytest_plugins = ("mount_fixtures",)
needs_root = pytest.mark.skipif(not ROOT, reason="only root can become another user, and mount without a helper")


@pytest.fixture
def mount(fuse: None, tmp_path: Path) -> Mount:
    """A directory with one version, not mounted yet."""
    storage = directory_storage(tmp_path / "store")
    publish(write_files(tmp_path / "source", {"w.bin": DATA, "a.txt": b"a"}), storage, "m/one:v1", tags=["stable"])
    return Mount(tmp_path, (str(tmp_path / "store"),))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(mount: Mount, number: int) -> None:
    with mount:
        assert (mount.point / "m/one/v1/w.bin").read_bytes() == DATA
        assert mount.end(number) == 0
    assert mounted_kind(mount.point) is None
    assert os.listdir(mount.point) == []
    assert "no mounts" in mount.hoist("mount", "--status").stdout


def test_sigterm_ends_it_soon_also_when_it_is_in_use(mount: Mount) -> None:
    with mount, (mount.point / "m/one/v1/a.txt").open("rb") as file:
        began = time.monotonic()
        assert mount.end() == 0
        assert time.monotonic() - began < 10
        assert mounted_kind(mount.point) is None
        with pytest.raises(OSError):
            os.pread(file.fileno(), 1, 1 << 30)
            (mount.point / "m").stat()


def test_umount(mount: Mount) -> None:
    with mount:
        with (mount.point / "m/one/v1/a.txt").open("rb"):
            busy = mount.hoist("umount", str(mount.point))
            assert (busy.returncode, "is in use" in busy.stderr, "--lazy" in busy.stderr) == (4, True, True)
        done = mount.hoist("umount", "mnt")
        assert (done.returncode, done.stdout) == (0, f"unmounted {mount.point.resolve()}\n")
        assert mount.process
        assert mount.process.wait(10) == 0
    again = mount.hoist("umount", "mnt")
    assert (again.returncode, "no mount of Hoist" in again.stderr) == (9, True)


def test_umount_by_others_ends_the_daemon(mount: Mount) -> None:
    with mount:
        subprocess.run(["umount", str(mount.point)], check=True)
        assert mount.process
        assert mount.process.wait(10) == 0


def test_the_next_mount_takes_over_from_a_killed_one(mount: Mount) -> None:
    with mount:
        (mount.point / "m/one/v1/w.bin").read_bytes()
        mount.end(signal.SIGKILL)
        assert "dead" in mount.hoist("mount", "--status").stdout
        assert "hoist umount frees it" in mount.hoist("doctor").stdout
        with pytest.raises(OSError):
            os.listdir(mount.point)
        mount.start()
        assert (mount.point / "m/one/stable/w.bin").read_bytes() == DATA
        refused = mount.hoist("mount", str(mount.home / "store"), str(mount.point))
        assert (refused.returncode, "mounted already" in refused.stderr) == (4, True)


def test_a_daemon(mount: Mount) -> None:
    store = str(mount.home / "store")
    done = mount.hoist("mount", store, "mnt", "--daemon", "--log-file", str(mount.home / "log"), "--metrics", "0")
    assert done.returncode == 0, done.stderr
    assert (mount.point / "m/one/v1/w.bin").read_bytes() == DATA
    (shown,) = json.loads(mount.hoist("mount", "--status", "--json").stdout)["mounts"]
    assert (shown["point"], shown["storages"], shown["serving"]) == (str(mount.point.resolve()), [store], True)
    metrics = mount.metrics()
    assert metrics['operations_total{operation="open"}'] >= 1
    assert metrics["memory_bytes"] > 1 << 20
    assert mount.hoist("umount", "mnt").returncode == 0
    wait_for(lambda: not Path(f"/proc/{shown['pid']}").exists())
    assert "is mounted at" in (mount.home / "log").read_text()


@pytest.mark.parametrize("daemon", [(), ("--daemon",)])
def test_what_cannot_be_mounted_is_told(mount: Mount, daemon: tuple[str, ...]) -> None:
    store = str(mount.home / "store")
    for words, code, told in (
        ((store, str(mount.home / "nowhere")), 9, "is not a folder"),
        ((store, str(mount.home / "store/m/one/v1/a.txt")), 9, "is not a folder"),
        (("nas", "mnt"), 3, "no storage is named"),
        ((str(mount.home / "none"), "mnt"), 3, "none"),
        ((store, "mnt", "-o", "rw"), 2, "read-only"),
        ((store, "mnt", "-o", "nonsense"), 2, "no such option"),
        ((store, store, "mnt"), 2, "two storages"),
        ((store, "/dev/fd/99"), 9, "no such descriptor"),
        ((store,), 2, "wants a storage and a mount point"),
    ):
        done = mount.hoist("mount", *words, *daemon)
        assert (done.returncode, done.stdout) == (code, ""), (words, done.stderr)
        assert told in done.stderr
        assert done.stderr.startswith("hoist: error: ")
        assert done.stderr.count("\n") == 1, done.stderr
    assert mounted_kind(mount.point) is None


def test_several_storages(mount: Mount) -> None:
    publish(write_files(mount.home / "more", {"b.txt": b"b"}), directory_storage(mount.home / "other"), "n:v2")
    mount.storages = ("one", "two")
    mount.env = {"HOIST_STORAGE_ONE_URL": str(mount.home / "store"), "HOIST_STORAGE_TWO_URL": str(mount.home / "other")}
    with mount:
        assert sorted(os.listdir(mount.point)) == ["one", "two"]
        assert (mount.point / "two/n/v2/b.txt").read_bytes() == b"b"
        assert (mount.point / "one/m/one/stable/a.txt").read_bytes() == b"a"


def test_new_versions_and_moved_tags_show_up(mount: Mount) -> None:
    mount.options = ("--refresh", "0.3")
    storage = directory_storage(mount.home / "store")
    with mount:
        models = mount.point / "m/one"
        assert sorted(os.listdir(models)) == ["stable", "v1"]
        with pytest.raises(FileNotFoundError):
            (models / "v2").stat()
        publish(write_files(mount.home / "next", {"a.txt": b"new"}), storage, "m/one:v2", tags=["stable"])
        wait_for(lambda: (models / "v2").exists() and (models / "stable/a.txt").read_bytes() == b"new", 5)
        assert sorted(os.listdir(models)) == ["stable", "v1", "v2"]
        assert (models / "v1/a.txt").read_bytes() == b"a"
        storage.remove(Version("m/one", "v1"))
        wait_for(lambda: not (models / "v1").exists(), 5)


@pytest.mark.long
def test_a_version_of_a_hundred_thousand_files(mount: Mount) -> None:
    mount.options = ("--metrics", "0")
    manifest, config, table = big_version(100_000)
    publication = directory_storage(mount.home / "store").begin(Version("big", "v1"), manifest.digest)
    for blob in (config, table):
        publication.put_blob(blob)
    publication.commit(manifest)
    with mount:
        assert (mount.point / "big/v1/d00").is_dir()
        before = {name: value for name, value in mount.metrics().items() if "storage_requests" in name}
        found = subprocess.run(["find", str(mount.point / "big/v1"), "-type", "f"], capture_output=True, check=True)
        assert found.stdout.count(b"\n") == 100_000
        for number in range(0, 100_000, 997):
            assert (mount.point / f"big/v1/d{number % 100:02}/f{number:06}.bin").stat().st_size == 10
        after = {name: value for name, value in mount.metrics().items() if "storage_requests" in name}
        assert {name for name in after if after[name] != before.get(name)} <= set(before)
        assert all(after[name] == before[name] for name in before if "list" not in name and "tags" not in name)


def _as(user: int, act: Callable[[], object]) -> int:
    """Run `act` in a child of another user; 0 if it did not raise, else the errno."""
    pid = os.fork()
    if not pid:
        code = 99
        try:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            act()
            code = 0
        except OSError as error:
            code = error.errno or 98
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@needs_root
def test_other_users_are_kept_out_unless_they_are_let_in(mount: Mount) -> None:
    mount.home.chmod(0o755)
    for parent in mount.home.parents:
        if parent.stat().st_mode & 0o001 == 0 and parent.stat().st_uid == os.getuid() and str(parent) != "/":
            parent.chmod(parent.stat().st_mode | 0o011)
    path = mount.point / "m/one/v1/a.txt"
    with mount:
        assert _as(65534, path.read_bytes) == 13
        mount.end()
        mount.options = ("-o", "allow_other,uid=1234,gid=4321,umask=027")
        mount.start()
        status = path.stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (1234, 4321, 0o440)
        assert _as(65534, path.read_bytes) == 13
        assert _as(1234, path.read_bytes) == 0
        assert _as(4321, path.read_bytes) == 0
        mount.end()
        mount.options = ("-o", "allow_other")
        mount.start()
        assert _as(65534, path.read_bytes) == 0


@needs_root
def test_a_descriptor_that_is_mounted_already(mount: Mount) -> None:
    fd = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0"
    assert libc.mount(b"csi", str(mount.point).encode(), KIND.encode(), 1 | 2 | 4, options.encode()) == 0
    try:
        command = [sys.executable, "-m", "hoist", "mount", str(mount.home / "store"), f"/dev/fd/{fd}"]
        with subprocess.Popen(
            command, env=mount.environment(), pass_fds=[fd], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            os.close(fd)
            assert process.stdout
            assert process.stdout.readline().startswith("mounted")
            assert (mount.point / "m/one/v1/w.bin").read_bytes() == DATA
            subprocess.run(["umount", str(mount.point)], check=True)
            assert process.wait(10) == 0
    finally:
        subprocess.run(["umount", "-l", str(mount.point)], capture_output=True, check=False)


_AS_NOBODY = """
import os, signal, sys, time
import hoist.cli.serving, hoist.cli.mount, hoist.mount.device, hoist.storage.open_directory, hoist.read.cache.fill
import hoist.read.packs, hoist.storage.posix, hoist.storage.nearest
from hoist.cli import main
# Here the interpreter's own files may be root's alone: what is needed is imported before that matters.
store, point = sys.argv[1:]
os.setgroups([]); os.setgid(65534); os.setuid(65534)
pid = os.fork()
if not pid:
    sys.argv = ["hoist", "mount", store, point]
    sys.exit(main())
until = time.monotonic() + 20
while not os.path.ismount(point) and time.monotonic() < until:
    time.sleep(0.05)
data = open(point + "/m/one/v1/a.txt", "rb").read()
os.kill(pid, signal.SIGTERM)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(data, code, os.path.ismount(point))
"""


@needs_root
@pytest.mark.skipif(not shutil.which("fusermount3"), reason="fusermount3 is not installed: apt-get install fuse3")
def test_without_root_by_fusermount(mount: Mount) -> None:
    """An ordinary user mounts by the helper's descriptor, where all may open /dev/fuse, as is usual."""
    for folder in (mount.home, *mount.home.parents):
        if str(folder) != "/":
            folder.chmod(folder.stat().st_mode | 0o055)
    for folder in (mount.point, mount.home):
        os.chown(folder, 65534, 65534)
    script = (
        f"mknod {mount.home}/fuse c 10 229 && chmod 666 {mount.home}/fuse && mount --bind {mount.home}/fuse /dev/fuse"
    )
    words = [sys.executable, "-c", _AS_NOBODY, str(mount.home / "store"), str(mount.point)]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{script} || exit 77; exec "$@"', "sh", *words],
        env=mount.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip(f"no device can be made here: {done.stderr}")
    assert done.stdout.endswith("b'a' 0 False\n"), done.stdout + done.stderr


def test_killed_readers_leave_a_sound_mount(mount: Mount) -> None:
    code = "import sys\nwhile True:\n    open(sys.argv[1], 'rb').read()"
    with mount:
        path = mount.point / "m/one/v1/w.bin"
        for _ in range(3):
            readers = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(4)]
            time.sleep(0.2)
            for each in readers:
                each.kill()
            for each in readers:
                each.wait(10)
        assert path.read_bytes() == DATA


@needs_root
def test_as_a_helper_of_mount(mount: Mount) -> None:
    """`mount -t hoist`, as fstab says it, with the helper where mount(8) looks for it."""
    helper = Path("/sbin/mount.hoist")
    if helper.exists():
        pytest.skip(f"{helper} is there already: it is not replaced")
    helper.write_text(
        f"#!/bin/sh\nexport PYTHONPATH={SOURCE} HOME={mount.home} XDG_RUNTIME_DIR={mount.home}/run\n"
        f'exec {sys.executable} -c "from hoist.cli.mount_helper import main; import sys; sys.exit(main())" "$@"\n'
    )
    helper.chmod(0o755)
    store = str(mount.home / "store")
    try:
        subprocess.run(
            ["mount", "-t", "hoist", store, str(mount.point), "-o", "ro,allow_other,_netdev,refresh=5,umask=022"],
            check=True,
            timeout=30,
        )
        assert (mount.point / "m/one/v1/w.bin").read_bytes() == DATA
        subprocess.run(["umount", str(mount.point)], check=True)
        refused = subprocess.run(
            ["mount", "-t", "hoist", store, str(mount.point), "-o", "nonsense"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused.returncode != 0
        assert "no such option" in refused.stderr
    finally:
        helper.unlink()
        subprocess.run(["umount", "-l", str(mount.point)], capture_output=True, check=False)


def test_where_there_is_no_fuse(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    from hoist.errors import StorageUnsupported
    from hoist.mount import device

    monkeypatch.setattr(device, "_DEVICE", Path("/dev/no-fuse-here"))
    with pytest.raises(StorageUnsupported, match="modprobe fuse"):
        device.open_device(str(mount.point), "x", allow_other=False)
