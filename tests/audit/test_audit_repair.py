"""Repairs: what is damaged is healed from whoever has it right, is read again, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import obstore
import pytest
from audit_making import FILES, LARGE, MIB, config_of, flip, folders, only, published, told

import hoist
from hoist.audit.finding import Audit
from hoist.config import Config, StorageConfig
from hoist.errors import Conflict
from hoist.model.manifest import Manifest
from hoist.storage import open_storage
from hoist.storage.tree import TreeStorage
from hoist.testing.servers import GaneshaServer, RadosgwServer, RcloneServer
from makers import files_below, noise, write_files

MODEL = "m/one/v1/unet/model.bin"


def repaired(config: Config, *storages: str) -> Audit:
    """A repair that mends all; afterwards nothing is wrong."""
    done = hoist.audit(*storages, sample="whole", repair=True, config=config)
    assert all(item.repaired for item in done.findings), done.findings
    assert done.clean
    assert hoist.audit(*storages, sample="whole", config=config).findings == []
    return done


def stamps(root: Path) -> dict[str, tuple[int, int, int]]:
    """What tells whether somebody has written a file."""
    found = {str(path.relative_to(root)): path.lstat() for path in sorted(root.rglob("*")) if path.is_file()}
    return {path: (status.st_ino, status.st_mtime_ns, status.st_ctime_ns) for path, status in found.items()}


def test_a_damaged_file_and_a_missing_one(tmp_path: Path) -> None:
    config = folders(tmp_path, "a", "b")
    published(config, tmp_path, "a//m/one:v1", "b//m/one:v1", files=LARGE)
    before, healthy, other = files_below(tmp_path / "a"), stamps(tmp_path / "a"), stamps(tmp_path / "b")
    flip(tmp_path / "a" / MODEL, MIB, 16 * MIB)
    (tmp_path / "a/m/one/v1/config.json").unlink()
    done = repaired(config, "a", "b")
    assert told(done) == [
        ("damaged", "a", "m/one:v1/unet/model.bin"), ("missing-file", "a", "m/one:v1/config.json"),
    ]  # fmt: skip
    assert files_below(tmp_path / "a") == before
    assert (tmp_path / "a" / MODEL).stat().st_mode & 0o777 == 0o444
    # Nothing that was right was written, here or there.
    after = stamps(tmp_path / "a")
    assert {path for path in after if after[path] != healthy[path]} == {MODEL, "m/one/v1/config.json"}
    assert stamps(tmp_path / "b") == other
    assert not [path for path in (tmp_path / "a/.hoist/tmp").iterdir() if path.name != "lock"]


def test_sizes(tmp_path: Path) -> None:
    config = folders(tmp_path, "a", "b")
    published(config, tmp_path, "a//m/one:v1", "b//m/one:v1")
    for path, data in ((MODEL, FILES["unet/model.bin"] + b"more"), ("m/one/v1/vae.bin", b""), ("m/one/v1/empty", b"x")):
        (tmp_path / "a" / path).chmod(0o600)
        (tmp_path / "a" / path).write_bytes(data)
        (tmp_path / "a" / path).chmod(0o444)
    assert len(repaired(config, "b", "a").findings) == 3


def test_what_the_repair_made_read_only_is_not_complained_about(tmp_path: Path) -> None:
    config = folders(tmp_path, "a", "b")
    published(config, tmp_path, "a//m/one:v1", "b//m/one:v1")
    damaged = tmp_path / "a" / MODEL
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    assert [item.kind for item in hoist.audit("a", "b", sample="whole", config=config).findings] == [
        "damaged",
        "unprotected",
    ]
    assert told(repaired(config, "a", "b")) == [("damaged", "a", "m/one:v1/unet/model.bin")]


def test_two_that_are_damaged_heal_each_other(tmp_path: Path) -> None:
    config = folders(tmp_path, "a", "b")
    published(config, tmp_path, "a//m/one:v1", "b//m/one:v1")
    flip(tmp_path / "a" / MODEL, 3)
    flip(tmp_path / "b" / MODEL, 9 * MIB)
    assert len(repaired(config, "a", "b").findings) == 2


def test_damaged_alike_stays_as_it_is(tmp_path: Path) -> None:
    config = folders(tmp_path, "a", "b")
    published(config, tmp_path, "a//m/one:v1", "b//m/one:v1")
    for name in "ab":
        flip(tmp_path / name / MODEL, 9 * MIB)
    before = stamps(tmp_path / "a"), stamps(tmp_path / "b")
    done = hoist.audit("a", "b", sample="whole", repair=True, config=config)
    assert not done.clean
    assert [item.repaired for item in done.findings] == [False, False]
    assert all("no other storage" in item.not_repaired for item in done.findings)
    assert (stamps(tmp_path / "a"), stamps(tmp_path / "b")) == before


def test_hard_links(tmp_path: Path) -> None:
    """Versions that share an inode are damaged together; healed, they share one again, and it took one file's bytes."""
    config = folders(tmp_path, "a", "b")
    published(config, tmp_path, "a//m/one:v1", "a//m/one:v2", "a//m/two:v1", "b//m/three:v9")
    places = [tmp_path / "a/m" / part / "unet/model.bin" for part in ("one/v1", "one/v2", "two/v1")]
    damaged = places[0].stat().st_ino
    flip(places[0], 8 * MIB)
    assert len(repaired(config, "a", "b").findings) == 3
    inodes = {place.stat().st_ino for place in places}
    assert len(inodes) == 1
    assert inodes != {damaged}
    assert all(place.read_bytes() == FILES["unet/model.bin"] for place in places)


def test_from_another_version_of_the_same_storage(tmp_path: Path) -> None:
    config = folders(tmp_path, "a")
    published(config, tmp_path, "a//m/one:v1", "a//m/two:v1")
    own = tmp_path / "a" / MODEL
    data = bytearray(own.read_bytes())
    data[5] ^= 1
    own.unlink()
    own.write_bytes(data)
    own.chmod(0o444)
    repaired(config, "a")
    assert own.read_bytes() == FILES["unet/model.bin"]


def test_links(tmp_path: Path) -> None:
    config = folders(tmp_path, "a", "b")
    source = tmp_path / "linked"
    source.mkdir()
    (source / "blob").write_bytes(FILES["vae.bin"])
    (source / "name.bin").symlink_to("blob")
    for name in "ab":
        hoist.publish(source, f"{name}//m/one:v1", config=config)
    root = tmp_path / "a/m/one/v1"
    flip(root / "blob", 7)
    # Both names of it are damaged; the link is not touched.
    assert len(repaired(config, "a", "b").findings) == 2
    (root / "name.bin").unlink()
    assert told(repaired(config, "a", "b")) == [("missing-file", "a", "m/one:v1/name.bin")]
    assert (root / "name.bin").readlink() == Path("blob")


def test_documents(tmp_path: Path) -> None:
    config = folders(tmp_path, "a", "b")
    published(config, tmp_path, "a//m/one:v1", "b//m/one:v1")
    before = files_below(tmp_path / "a")
    there = tmp_path / "a/.hoist/versions/m/one/v1"
    manifest = Manifest.parse((there / "manifest.json").read_bytes())
    flip(there / manifest.blocks.digest.replace(":", "-"), 40)
    (there / manifest.config.digest.replace(":", "-")).unlink()
    flip(tmp_path / "a" / MODEL, 5)
    # Without its block table a file cannot be checked: its damage is found when that is healed.
    done = hoist.audit("a", "b", sample="whole", repair=True, config=config)
    assert len(done.findings) == 2
    assert done.clean
    assert told(repaired(config, "a", "b")) == [("damaged", "a", "m/one:v1/unet/model.bin")]
    flip(there / "manifest.json", 0)
    assert told(repaired(config, "a", "b")) == [("damaged", "a", "m/one:v1 manifest")]
    assert files_below(tmp_path / "a") == before


def test_a_manifest_of_another_content_is_not_taken(tmp_path: Path) -> None:
    config = folders(tmp_path, "a", "b")
    published(config, tmp_path, "a//m/one:v1")
    published(config, tmp_path, "b//m/one:v1", files={"other": b"x"})
    flip(tmp_path / "a/.hoist/versions/m/one/v1/manifest.json", 0)
    before = stamps(tmp_path / "a")
    found = only(hoist.audit("a", "b", repair=True, config=config))
    assert "nobody can tell which version this was" in found.not_repaired
    assert stamps(tmp_path / "a") == before


def test_without_repair_nothing_is_written(tmp_path: Path) -> None:
    config = folders(tmp_path, "a", "b")
    published(config, tmp_path, "a//m/one:v1", "b//m/one:v1")
    flip(tmp_path / "a" / MODEL, 9 * MIB)
    before = stamps(tmp_path / "a")
    assert not hoist.audit("a", "b", sample="whole", config=config).clean
    assert stamps(tmp_path / "a") == before


def test_two_repairs_at_once(tmp_path: Path) -> None:
    config = folders(tmp_path, "a", "b")
    published(config, tmp_path, "a//m/one:v1", "a//m/two:v1", "b//m/one:v1", files=LARGE)
    before = files_below(tmp_path / "a")
    done: list[Audit] = []

    def repair() -> None:
        done.append(hoist.audit("a", "b", sample="whole", repair=True, config=config))

    flip(tmp_path / "a" / MODEL, 1, MIB, 16 * MIB)
    flip(tmp_path / "a/m/one/v1/vae.bin", 100)
    both = [Thread(target=repair) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert files_below(tmp_path / "a") == before
    assert [each.clean for each in done] == [True] * 2


@dataclass(frozen=True)
class Bucket:
    """A configuration of `a`, a bucket or an NFS share, and `b`, a directory; what breaks the files of `a`."""

    config: Config
    flip: Callable[[str, int], None]
    remove: Callable[[str], None]
    shares: bool = False


@pytest.fixture(params=["radosgw", pytest.param("rclone", marks=pytest.mark.matrix)])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Bucket:
    """On rclone's server, whose objects are files, bits are flipped where they lie; on radosgw other objects are put."""
    server = request.getfixturevalue(f"{request.param}_server")
    assert isinstance(server, RadosgwServer | RcloneServer)
    name = f"audit-{uuid4().hex[:12]}"
    server.create_bucket(name)
    (tmp_path / "b").mkdir()
    storage = StorageConfig("a", f"s3://{name}/models", endpoint=server.endpoint, region=server.region)
    keys = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    config = config_of(storage, StorageConfig("b", str(tmp_path / "b")), home=tmp_path, **keys)
    store = server.open_store(name)

    def put_other(path: str, offset: int) -> None:
        data = bytearray(obstore.get(store, f"models/{path}").bytes().to_bytes())
        data[offset] ^= 1
        obstore.put(store, f"models/{path}", bytes(data))

    def flip_at_rest(path: str, offset: int) -> None:
        flip(server.data_folder / name / "models" / path, offset)

    return Bucket(
        config,
        flip_at_rest if isinstance(server, RcloneServer) else put_other,
        lambda path: obstore.delete(store, f"models/{path}"),
    )


@pytest.mark.matrix
def test_an_nfs_share(ganesha: GaneshaServer, tmp_path: Path) -> None:
    root = ganesha.data_folder / f"audit-{uuid4().hex}"
    for folder in (root, tmp_path / "b"):
        folder.mkdir()
    share = StorageConfig("a", f"{ganesha.url}/{root.name}")
    config = config_of(share, StorageConfig("b", str(tmp_path / "b")), home=tmp_path)

    def remove(path: str) -> None:
        # By way of the server: what goes behind its back it may not see for a minute.
        with open_storage(share, config.environ) as storage:
            assert isinstance(storage, TreeStorage)
            storage.objects.delete([path])

    heal_all(Bucket(config, lambda path, offset: flip(root / path, offset), remove, shares=True), tmp_path)
    assert (root / MODEL).read_bytes() == LARGE["unet/model.bin"]
    # Both versions have one file again.
    assert (root / MODEL).stat().st_ino == (root / "m/two/v1/unet/model.bin").stat().st_ino


def test_a_bucket(bucket: Bucket, tmp_path: Path) -> None:
    heal_all(bucket, tmp_path)


def heal_all(bucket: Bucket, tmp_path: Path) -> None:
    config = bucket.config
    published(config, tmp_path, "a//m/one:v1", "a//m/two:v1", "b//m/one:v1", files=LARGE)
    # On a share both versions of the model are one file: other bits then.
    for path, offset in ((MODEL, 9 * MIB), ("m/one/v1/vae.bin", 3), ("m/two/v1/unet/model.bin", 10 * MIB)):
        bucket.flip(path, offset)
    bucket.remove("m/one/v1/config.json")
    done = repaired(config, "a", "b")
    shared = [("damaged", "a", "m/two:v1/vae.bin")] if bucket.shares else []
    assert told(done) == [
        ("damaged", "a", "m/one:v1/unet/model.bin"),
        ("damaged", "a", "m/one:v1/vae.bin"),
        ("damaged", "a", "m/two:v1/unet/model.bin"),
        *shared,
        ("missing-file", "a", "m/one:v1/config.json"),
    ]
    assert hoist.collect("a", grace_seconds=0, config=config).found == []
    for label in ("one", "two"):
        assert hoist.verify(f"a//m/{label}:v1", config=config).damaged == ()


def test_packs(tmp_path: Path) -> None:
    config = folders(tmp_path, "a")
    source = write_files(tmp_path / "small", {f"{number:02}.json": noise(3000, number) for number in range(40)})
    hoist.publish(source, "a//m/one:v1", pack_below=100_000, config=config)
    before = files_below(tmp_path / "a")
    there = tmp_path / "a/.hoist/versions/m/one/v1"
    (index,), (pack,) = there.glob("packs-*"), there.glob("pack-*")
    for broken in (pack, index):
        flip(broken, 60)
        found = only(hoist.audit("a", sample="whole", config=config))
        assert (found.kind, found.severity, found.part) == ("damaged", "warning", "pack")
        repaired(config, "a")
        assert files_below(tmp_path / "a") == before
    pack.unlink()
    repaired(config, "a")
    # Of a file that is damaged no pack is made.
    flip(pack, 60)
    flip(tmp_path / "a/m/one/v1/07.json", 5)
    done = hoist.audit("a", sample="whole", repair=True, config=config)
    assert [item.repaired for item in done.findings] == [False, False]


def test_a_version_that_is_removed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is restored too late belongs to nobody, and is gone again: the label can be used."""
    from hoist.storage import restoring

    config = folders(tmp_path, "a", "b")
    published(config, tmp_path, "a//m/one:v1", "b//m/one:v1")
    flip(tmp_path / "a" / MODEL, 9 * MIB)
    require: Callable[..., None] = restoring._require
    calls = 0

    def slow(*arguments: Any) -> None:
        nonlocal calls
        require(*arguments)
        calls += 1
        if calls == 2:
            # Between the last look and the file's coming.
            hoist.remove("a//m/one:v1", config=config)

    monkeypatch.setattr(restoring, "_require", slow)
    done = hoist.audit("a", "b", sample="whole", repair=True, config=config)
    assert "removed" in done.findings[0].not_repaired
    assert not (tmp_path / "a/m").exists()
    hoist.publish(tmp_path / "source", "a//m/one:v1", config=config)
    assert hoist.audit("a", "b", sample="whole", config=config).clean


def test_another_version_that_came_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hoist.storage import restoring

    config = folders(tmp_path, "a", "b")
    published(config, tmp_path, "a//m/one:v1", "b//m/one:v1")
    flip(tmp_path / "a" / MODEL, 9 * MIB)
    require: Callable[..., None] = restoring._require
    calls = 0

    def late(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            hoist.remove("a//m/one:v1", config=config)
            (tmp_path / "new/unet").mkdir(parents=True)
            (tmp_path / "new/unet/model.bin").write_bytes(b"another")
            hoist.publish(tmp_path / "new", "a//m/one:v1", config=config)
        require(*arguments)

    monkeypatch.setattr(restoring, "_require", late)
    done = hoist.audit("a", "b", sample="whole", repair=True, config=config)
    assert "another version by now" in done.findings[0].not_repaired
    assert (tmp_path / "a" / MODEL).read_bytes() == b"another"
    with pytest.raises(Conflict):
        hoist.publish(tmp_path / "source", "a//m/one:v1", config=config)
