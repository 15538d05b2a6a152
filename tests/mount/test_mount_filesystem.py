"""The file system in process: names, numbers, refreshing, a storage that goes away, very many files."""

from __future__ import annotations

import errno
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from mounting import big_version, inside

from hoist.errors import StorageUnavailable, Unsigned
from hoist.model.reference import parse_reference
from hoist.mount.filesystem import Absent, NeedsStorage, errno_of
from hoist.mount.tree import Link
from hoist.read.version import open_version
from hoist.storage.base import Version
from hoist.storage.tree import TreeStorage
from hoist.storage.wrap import Counting, Faulty
from hoist.transfer.sign import sign_version
from makers import memory_storage, put_tag, put_version
from signing_making import make_pair


@pytest.fixture
def storage() -> TreeStorage:
    made = memory_storage()
    put_version(made, {"w.bin": bytes(10_000), "sub/a.txt": b"a"}, 4096)
    put_tag(made, "m/one", "stable", "v1")
    return made


def test_a_walk(storage: TreeStorage) -> None:
    within = inside(storage)
    file = within.find("m/one/v1/w.bin")
    assert (file.kind, file.size) == (stat.S_IFREG, 10_000)
    assert within.files.mode(file) == stat.S_IFREG | 0o444
    link = within.find("m/one/stable")
    assert within.files.readlink(link) == "v1"
    _, folder = within.files.open_folder(within.find("m/one"), patient=True)
    assert dict(folder.items)["stable"] == Link("v1")
    assert not folder.fixed
    assert within.files.open_folder(within.find("m/one/v1"), patient=True)[1].fixed
    with pytest.raises(Absent):
        within.find("m/one/v1/none")
    with pytest.raises(OSError) as refused:
        within.files.open_file(within.find("m"), patient=True)
    assert refused.value.errno == errno.EISDIR


def test_numbers_stay_the_same_from_mount_to_mount(storage: TreeStorage) -> None:
    paths = ("m", "m/one", "m/one/v1", "m/one/stable", "m/one/v1/w.bin", "m/one/v1/sub/a.txt")
    first, second = ([inside(storage).find(path).ino for path in paths] for _ in range(2))
    assert first == second
    assert len(set(first)) == len(paths)


def test_nobody_waits_for_the_storage_who_may_not(storage: TreeStorage) -> None:
    within = inside(storage)
    with pytest.raises(NeedsStorage):
        within.files.lookup(within.files.root, "m", patient=False)
    within.files.lookup(within.files.root, "m", patient=True)
    within.files.lookup(within.files.root, "m", patient=False)
    version = within.find("m/one/v1")
    with pytest.raises(NeedsStorage):
        within.files.lookup(version, "w.bin", patient=False)
    within.find("m/one/v1/w.bin")
    assert within.files.lookup(version, "w.bin", patient=False).node.size == 10_000
    with pytest.raises(NeedsStorage):
        within.files.open_file(within.find("m/one/v1/w.bin"), patient=False)


def test_nodes_are_forgotten_when_the_kernel_forgets_them(storage: TreeStorage) -> None:
    within = inside(storage)
    before = len(within.files.nodes)
    nodes = [within.find("m/one/v1/w.bin") for _ in range(3)]
    assert nodes[0] is nodes[2]
    for number, count in ((nodes[0].number, 2), (nodes[0].number, 1), (within.files.root.number, 99), (12345, 1)):
        within.files.nodes.forget(number, count)
    assert within.files.nodes.get(nodes[0].number) is None
    assert within.files.nodes.get(1) is within.files.root
    assert len(within.files.nodes) == before + 3


def test_a_storage_that_goes_away_leaves_what_was_known(storage: TreeStorage) -> None:
    faulty = Faulty(storage, error=StorageUnavailable("it is away"))
    within = inside(faulty, refresh_seconds=0.0)
    within.find("m/one/v1/w.bin")
    faulty._fail = 1.0
    assert within.find("m/one/stable")
    assert within.find("m/one/v1/sub/a.txt")
    assert [name for name, _ in within.files.open_folder(within.find("m/one"), patient=True)[1].items] == [
        "v1",
        "stable",
    ]
    with pytest.raises(StorageUnavailable):
        within.files.open_file(within.find("m/one/v1/w.bin"), patient=True)
    faulty._fail = 0.0
    put_version(storage, {"b.txt": b"b"}, 4096, parse_reference("m/one:v2"))
    until = time.monotonic() + 10
    while True:
        try:
            assert within.find("m/one/v2/b.txt")
            break
        except Absent:
            assert time.monotonic() < until
            time.sleep(0.1)


def test_a_version_that_was_published_anew_is_another(storage: TreeStorage) -> None:
    within = inside(storage, refresh_seconds=0.0)
    old = within.find("m/one/v1/w.bin")
    storage.remove(Version("m/one", "v1"))
    time.sleep(0.1)
    put_version(storage, {"w.bin": b"other"}, 4096)
    time.sleep(0.1)
    new = within.find("m/one/v1/w.bin")
    assert (new.size, new.ino == old.ino) == (5, False)


@pytest.mark.long
def test_a_hundred_thousand_files_are_listed_without_asking_the_storage() -> None:
    storage = memory_storage()
    manifest, config, table = big_version(100_000)
    publication = storage.begin(Version("m", "v1"), manifest.digest)
    for blob in (config, table):
        publication.put_blob(blob)
    publication.commit(manifest)
    counting = Counting(storage)
    within = inside(counting)
    top = within.find("m/v1")
    within.files.open_folder(top, patient=True)
    before: dict[str, Any] = dict(counting.calls)
    began = time.process_time()
    seen = 0
    for name, named in within.files.open_folder(top, patient=False)[1].items:
        folder = within.files.nodes.remember(within.files.found(top, name, named).node)
        for inner, entry in within.files.open_folder(folder, patient=False)[1].items:
            seen += within.files.found(folder, inner, entry).node.size == 10
    assert seen == 100_000
    assert counting.calls == before
    assert time.process_time() - began < 30
    assert within.files.usage() == (1_000_000, 100_000)


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (StorageUnavailable("x"), errno.EIO),
        (OSError(errno.ESTALE, "x"), errno.ESTALE),
        (OSError("x"), errno.EIO),
        (ZeroDivisionError(), errno.EIO),
    ],
)
def test_errors_have_numbers(error: BaseException, number: int) -> None:
    assert errno_of(error) == number


def test_an_unsigned_version_is_shown_and_cannot_be_entered(storage: TreeStorage, tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "release")
    storage.required_signers = ((str(pair.public),),)
    within = inside(storage)
    version = within.find("m/one/v1")
    with pytest.raises(Unsigned) as refused:
        within.files.lookup(version, "w.bin", patient=True)
    assert errno_of(refused.value) == errno.EACCES
    found = open_version(storage, parse_reference("m/one:v1"), check=False)
    sign_version(storage, found.version, found.manifest, pair.signer())
    assert within.find("m/one/v1/w.bin").size == 10_000
