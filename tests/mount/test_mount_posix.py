"""Every call that a reader may make of a mounted version, and EROFS for each that writes."""

from __future__ import annotations

import errno
import mmap
import os
import random
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mount_fixtures import LONG, Mounted

pytest_plugins = ("mount_fixtures",)


def test_the_whole_tree_is_there(mounted: Mounted) -> None:
    found = {
        str(path.relative_to(mounted.version)): path.read_bytes()
        for path in mounted.version.rglob("*")
        if path.is_file()
    }
    assert found == mounted.files
    assert sorted(os.listdir(mounted.mount.point / "m/one")) == ["stable", "v1"]


def test_stat(mounted: Mounted) -> None:
    path = mounted.version / "model.bin"
    status = path.stat()
    assert stat.S_ISREG(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o444
    assert (status.st_size, status.st_nlink, status.st_uid) == (5_000_017, 1, os.getuid())
    assert status.st_blocks * 512 >= status.st_size
    assert 1_700_000_000 < status.st_mtime < 4_000_000_000
    folder = mounted.version.stat()
    assert stat.S_ISDIR(folder.st_mode)
    assert stat.S_IMODE(folder.st_mode) == 0o555
    with path.open("rb") as file:
        same = os.fstat(file.fileno())
    assert (same.st_ino, same.st_dev, same.st_mtime_ns) == (status.st_ino, status.st_dev, status.st_mtime_ns)
    inodes = [each.lstat().st_ino for each in mounted.version.rglob("*")]
    assert len(set(inodes)) == len(inodes)
    assert {entry.name: entry.inode() for entry in os.scandir(mounted.version)} == {
        each.name: each.lstat().st_ino for each in mounted.version.iterdir()
    }


def test_links(mounted: Mounted) -> None:
    link = mounted.mount.point / "m/one/stable"
    status = link.lstat()
    assert stat.S_ISLNK(status.st_mode)
    assert (os.readlink(link), status.st_size) == ("v1", 2)
    assert (link / "config.json").read_bytes() == mounted.files["config.json"]
    with pytest.raises(OSError, match="Invalid argument"):
        os.readlink(mounted.version / "empty")
    with pytest.raises(OSError) as refused:
        os.open(link, os.O_RDONLY | os.O_NOFOLLOW)
    assert refused.value.errno == errno.ELOOP


def test_statvfs_and_access(mounted: Mounted) -> None:
    status = os.statvfs(mounted.mount.point)
    assert (status.f_bfree, status.f_bavail, status.f_ffree) == (0, 0, 0)
    assert status.f_flag & os.ST_RDONLY
    assert status.f_blocks * status.f_frsize >= sum(map(len, mounted.files.values()))
    assert status.f_files == len(mounted.files)
    path = mounted.version / "model.bin"
    assert os.access(path, os.R_OK)
    assert not os.access(path, os.W_OK)
    assert not os.access(mounted.version, os.W_OK)


@pytest.mark.parametrize("path", ["nothing", "model.bin/below", "unet/nothing", "../../nothing", "x" * 250])
def test_what_is_not_there(mounted: Mounted, path: str) -> None:
    for _ in range(2):
        with pytest.raises((FileNotFoundError, NotADirectoryError)):
            (mounted.version / path).stat()


def test_a_name_that_is_too_long(mounted: Mounted) -> None:
    with pytest.raises(OSError) as refused:
        (mounted.version / ("x" * 2000)).stat()
    assert refused.value.errno == errno.ENAMETOOLONG
    assert (mounted.version / "deep/a/b/c" / LONG).read_bytes() == b"long"


def test_reading_anywhere(mounted: Mounted) -> None:
    data, size = mounted.files["model.bin"], len(mounted.files["model.bin"])
    fd = os.open(mounted.version / "model.bin", os.O_RDONLY | os.O_CLOEXEC)
    chance = random.Random(1)
    try:
        for _ in range(150):
            offset, length = chance.randrange(size + 5000), chance.choice((1, 100, 4096, 5000, 131_072, 2_000_000))
            assert os.pread(fd, length, offset) == data[offset : offset + length]
        assert os.pread(fd, 10, size) == b""
        assert os.pread(fd, 10, 1 << 40) == b""
        assert os.lseek(fd, -5, os.SEEK_END) == size - 5
        assert os.read(fd, 100) == data[-5:]
        assert os.read(fd, 100) == b""
        assert os.lseek(fd, 100, os.SEEK_DATA) == 100
        assert os.lseek(fd, 100, os.SEEK_HOLE) == size
        with pytest.raises(OSError, match="No such device or address"):
            os.lseek(fd, size, os.SEEK_DATA)
        with pytest.raises(OSError, match="Invalid argument"):
            os.lseek(fd, -1, os.SEEK_SET)
        first, second = bytearray(5), bytearray(7)
        assert os.preadv(fd, [first, second], 3) == 12
        assert bytes(first + second) == data[3:15]
        os.posix_fadvise(fd, 0, size, os.POSIX_FADV_SEQUENTIAL)
        os.posix_fadvise(fd, 0, size, os.POSIX_FADV_DONTNEED)
        assert os.pread(fd, 1000, 4_000_000) == data[4_000_000:4_001_000]
        os.fsync(fd)
    finally:
        os.close(fd)


def test_direct_reading(mounted: Mounted) -> None:
    data = mounted.files["model.bin"]
    try:
        fd = os.open(mounted.version / "model.bin", os.O_RDONLY | os.O_DIRECT)
    except OSError as error:
        assert error.errno == errno.EINVAL
        return
    with mmap.mmap(-1, 1 << 20) as page:
        assert os.preadv(fd, [page], 4096) == 1 << 20
        assert page[:] == data[4096 : 4096 + (1 << 20)]
    os.close(fd)


def test_mmap_and_sendfile(mounted: Mounted, tmp_path: Path) -> None:
    data = mounted.files["model.bin"]
    with (mounted.version / "model.bin").open("rb") as file, (tmp_path / "copy").open("wb") as copy:
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as shared:
            assert shared[1_000_000:1_000_100] == data[1_000_000:1_000_100]
            assert shared[:] == data
        private = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        private[:5] = b"12345"
        private.close()
        with pytest.raises(PermissionError):
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        done = 0
        while sent := os.sendfile(copy.fileno(), file.fileno(), done, 1 << 20):
            done += sent
    assert (tmp_path / "copy").read_bytes() == data
    with (mounted.version / "empty").open("rb") as file, pytest.raises(ValueError, match="empty"):
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


def test_folders(mounted: Mounted) -> None:
    names = sorted(name.removeprefix("many/") for name in mounted.files if name.startswith("many/"))
    assert sorted(os.listdir(mounted.version / "many")) == names
    fd = os.open(mounted.version / "many", os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert sorted(os.listdir(fd)) == names
        os.lseek(fd, 0, os.SEEK_SET)
        assert sorted(os.listdir(fd)) == names
    finally:
        os.close(fd)
    with pytest.raises(IsADirectoryError):
        (mounted.version / "many").read_bytes()
    with pytest.raises(NotADirectoryError):
        os.listdir(mounted.version / "empty")
    with os.scandir(mounted.version) as entries:
        kinds = {entry.name: entry.is_dir() for entry in entries}
    assert kinds["many"]
    assert not kinds["model.bin"]


def test_seekdir(mounted: Mounted) -> None:
    """telldir and seekdir, which Python does not have, by the C library."""
    code = """
import ctypes, sys
c = ctypes.CDLL(None, use_errno=True)
c.opendir.restype = c.readdir.restype = ctypes.c_void_p
c.telldir.restype = ctypes.c_long
c.telldir.argtypes = c.readdir.argtypes = c.rewinddir.argtypes = (ctypes.c_void_p,)
c.seekdir.argtypes = (ctypes.c_void_p, ctypes.c_long)
d = c.opendir(sys.argv[1].encode())
name = lambda e: ctypes.string_at(e + 19)
seen = []
while True:
    at = c.telldir(d)
    e = c.readdir(d)
    if not e: break
    seen.append((at, name(e)))
assert len(seen) == 402, len(seen)
for at, expected in seen[::37]:
    c.seekdir(d, at)
    assert name(c.readdir(d)) == expected
c.rewinddir(d)
assert name(c.readdir(d)) == seen[0][1]
"""
    subprocess.run([sys.executable, "-c", code, str(mounted.version / "many")], check=True)


def test_extended_attributes(mounted: Mounted) -> None:
    path = mounted.version / "config.json"
    with pytest.raises(OSError) as refused:
        os.getxattr(path, "user.any")
    assert refused.value.errno in (errno.ENODATA, errno.EOPNOTSUPP)
    try:
        assert os.listxattr(path) == []
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP


def _copy_range(version: Path) -> None:
    with (version / "model.bin").open("rb") as one:
        os.copy_file_range(one.fileno(), os.open(version / "config.json", os.O_RDWR), 10)


@pytest.mark.parametrize(
    "act",
    [
        lambda v: os.open(v / "config.json", os.O_WRONLY),
        lambda v: os.open(v / "config.json", os.O_RDWR),
        lambda v: os.open(v / "config.json", os.O_RDONLY | os.O_TRUNC),
        lambda v: os.open(v / "new", os.O_CREAT | os.O_WRONLY, 0o644),
        lambda v: os.open(v / "new", os.O_CREAT | os.O_RDONLY | os.O_EXCL, 0o644),
        lambda v: os.open(v, os.O_TMPFILE | os.O_RDWR, 0o644),
        lambda v: os.mkdir(v / "new"),
        lambda v: os.unlink(v / "config.json"),
        lambda v: os.rmdir(v / "unet"),
        lambda v: os.rename(v / "config.json", v / "other"),
        lambda v: os.truncate(v / "config.json", 0),
        lambda v: os.chmod(v / "config.json", 0o600),
        lambda v: os.chown(v / "config.json", 1, 1),
        lambda v: os.utime(v / "config.json", (1, 1)),
        lambda v: os.symlink("a", v / "new"),
        lambda v: os.link(v / "config.json", v / "new"),
        lambda v: os.mkfifo(v / "new"),
        lambda v: os.mknod(v / "new", 0o600 | stat.S_IFREG),
        lambda v: os.setxattr(v / "config.json", "user.any", b"1"),
        lambda v: os.removexattr(v / "config.json", "user.any"),
        _copy_range,
    ],
)
def test_whatever_writes_is_refused(mounted: Mounted, act: Callable[[Path], object]) -> None:
    with pytest.raises(OSError) as refused:
        act(mounted.version)
    assert refused.value.errno == errno.EROFS


def test_usual_programs(mounted: Mounted, tmp_path: Path) -> None:
    def run(*words: str) -> str:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    version = str(mounted.version)
    run("cp", "-r", version, str(tmp_path / "copied"))
    run("diff", "-r", version, str(tmp_path / "copied"))
    assert int(run("sh", "-c", f"find '{version}' -type f | wc -l")) == len(mounted.files)
    assert run("find", version, "-name", "ünï.txt").endswith("名前/ünï.txt\n")
    assert str(mounted.mount.point) in run("df", str(mounted.mount.point))
    assert run("stat", "-c", "%s %F", f"{version}/model.bin") == "5000017 regular file\n"
    assert run("head", "-c", "5", f"{version}/config.json") == '{"a":'
    assert "m" in run("ls", "-la", version)
    run("tar", "-C", version, "-cf", str(tmp_path / "all.tar"), ".")
    if shutil.which("rsync"):
        run("rsync", "-a", f"{version}/", str(tmp_path / "synced"))
        assert not run("rsync", "-ai", f"{version}/", str(tmp_path / "synced")).strip()


def test_listing_and_stat_never_ask_the_storage(mounted: Mounted) -> None:
    sum(1 for _ in mounted.version.rglob("*"))
    before = {name: value for name, value in mounted.mount.metrics().items() if "storage_requests" in name}
    subprocess.run(["ls", "-laR", str(mounted.version)], check=True, capture_output=True)
    after = {name: value for name, value in mounted.mount.metrics().items() if "storage_requests" in name}
    changed = {name for name in after if after[name] != before.get(name)}
    assert not {name for name in changed if "list" not in name and "tags" not in name}
