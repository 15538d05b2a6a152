"""Packs from publish to removal: made, gone on with, shared, used by pull, checked by verify, collected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from hoist.errors import LocalError, UsageError
from hoist.model.manifest import Manifest
from hoist.model.packs import MOST_PACK_BELOW, PACK_BELOW, lay_out
from hoist.model.reference import parse_reference
from hoist.progress import Progress
from hoist.storage import layout
from hoist.storage.base import Storage, Traits, Version
from hoist.storage.memory import MemoryObjects
from hoist.storage.tree import TreeStorage
from hoist.storage.wrap import Counting
from hoist.testing.servers import RadosgwServer, RcloneServer
from hoist.transfer.collect import collect_storage
from hoist.transfer.pack import Packer
from hoist.transfer.publish import Published
from hoist.transfer.pull import Pulled, pull_version
from hoist.transfer.verify import Verified, verify_version
from makers import (
    directory_storage,
    files_below,
    finish,
    memory_storage,
    noise,
    opened,
    publish,
    run_python,
    write_files,
)
from storage_fixtures import OpenOn

pytest_plugins = ["storage_fixtures"]
MIB = 1 << 20
V1 = Version("m/one", "v1")
FILES = {f"part-{n % 4}/{n:03}.json": noise(3000 + n, n) for n in range(40)} | {
    "again/000.json": noise(3000, 0),
    "empty": b"",
    "model.bin": noise(MIB, 77),
    "unet/weights.safetensors": b"\x02\0\0\0\0\0\0\0{}",
}
PACKED = {path for path, data in FILES.items() if 0 < len(data) < PACK_BELOW}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_files(tmp_path / "source", FILES)


def packing() -> TreeStorage:
    """Memory that says of itself that it is better off with packs."""
    storage = memory_storage()
    storage.traits = Traits(packs=True)
    return storage


def pack_keys(storage: TreeStorage) -> list[str]:
    return [info.key for info in storage.objects.list(".hoist/") if layout.pack_of(info.key) is not None]


def pull(storage: Storage, folder: Path, *include: str) -> Pulled:
    return pull_version(opened(storage), folder, Progress(), include=include)


def verify(storage: Storage) -> Verified:
    return verify_version(opened(storage), Progress())


def objects(storage: TreeStorage) -> dict[str, bytes]:
    return {info.key: storage.objects.get(info.key).data for info in storage.objects.list("")}


def test_a_version_is_the_same_with_and_without(source: Path, tmp_path: Path) -> None:
    plain, packed, other = packing(), packing(), packing()
    done = [publish(source, plain, pack_below=0), publish(source, packed), publish(source, other, pack_below=3020)]
    assert len({each.digest for each in done}) == 1
    assert [each.packs for each in done] == [0, 1, 1]
    assert all(each.sent_bytes == each.size for each in done)
    assert done[1].pack_bytes == lay_out(opened(packed).manifest, PACK_BELOW).packs[0].size
    beside = {key: data for key, data in objects(packed).items() if key not in pack_keys(packed)}
    assert beside == objects(plain)
    for number, storage in enumerate((plain, packed, other)):
        assert not verify(storage).damaged
        pull(storage, tmp_path / str(number))
        assert files_below(tmp_path / str(number)) == FILES


@pytest.mark.parametrize(
    ("packs", "asked", "made"), [(True, None, 1), (False, None, 0), (False, 4096, 1), (True, 0, 0), (True, 3000, 0)]
)
def test_where_packs_are_made(source: Path, packs: bool, asked: int | None, made: int) -> None:
    storage = memory_storage()
    storage.traits = Traits(packs=packs)
    assert publish(source, storage, pack_below=asked).packs == made
    assert len(pack_keys(storage)) == 2 * made


def test_a_directory_has_them_if_asked(source: Path, tmp_path: Path) -> None:
    storage = directory_storage(tmp_path / "models")
    assert publish(source, storage, "m/plain:v1").packs == 0
    assert publish(source, storage, pack_below=PACK_BELOW).packs == 1
    counting = Counting(storage)
    pull(counting, tmp_path / "out")
    assert files_below(tmp_path / "out") == FILES
    assert counting.calls["read_pack"] == 1


@pytest.mark.parametrize("below", [-1, MOST_PACK_BELOW + 1])
def test_limits(source: Path, below: int) -> None:
    with pytest.raises(UsageError, match="4194304"):
        publish(source, packing(), pack_below=below)


def test_a_single_file_has_no_pack(tmp_path: Path) -> None:
    storage = Counting(packing())
    done = publish(write_files(tmp_path / "s", {"m.bin": noise(1000)}), storage)
    assert done.packs == 0
    assert opened(storage).small_files() is None
    assert "read_packs" not in storage.calls


def test_a_malformed_weight_file_is_refused_also_if_it_is_small(source: Path) -> None:
    write_files(source, {"bad.safetensors": b"no weights at all"})
    with pytest.raises(Exception, match=r"bad\.safetensors"):
        publish(source, packing())
    assert publish(source, packing(), checked=False).packs == 1


def test_each_file_is_read_once(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opens: list[str] = []
    real = Path.open

    def noted(self: Path, *words: Any, **more: Any) -> Any:
        opens.append(str(self))
        return real(self, *words, **more)

    monkeypatch.setattr(Path, "open", noted)
    publish(source, packing())
    small = [path for path in opens if path.startswith(str(source)) and not path.endswith("model.bin")]
    assert sorted(small) == sorted(str(source / path) for path in {*PACKED, "empty"})
    opens.clear()
    # Where memory ends they are read again, and must be what they were.
    monkeypatch.setattr("hoist.transfer.pack._KEPT_BYTES", 10_000)
    storage = packing()
    publish(source, storage)
    assert len(opens) > len(small)
    assert not verify(storage).damaged_packs


def test_a_file_that_changes_meanwhile(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoist.transfer.pack._KEPT_BYTES", 0)
    real = Packer.send

    def send(self: Packer, index: Any) -> int:
        (source / "part-1/001.json").write_bytes(noise(3001, 999))
        return real(self, index)

    monkeypatch.setattr(Packer, "send", send)
    storage = packing()
    with pytest.raises(LocalError, match=r"001\.json changed"):
        publish(source, storage)
    assert list(storage.versions()) == []


class Killed(BaseException):
    """As SIGKILL: nothing is cleaned up behind it."""


class Mortal(MemoryObjects):
    """Memory whose user is killed before a write to a key that `dies` says."""

    traits = Traits(packs=True)

    def __init__(self) -> None:
        super().__init__()
        self.dies: Callable[[str], bool] = lambda key: False

    def put(self, key: str, data: bytes | memoryview) -> None:
        if self.dies(key):
            raise Killed
        super().put(key, data)

    def create(self, key: str, data: bytes) -> bool:
        if self.dies(key):
            raise Killed
        return super().create(key, data)


@pytest.mark.parametrize("before", ["part-2/018", "/pack-", "/packs-", "/sha256-", "manifest.json"])
def test_a_killed_publish_goes_on(source: Path, before: str) -> None:
    mortal = Mortal()
    storage = TreeStorage(mortal, "oss")
    mortal.dies = lambda key: before in key
    with pytest.raises(Killed):
        publish(source, storage)
    assert list(storage.versions()) == []
    mortal.dies = lambda key: False
    counting = Counting(storage)
    done = publish(source, counting)
    assert done.resumed_bytes > 0
    assert done.resumed_bytes + done.sent_bytes == done.size
    has_pack = before in ("/packs-", "/sha256-", "manifest.json")
    assert counting.calls.get("put_pack", 0) == (not has_pack)
    found = verify(storage)
    assert (found.packs, found.damaged, found.damaged_packs) == (1, (), ())
    assert len(pack_keys(storage)) == 2
    clean(storage)


def clean(storage: TreeStorage) -> None:
    """Nothing is left that no version needs."""
    needed = set()
    for version in storage.versions():
        manifest = Manifest.parse(storage.read_manifest(version))
        index = lay_out(manifest, PACK_BELOW)
        needed |= {layout.manifest_key(version), layout.packs_key(version, manifest.digest)}
        needed |= {layout.pack_key(version, pack.digest) for pack in index.packs}
        needed |= {layout.blob_key(version, blob.digest) for blob in (manifest.config, manifest.blocks)}
        needed |= {layout.file_key(version, file.path) for file in manifest.files}
        needed |= {layout.marker_key(file.digest, version) for file in manifest.files if layout.is_marked(file)}
        needed |= {layout.marker_key(pack.digest, version) for pack in index.packs if pack.size >= MIB}
    assert set(objects(storage)) == needed


def test_removing_leaves_nothing(source: Path, tmp_path: Path) -> None:
    storage = packing()
    write_files(source, {f"more/{n}": noise(60_000, 1000 + n) for n in range(20)})
    publish(source, storage)
    publish(source, storage, "m/two:v1")
    clean(storage)
    storage.remove(V1)
    clean(storage)
    storage.remove(Version("m/two", "v1"))
    assert objects(storage) == {}


def test_packs_of_a_killed_publish_are_collected(source: Path) -> None:
    mortal = Mortal()
    storage = TreeStorage(mortal, "oss")
    mortal.dies = lambda key: key.endswith("manifest.json")
    with pytest.raises(Killed):
        publish(source, storage)
    assert len(pack_keys(storage)) == 2
    assert collect_storage(storage).found == []
    collect_storage(storage, grace_seconds=-10, delete=True)
    assert objects(storage) == {}


def test_packs_that_no_index_names_are_collected(source: Path) -> None:
    storage = packing()
    publish(source, storage)
    publish(source, storage, pack_below=3020)
    assert len(pack_keys(storage)) == 3
    assert not verify(storage).damaged_packs
    # Whoever took over a label may have left the packs of other content.
    storage.objects.put(layout.packs_key(V1, "sha256:" + "0" * 64), b"of another")
    storage.objects.put(layout.pack_key(Version("m/gone", "v1"), "sha256:" + "1" * 64), b"of nobody")
    assert collect_storage(storage).found == []
    found = collect_storage(storage, grace_seconds=-10, delete=True)
    assert {item.kind for item in found.found} == {"document"}
    assert len(found.deleted) == 3
    assert len(pack_keys(storage)) == 2
    assert verify(storage).packs == 1
    assert not verify(storage).damaged_packs


def test_packs_of_an_index_that_cannot_be_read_are_kept(source: Path) -> None:
    storage = packing()
    digest = publish(source, storage).digest
    storage.objects.put(layout.packs_key(V1, digest), b"HOISTPK\x02 of a newer Hoist")
    assert collect_storage(storage, grace_seconds=-10, delete=True).found == []
    assert len(pack_keys(storage)) == 2
    storage.remove(V1)
    assert objects(storage) == {}


def test_a_version_that_is_there_gets_packs(source: Path) -> None:
    storage = packing()
    publish(source, storage, pack_below=0)
    # Running it again does nothing, unless packs are asked for.
    assert (publish(source, storage).already, pack_keys(storage)) == (True, [])
    done = publish(source, storage, pack_below=PACK_BELOW)
    assert (done.already, done.packs, done.sent_bytes) == (True, 1, 0)
    clean(storage)
    # So damaged ones are mended.
    key = next(key for key in pack_keys(storage) if "/pack-" in key)
    storage.objects.put(key, bytes(done.pack_bytes))
    assert verify(storage).damaged_packs
    publish(source, storage, pack_below=PACK_BELOW)
    assert not verify(storage).damaged_packs
    clean(storage)


def test_a_neighbour_s_packs_are_copied(source: Path) -> None:
    write_files(source, {f"more/{n:03}": noise(100_000, 1000 + n) for n in range(500)})
    storage = packing()
    first = publish(source, storage)
    assert first.packs > 2
    (source / "more/250").write_bytes(noise(90_000, 5))
    counting = Counting(storage)
    second = publish(source, counting, "m/one:v2")
    assert 0 < second.pack_bytes < first.pack_bytes / 2
    assert counting.calls["put_pack"] < second.packs
    clean(storage)
    assert not verify_version(opened(storage, parse_reference("m/one:v2")), Progress()).damaged_packs


def test_two_publishers_at_once(source: Path, tmp_path: Path) -> None:
    for _ in range(5):
        storage = packing()
        ended: list[Published | BaseException] = []

        def run(below: int, storage: Storage, ended: list[Published | BaseException]) -> None:
            try:
                ended.append(publish(source, storage, pack_below=below))
            except BaseException as error:
                ended.append(error)

        threads = [Thread(target=run, args=(below, storage, ended)) for below in (PACK_BELOW, 3015, PACK_BELOW)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(isinstance(each, Published) for each in ended), ended
        found = verify(storage)
        assert (found.damaged, found.damaged_packs, found.packs) == ((), (), 1)
        collect_storage(storage, grace_seconds=-10, delete=True)
        assert not verify(storage).damaged_packs
        storage.remove(V1)
        assert objects(storage) == {}


def test_verify_names_what_is_damaged(source: Path) -> None:
    storage = packing()
    digest = publish(source, storage).digest
    pack = lay_out(opened(storage).manifest, PACK_BELOW).packs[0]
    found = verify(storage)
    assert (found.packs, found.damaged_packs) == (1, ())
    key = layout.pack_key(V1, pack.digest)
    good = storage.objects.get(key).data
    for bad in (None, good[:-1], b"", good[:9] + bytes([good[9] ^ 1]) + good[10:]):
        storage.objects.delete([key]) if bad is None else storage.objects.put(key, bad)
        counting = Counting(storage)
        found = verify(counting)
        assert (found.damaged, found.damaged_packs) == ((), (pack.digest,))
        assert counting.calls["read_pack"] < 5
    storage.objects.put(layout.packs_key(V1, digest), b"HOISTPK\x01")
    found = verify(storage)
    assert (found.packs, found.damaged, found.damaged_packs) == (0, (), ("index",))


def test_pull_of_a_part(source: Path, tmp_path: Path) -> None:
    storage = packing()
    publish(source, storage)
    counting = Counting(storage)
    pull(counting, tmp_path / "few", "part-0/*")
    assert files_below(tmp_path / "few") == {path: data for path, data in FILES.items() if path.startswith("part-0/")}
    # Ten files are not worth a look at the packs.
    assert "read_packs" not in counting.calls
    pull(counting, tmp_path / "many", "part-*", "again/*")
    assert files_below(tmp_path / "many") == {path: data for path, data in FILES.items() if "/0" in path}
    assert counting.calls["read_pack"] == 1


def test_a_pull_goes_on(source: Path, tmp_path: Path) -> None:
    storage = packing()
    publish(source, storage)
    out = tmp_path / "out"
    pull(storage, out)
    for path in [*FILES][5:30]:
        (out / path).unlink()
    write_files(out, {".hoist-pull/" + opened(storage).entry("part-2/010.json").digest[7:]: b"half"})
    done = pull(storage, out)
    assert done.fetched_bytes == sum(len(FILES[path]) for path in [*FILES][5:30])
    assert files_below(out) == FILES


@pytest.mark.parametrize("spoiled", ["missing", "short", "noise", "index"])
def test_a_pull_whatever_the_packs_are_worth(source: Path, tmp_path: Path, spoiled: str) -> None:
    storage = packing()
    digest = publish(source, storage).digest
    pack = lay_out(opened(storage).manifest, PACK_BELOW).packs[0]
    key = layout.pack_key(V1, pack.digest)
    if spoiled == "missing":
        storage.objects.delete([key])
    elif spoiled == "index":
        storage.objects.put(layout.packs_key(V1, digest), noise(100))
    else:
        storage.objects.put(key, noise(pack.size if spoiled == "noise" else 100))
    pull(storage, tmp_path / "out")
    assert files_below(tmp_path / "out") == FILES


@pytest.mark.parametrize("server", ["radosgw", "rclone"])
def test_on_a_bucket(
    source: Path, tmp_path: Path, server: str, open_on: OpenOn, request: pytest.FixtureRequest
) -> None:
    found: RadosgwServer | RcloneServer = request.getfixturevalue(f"{server}_server")
    write_files(source, {f"more/{n:03}": noise(90_000 + n, 1000 + n) for n in range(160)})
    storage = open_on(found)
    assert isinstance(storage, TreeStorage)
    done = publish(source, storage)
    assert done.packs >= 1
    assert publish(source, storage, "m/two:v1").pack_bytes == done.pack_bytes * (done.pack_bytes < MIB)
    counting = Counting(storage)
    pull(counting, tmp_path / "out")
    assert files_below(tmp_path / "out") == files_below(source)
    small = sum(0 < len(data) < PACK_BELOW for data in files_below(source).values())
    assert counting.calls["read_pack"] + counting.calls["read_packs"] < small / 20
    assert not verify(storage).damaged_packs
    storage.remove(V1)
    storage.remove(Version("m/two", "v1"))
    assert list(storage.objects.list("")) == []


_MEMORY = """
import sys, time
from pathlib import Path
from hoist.progress import Progress
from hoist.storage.base import Traits
from makers import directory_storage, opened, publish
from hoist.transfer.pull import pull_version
from hoist.transfer.verify import verify_version
def status(field):
    return next(int(l.split()[1]) // 1024 for l in open("/proc/self/status") if l.startswith(field))
storage = directory_storage(Path(sys.argv[2]))
before = status("VmRSS")
if sys.argv[4] == "publish":
    print(publish(Path(sys.argv[1]), storage, pack_below=256 << 10).packs)
else:
    packed = opened(storage)
    pull_version(packed, Path(sys.argv[3]), Progress())
    print(packed.small_files() is not None)
print(status("VmHWM") - before)
"""


@pytest.mark.long
@pytest.mark.slow
def test_memory_for_ten_thousand_files(tmp_path: Path) -> None:
    tile = noise(100_000)
    for number in range(10_000):
        folder = tmp_path / "source" / f"{number % 100:02}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:05}").write_bytes(number.to_bytes(8, "little") + tile[: 60_000 + number % 100])
    words = [str(tmp_path / name) for name in ("source", "models", "out")]
    packs, peak = finish(run_python(_MEMORY, *words, "publish", PYTHONDONTWRITEBYTECODE="1")).split()
    assert int(packs) > 20
    assert int(peak) < 512
    used, peak = finish(run_python(_MEMORY, *words, "pull")).split()
    assert used == "True"
    assert int(peak) < 512
    assert sum(1 for path in (tmp_path / "out").rglob("*") if path.is_file()) == 10_000
