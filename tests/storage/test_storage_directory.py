"""A directory's own affairs: what is not there, what is full, what may not be; plain files for everybody."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from hoist.config import StorageConfig
from hoist.errors import (
    FileNotFound,
    HoistError,
    InvalidConfig,
    LocalError,
    PermissionDenied,
    StorageNotFound,
    StorageUnavailable,
)
from hoist.model.manifest import FileEntry
from hoist.storage import layout, open_storage
from hoist.storage.base import Storage, StoredFile, Tag
from hoist.storage.directory import DirectoryObjects
from hoist.storage.open_directory import TRAITS
from hoist.testing.conformance.base import (
    Content,
    assert_holds,
    finish,
    publish,
    put,
    read_file,
    ref,
    sample,
    small,
    source_of,
    ver,
)

CONTENT = small("one")
ENTRY = CONTENT.entries["unet/weights.bin"]
FILE = StoredFile(ver("sd15/any:v1"), ENTRY)


def open_directory(root: Path) -> Storage:
    return open_storage(StorageConfig("nas", str(root)), {})


def temporary(root: Path) -> list[str]:
    """What writers have left in the hidden folder, but for the lock that they share."""
    return [path.name for path in (root / ".hoist/tmp").iterdir() if path.name != "lock"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture
def storage(root: Path) -> Storage:
    return open_directory(root)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    mounted = tmp_path / "full"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "hoist-test", str(mounted)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small tmpfs here: {done.stderr.strip()}")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_plain_files_that_nobody_changes(storage: Storage, root: Path, tmp_path: Path) -> None:
    publish(storage, "sd15/any:v1", CONTENT, tmp_path)
    path = root / "sd15/any/v1/unet/weights.bin"
    assert path.read_bytes() == CONTENT.files["unet/weights.bin"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert (root / ".hoist/versions/sd15/any/v1/manifest.json").read_bytes() == CONTENT.manifest.data
    assert temporary(root) == []
    assert not (root / ".hoist/claims").exists()


def test_remove_leaves_no_folder(storage: Storage, root: Path, tmp_path: Path) -> None:
    publish(storage, "sd15/any:v1", CONTENT, tmp_path)
    storage.remove(ver("sd15/any:v1"))
    assert {str(path.relative_to(root)) for path in root.rglob("*")} == {".hoist", ".hoist/tmp", ".hoist/tmp/lock"}
    assert temporary(root) == []


def test_adopted_file_is_one_inode(storage: Storage, root: Path, tmp_path: Path) -> None:
    content = Content({"vae.bin": sample("vae", layout.MARKED_FROM_BYTES)})
    publish(storage, "a:v1", content, tmp_path)
    begun = storage.begin(ver("b:v1"), content.digest)
    assert begun.adopt(content.entries["vae.bin"])
    finish(begun, content)
    assert (root / "a/v1/vae.bin").stat().st_ino == (root / "b/v1/vae.bin").stat().st_ino


def test_missing_directory_is_not_made_up_for(tmp_path: Path) -> None:
    gone = tmp_path / "not mounted"
    storage = open_directory(gone)
    buffer = memoryview(bytearray(4))
    for action in (
        lambda: list(storage.versions()),
        lambda: list(storage.tags("a")),
        lambda: storage.find_tag("a", "b"),
        lambda: storage.read_manifest(ver("a:v1")),
        lambda: storage.resolve(ref("a:v1")),
        lambda: storage.read_into(FILE, 0, buffer),
        lambda: storage.begin(ver("a:v1"), CONTENT.digest),
        lambda: storage.begin(ver("a/b/c:v1"), CONTENT.digest),
        lambda: storage.set_tag(Tag("a", "b", "v1", CONTENT.digest)),
        lambda: storage.remove(ver("a:v1")),
        lambda: storage.remove_tag("a", "b"),
    ):
        with pytest.raises(StorageNotFound, match="not mounted"):
            action()
    assert not gone.exists()


def test_file_in_the_directorys_place(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("not a folder")
    with pytest.raises(StorageNotFound):
        list(open_directory(path).versions())
    with pytest.raises(StorageNotFound):
        open_directory(path).read_manifest(ver("a:v1"))


def test_root_and_hosts_are_refused() -> None:
    for url in ("/", "file:///", "file://server/share"):
        with pytest.raises(InvalidConfig):
            open_storage(StorageConfig("nas", url), {})


def test_file_url(root: Path, tmp_path: Path) -> None:
    spaced = tmp_path / "with space"
    spaced.mkdir()
    opened = open_storage(StorageConfig("nas", spaced.as_uri()), {})
    publish(opened, "a:v1", CONTENT, tmp_path)
    assert (spaced / "a/v1/config.json").is_file()


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EACCES, PermissionDenied),
        (errno.EPERM, PermissionDenied),
        (errno.EROFS, PermissionDenied),
        (errno.ENOSPC, LocalError),
        (errno.EDQUOT, LocalError),
        (errno.EIO, StorageUnavailable),
        (errno.ESTALE, StorageUnavailable),
        (errno.ETIMEDOUT, StorageUnavailable),
        (errno.EHOSTDOWN, StorageUnavailable),
        (errno.ENOENT, FileNotFound),
        (errno.ENOTDIR, FileNotFound),
        (errno.EMFILE, LocalError),
        (errno.ENAMETOOLONG, LocalError),
    ],
)
@pytest.mark.parametrize("function", ["open", "preadv", "copy_file_range", "fdatasync", "scandir"])
def test_errors_of_the_system(
    storage: Storage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    number: int,
    error: type[HoistError],
) -> None:
    publish(storage, "sd15/any:v1", CONTENT, tmp_path)
    begun = storage.begin(ver("other:v1"), CONTENT.digest)
    source = source_of(CONTENT.files[ENTRY.path], tmp_path)

    def fail(*args: object, **kwargs: object) -> NoReturn:
        raise OSError(number, os.strerror(number), "somewhere")

    monkeypatch.setattr(os, function, fail)
    if function == "scandir" and error is FileNotFound:
        # A folder that is not there is an empty one.
        assert list(storage.versions()) == []
        return
    with pytest.raises(HoistError) as caught:
        if function in ("open", "preadv"):
            storage.read_into(FILE, 0, memoryview(bytearray(10)))
        elif function == "scandir":
            list(storage.versions())
        else:
            begun.put_file(ENTRY, source, lambda count: None)
    assert type(caught.value) is error
    assert "nas" in str(caught.value)


def test_a_folder_is_no_file(storage: Storage, tmp_path: Path) -> None:
    publish(storage, "sd15/any:v1", CONTENT, tmp_path)
    folder = StoredFile(ver("sd15/any:v1"), FileEntry("unet", 1, ENTRY.digest))
    with pytest.raises(FileNotFound):
        storage.read_into(folder, 0, memoryview(bytearray(1)))


def test_entry_that_cannot_be_looked_at(
    storage: Storage, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(storage, "sd15/any:v1", CONTENT, tmp_path)
    folder = root / ".hoist/versions/sd15/any/v1"
    (folder / "nowhere").symlink_to(root / "gone")
    assert list(storage.versions()) == [ver("sd15/any:v1")]
    (folder / "loop").symlink_to(folder / "loop")
    with pytest.raises(LocalError):
        list(storage.versions())


def test_full_disk(full_disk: Path, tmp_path: Path) -> None:
    storage = open_directory(full_disk)
    publish(storage, "small:v1", CONTENT, tmp_path)
    large = Content({"large.bin": sample("large", 6 << 20)})
    begun = storage.begin(ver("large:v1"), large.digest)
    with pytest.raises(LocalError, match="full"):
        put(begun, large, tmp_path, large.files)
    # Nothing of it is left in the way: what fits can be published still.
    assert temporary(full_disk) == []
    assert not storage.begin(ver("large:v1"), large.digest).has(large.entries["large.bin"])
    publish(storage, "small:v2", Content({"x": sample("x", 3 << 20)}), tmp_path)
    assert_holds(storage, "small:v1", CONTENT)


def test_hard_links_refused_by_the_file_system(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = Content({"vae.bin": sample("vae", layout.MARKED_FROM_BYTES)})
    publish(storage, "a:v1", content, tmp_path)
    begun = storage.begin(ver("b:v1"), content.digest)

    def refuse(self: Path, target: Path) -> NoReturn:
        raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "hardlink_to", refuse)
        assert not begun.adopt(content.entries["vae.bin"])
    put(begun, content, tmp_path, content.files)
    finish(begun, content)
    assert_holds(storage, "b:v1", content)


def test_kernel_that_cannot_copy_between_file_systems(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> NoReturn:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    content = Content({"big.bin": sample("big", (9 << 20) + 1), "empty": b""})
    version = publish(storage, "a:v1", content, tmp_path)
    assert read_file(storage, version, content.entries["big.bin"]) == content.files["big.bin"]


def test_a_folder_that_others_prune_while_it_is_made(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mkdir says that it exists, if it is gone when it is looked what it is: that is no word of the file to be made."""
    objects, mkdir, times = DirectoryObjects(root, "nas", TRAITS), Path.mkdir, [0]

    def pruned(self: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if self.name == "b":
            times[0] += 1
            if times[0] % 2:
                raise FileExistsError(errno.EEXIST, "File exists", str(self))
        mkdir(self, mode, parents, exist_ok)

    monkeypatch.setattr(Path, "mkdir", pruned)
    assert objects.create("a/b/c", b"1")
    objects.put("a/b/d", b"2")
    assert times[0] > 2
    assert not objects.create("a/b/c", b"3")
    (root / "file").write_bytes(b"")
    with pytest.raises(LocalError, match="is a file, where a folder is wanted"):
        objects.put("file/x", b"")
