"""Copies to and from an NFS server, and a bucket behind an accelerator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from hoist.config import EngineConfig, StorageConfig
from hoist.errors import PermissionDenied, StorageUnavailable
from hoist.model.reference import parse_reference
from hoist.progress import Progress
from hoist.storage import open_storage
from hoist.storage.base import Storage
from hoist.storage.wrap import Counting, Faulty, Wrapper
from hoist.testing.servers import FaultServer, GaneshaServer, RadosgwServer, ServerOrigin
from hoist.transfer.copy import Copied, Options, copy_version
from hoist.transfer.verify import verify_version
from makers import V1, directory_storage, files_below, memory_storage, noise, opened, publish, write_files
from storage_fixtures import BUCKET, OpenOn

pytest_plugins = ["storage_fixtures"]
MIB = 1 << 20
FILES = {
    "config.json": b"{}",
    "empty": b"",
    "unet/weights.bin": noise(18 * MIB, 2),
    "vae/weights.bin": noise(5 * MIB, 3),
}
SIZE = sum(map(len, FILES.values()))


@pytest.fixture
def nfs_folder(ganesha: GaneshaServer) -> Path:
    folder = ganesha.data_folder / uuid4().hex
    folder.mkdir()
    return folder


@pytest.fixture
def nfs(ganesha: GaneshaServer, nfs_folder: Path) -> Iterator[Storage]:
    """A new, empty storage on the NFS server."""
    with open_storage(StorageConfig("nfs", f"{ganesha.url}/{nfs_folder.name}"), {}) as storage:
        yield storage


def copy(source: Storage, *targets: Storage, reference: str = "m/one:v1", tags: tuple[str, ...] = ()) -> list[Copied]:
    found = opened(source, parse_reference(reference), EngineConfig(retry_seconds=20.0))
    return copy_version(found, targets, Options(tags=tags, retry_seconds=20.0), Progress())


def right(storage: Storage, reference: str = "m/one:v1") -> None:
    assert not verify_version(opened(storage, parse_reference(reference)), Progress()).damaged


def test_to_an_nfs_server_and_from_it(
    nfs: Storage, nfs_folder: Path, radosgw_server: RadosgwServer, open_on: OpenOn, tmp_path: Path
) -> None:
    source, bucket, folder = memory_storage(), open_on(radosgw_server), directory_storage(tmp_path / "d")
    digest = publish(write_files(tmp_path / "src", FILES), source).digest
    (done,) = copy(source, nfs, tags=("stable",))
    assert (done.error, done.sent_bytes, done.digest) == (None, SIZE, digest)
    right(nfs, "m/one:stable")
    assert files_below(nfs_folder / "m/one/v1") == FILES
    counted = Counting(nfs)
    assert [each.error for each in copy(counted, bucket, folder)] == [None, None]
    assert counted.bytes["read_into"] <= SIZE * 1.02
    for target in (bucket, folder):
        right(target)
        assert opened(target).manifest.digest == digest
    assert copy(bucket, nfs)[0].already


def test_of_a_new_version_only_the_changed_file_goes_to_an_nfs_server(nfs: Storage, tmp_path: Path) -> None:
    source = memory_storage()
    publish(write_files(tmp_path / "one", FILES), source)
    copy(source, nfs)
    publish(write_files(tmp_path / "two", FILES | {"vae/weights.bin": noise(5 * MIB, 9)}), source, "m/one:v2")
    (done,) = copy(source, nfs, reference="m/one:v2")
    small = sum(len(data) for data in FILES.values() if len(data) < MIB)
    assert (done.error, done.sent_bytes, done.copied_bytes) == (None, 5 * MIB + small, 18 * MIB)
    right(nfs, "m/one:v2")
    right(nfs)


def test_a_copy_to_an_nfs_server_goes_on(nfs: Storage, tmp_path: Path) -> None:
    source = memory_storage()
    publish(write_files(tmp_path / "src", FILES), source)
    found = opened(source)
    options = Options(uploads=tmp_path / "uploads", retry_seconds=0.0)
    broken = Faulty(nfs, fail=1.0, error=PermissionDenied("now not"), only=frozenset({"commit"}))
    assert copy_version(found, [broken], options, Progress())[0].error is not None
    assert list(nfs.versions()) == []
    (done,) = copy_version(found, [nfs], options, Progress())
    assert done.error is None
    assert done.resumed_bytes >= 23 * MIB
    right(nfs)


def test_a_bucket_behind_an_accelerator_is_read_through_it_and_written_to_directly(
    radosgw_server: RadosgwServer, open_on: OpenOn, accelerator_of: Callable[[str], str], tmp_path: Path
) -> None:
    url = accelerator_of(f"{radosgw_server.endpoint}/{BUCKET}")
    source, folder = memory_storage(), directory_storage(tmp_path / "d")
    digest = publish(write_files(tmp_path / "src", FILES), source).digest
    with FaultServer(ServerOrigin(url)) as node:
        behind = open_on(radosgw_server, accelerator=(node.endpoint,))
        assert behind.kind == "accl"
        (done,) = copy(source, behind, tags=("stable",))
        assert (done.error, done.digest, done.sent_bytes) == (None, digest, SIZE)
        assert {seen.method for seen in node.seen} <= {"GET"}
        node.plan()
        (back,) = copy(behind, folder)
        assert (back.error, back.digest) == (None, digest)
        through = {seen.path.rpartition("/v1/")[2] for seen in node.seen}
        assert {"unet/weights.bin", "vae/weights.bin"} <= through
        right(folder)
        assert copy(folder, behind)[0].already


def test_an_accelerator_that_goes_away_in_the_middle_of_a_copy(
    radosgw_server: RadosgwServer, open_on: OpenOn, accelerator_of: Callable[[str], str], tmp_path: Path
) -> None:
    url = accelerator_of(f"{radosgw_server.endpoint}/{BUCKET}")
    with FaultServer(ServerOrigin(url)) as node:
        behind = open_on(radosgw_server, accelerator=(node.endpoint,))
        publish(write_files(tmp_path / "src", FILES), behind)
        folder = directory_storage(tmp_path / "d")
        found = opened(behind)
        with node.down():
            (done,) = copy_version(found, [folder], Options(retry_seconds=20.0), Progress())
        assert done.error is None
        right(folder)
        assert opened(folder, V1).manifest.digest == found.manifest.digest


@pytest.mark.parametrize("lost", ["vae/weights.bin", "config.json"])
def test_a_folder_that_has_lost_a_file_meanwhile_makes_nothing_visible(lost: str, tmp_path: Path) -> None:
    """As one does that was not mounted for a while: the next run brings what is missing."""
    source, folder = memory_storage(), directory_storage(tmp_path / "d")
    publish(write_files(tmp_path / "src", FILES), source)

    class Unmounted(Wrapper):
        def before(self, operation: str, size: int) -> None:
            if operation == "commit":
                (tmp_path / "d/m/one/v1" / lost).unlink()

    (done,) = copy(source, Unmounted(folder))
    assert isinstance(done.error, StorageUnavailable)
    assert lost in str(done.error)
    assert list(folder.versions()) == []
    (again,) = copy(source, folder)
    assert (again.error, again.sent_bytes) == (None, len(FILES[lost]))
    right(folder)
