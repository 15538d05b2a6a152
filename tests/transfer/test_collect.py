"""Collecting: all that killed publishes and removals leave, and never a byte of a version."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_staged_publish import big, killed_publish, uploads

from hoist.errors import Conflict, UsageError
from hoist.model.manifest import Manifest, digest_of
from hoist.storage import layout
from hoist.storage.base import Storage, Tag, Version
from hoist.storage.memory import MemoryObjects
from hoist.storage.tree import TreeStorage
from hoist.testing.conformance.base import Content, assert_holds, finish, put, sample, small, ver
from hoist.testing.conformance.base import publish as publish_content
from hoist.testing.servers import RadosgwServer, S3Server
from hoist.transfer.collect import GRACE_SECONDS, collect_storage, parse_duration
from makers import directory_storage, memory_storage, publish, run_python
from storage_fixtures import BUCKET, OpenOn

pytest_plugins = ["storage_fixtures"]
MIB = 1 << 20
# Everything is older than that.
NOW = -10.0
ONE, TWO = small("one"), Content({"large.bin": sample("large", layout.MARKED_FROM_BYTES), "config.json": b"{}"})


class Killed(BaseException):
    """What no code catches: as SIGKILL, nothing is cleaned up behind it."""


class Mortal(MemoryObjects):
    """Memory whose user is killed before the n-th write; None: never."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None

    def _live(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed

    def put(self, key: str, data: bytes | memoryview) -> None:
        self._live()
        super().put(key, data)

    def swap(self, key: str, data: bytes, expected: str | None) -> bool:
        self._live()
        return super().swap(key, data, expected)

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._live()
            super().delete([key])


def needed(storage: Storage) -> set[str]:
    """The keys that the versions of a storage need."""
    keys = set()
    for version in storage.versions():
        manifest = Manifest.parse(storage.read_manifest(version))
        keys |= {layout.file_key(version, file.path) for file in manifest.files} | {layout.manifest_key(version)}
        keys |= {layout.blob_key(version, blob.digest) for blob in (manifest.config, manifest.blocks)}
    return keys


def clean(storage: Storage) -> None:
    """The storage holds what its versions need and nothing else, but for markers of theirs."""
    assert isinstance(storage, TreeStorage)
    there = {info.key for info in storage.objects.list("")}
    assert needed(storage) <= there
    versions = set(storage.versions())
    for key in there - needed(storage):
        assert key.startswith(layout.FILES), key
        assert layout.version_of_tail(key.removeprefix(layout.FILES).partition("/")[2]) in versions
    assert list(storage.objects.unfinished()) == []


def killed(objects: Mortal, after: int, action: Callable[[], object]) -> None:
    objects.left = after
    try:
        action()
    except (Killed, Conflict):
        pass
    finally:
        objects.left = None


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(("publish", "replace", "remove", "collect")),
        st.sampled_from(("a:v1", "a:v2", "a/b:c")),
        st.sampled_from((ONE, TWO, small("three"))),
        st.integers(0, 14),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(_STEPS)
def test_whatever_was_killed_only_versions_are_left(tmp_path: Path, steps: list[tuple[str, str, Content, int]]) -> None:
    objects = Mortal()
    storage = TreeStorage(objects, "nas")
    for action, name, content, after in steps:
        run: dict[str, Callable[[], object]] = {
            "publish": lambda: publish_content(storage, name, content, tmp_path),  # noqa: B023
            "replace": lambda: publish_content(storage, name, content, tmp_path, replace_unfinished=True),  # noqa: B023
            "remove": lambda: storage.remove(ver(name)) if ver(name) in storage.versions() else None,  # noqa: B023
            "collect": lambda: collect_storage(storage, grace_seconds=NOW, delete=True),
        }
        killed(objects, after, run[action])
    before = needed(storage)
    collect_storage(storage, grace_seconds=NOW, delete=True)
    assert needed(storage) == before
    clean(storage)
    for version in storage.versions():
        digest = Manifest.parse(storage.read_manifest(version)).digest
        content = next(each for each in (ONE, TWO, small("three")) if each.digest == digest)
        assert_holds(storage, str(version), content)
    # All labels are free, or their versions as they were.
    assert not list(objects.list(layout.CLAIMS))


def test_nothing_young_is_touched(tmp_path: Path) -> None:
    storage = memory_storage()
    put(storage.begin(ver("a:v1"), ONE.digest), ONE, tmp_path, ["config.json"])
    before = {info.key for info in storage.objects.list("")}
    done = collect_storage(storage, delete=True)
    assert (done.found, done.deleted) == ([], [])
    assert {info.key for info in storage.objects.list("")} == before
    assert GRACE_SECONDS == 86400


def test_a_dry_run_deletes_nothing(tmp_path: Path) -> None:
    storage = memory_storage()
    put(storage.begin(ver("a:v1"), ONE.digest), ONE, tmp_path, ONE.files)
    before = {info.key for info in storage.objects.list("")}
    done = collect_storage(storage, grace_seconds=NOW)
    assert done.dry_run
    assert [item.kind for item in done.found] == ["publish"]
    assert done.size >= sum(map(len, ONE.files.values()))
    assert not done.deleted
    assert {info.key for info in storage.objects.list("")} == before


def test_a_claim_that_outlived_its_publish_goes_and_the_version_stays(tmp_path: Path) -> None:
    storage = memory_storage()
    publish_content(storage, "a:v1", ONE, tmp_path)
    storage.objects.put(layout.claim_key(ver("a:v1")), b"{}")
    done = collect_storage(storage, grace_seconds=NOW, delete=True)
    assert [item.kind for item in done.deleted] == ["publish"]
    assert done.size == 2
    clean(storage)
    assert_holds(storage, "a:v1", ONE)


def test_other_peoples_files_stay(tmp_path: Path) -> None:
    storage = memory_storage()
    publish_content(storage, "a:v1", ONE, tmp_path)
    storage.objects.put("notes/readme.txt", b"mine")
    storage.objects.put("a/v1/stray.txt", b"mine too")
    storage.objects.put("a/v3/file.bin", b"and mine")
    assert not collect_storage(storage, grace_seconds=NOW, delete=True).found


def test_a_manifest_that_cannot_be_read_keeps_everything(tmp_path: Path) -> None:
    storage = memory_storage()
    publish_content(storage, "a:v1", ONE, tmp_path)
    storage.objects.put(layout.manifest_key(ver("a:v1")), b"garbage")
    storage.objects.put(layout.claim_key(ver("a:v1")), b"{}")
    storage.objects.put(layout.blob_key(ver("a:v1"), "sha256:" + "0" * 64), b"another")
    before = {info.key for info in storage.objects.list("")}
    done = collect_storage(storage, grace_seconds=NOW, delete=True)
    assert not done.deleted
    assert {info.key for info in storage.objects.list("")} - before <= {layout.claim_key(ver("a:v1"))}


def test_a_live_publisher_loses_its_label_not_its_version(tmp_path: Path) -> None:
    """With a grace time that is far too short."""
    storage = memory_storage()
    begun = storage.begin(ver("a:v1"), ONE.digest)
    put(begun, ONE, tmp_path, ONE.files)
    collect_storage(storage, grace_seconds=NOW, delete=True)
    with pytest.raises(Conflict, match="took over"):
        finish(begun, ONE)
    assert list(storage.versions()) == []
    publish_content(storage, "a:v1", ONE, tmp_path)
    assert_holds(storage, "a:v1", ONE)


class Interrupted(MemoryObjects):
    """Calls `before[operation, key]` once, right before it."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[tuple[str, str], Callable[[], object]] = {}

    def swap(self, key: str, data: bytes, expected: str | None) -> bool:
        self._interrupt("swap", key)
        return super().swap(key, data, expected)

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._interrupt("delete", key)
        super().delete(keys)

    def _interrupt(self, operation: str, key: str) -> None:
        action = self.before.pop((operation, key), None)
        if action:
            action()


@pytest.mark.parametrize("moment", ["swap", "delete"])
def test_a_publisher_that_commits_at_the_worst_moment(tmp_path: Path, moment: str) -> None:
    objects = Interrupted()
    storage = TreeStorage(objects, "nas")
    begun = storage.begin(ver("a:v1"), ONE.digest)
    put(begun, ONE, tmp_path, ONE.files)
    ended: list[object] = []

    def commit() -> None:
        try:
            finish(begun, ONE)
            ended.append(None)
        except Conflict as error:
            ended.append(error)

    key = layout.claim_key(ver("a:v1")) if moment == "swap" else layout.file_key(ver("a:v1"), "config.json")
    objects.before[moment, key] = commit
    done = collect_storage(storage, grace_seconds=NOW, delete=True)
    if moment == "swap":
        # It was first: the collector must see it.
        assert ended == [None]
        assert not done.deleted
        assert_holds(storage, "a:v1", ONE)
    else:
        assert isinstance(ended[0], Conflict)
        assert list(storage.versions()) == []
        collect_storage(storage, grace_seconds=NOW, delete=True)
    clean(storage)


def test_a_sealed_claim_is_not_taken_over(tmp_path: Path) -> None:
    """A publisher that is about to write its manifest cannot be overtaken by one that deletes its files."""
    objects = Interrupted()
    storage = TreeStorage(objects, "nas")
    begun = storage.begin(ver("a:v1"), ONE.digest)
    put(begun, ONE, tmp_path, ONE.files)
    refused: list[str] = []

    def take_over() -> None:
        with pytest.raises(Conflict) as caught:
            storage.begin(ver("a:v1"), TWO.digest, replace_unfinished=True)
        refused.append(str(caught.value))

    objects.before["swap", layout.manifest_key(ver("a:v1"))] = take_over
    finish(begun, ONE)
    assert "about to end" in refused[0]
    assert_holds(storage, "a:v1", ONE)


_PUBLISH = """
import sys
from pathlib import Path
from makers import directory_storage, publish
from hoist.storage.wrap import Latency
print("go", flush=True)
publish(Path(sys.argv[1]), Latency(directory_storage(Path(sys.argv[2])), 0.01), sys.argv[3])
"""


def test_sigkill_at_random_moments_then_collect(tmp_path: Path) -> None:
    source = tmp_path / "s"
    for number in range(3):
        big(source / f"shard-{number}.bin", 17 * MIB, number)
    (source / "config.json").write_bytes(b"{}")
    storage = directory_storage(tmp_path / "models")
    publish(source, storage, "kept:v1")
    rng = random.Random()
    for turn in range(5):
        process = run_python(_PUBLISH, str(source), str(tmp_path / "models"), f"m/{turn}:v1")
        assert process.stdout
        assert process.stdout.readline() == "go\n"
        time.sleep(rng.uniform(0.01, 0.5))
        process.kill()
        process.communicate()
    collect_storage(storage, grace_seconds=NOW, delete=True)
    assert Version("kept", "v1") in list(storage.versions())
    clean(storage)


def test_a_file_that_is_being_written_is_left(tmp_path: Path) -> None:
    storage = directory_storage(tmp_path / "models")
    source = big(tmp_path / "m.bin", 17 * MIB)
    staging = storage.staging(ver("a:v1"), [17 * MIB])
    assert staging is not None
    staged = staging.open("m.bin", 17 * MIB, source)
    done = collect_storage(storage, grace_seconds=NOW, delete=True)
    assert ([item.kind for item in done.used], done.deleted) == (["upload"], [])
    staged.close()
    assert collect_storage(storage, grace_seconds=NOW, delete=True).deleted
    clean(storage)
    # The lock that writers share is no leftover.
    publish(big(tmp_path / "small.bin", 10), storage, "a:v1")
    publish(big(tmp_path / "small.bin", 11), storage, "a:v2")
    for version in storage.versions("a"):
        storage.set_tag(Tag("a", "t", version.label, digest_of(storage.read_manifest(version))))
    assert (tmp_path / "models/.hoist/tmp/lock").exists()
    assert not collect_storage(storage, grace_seconds=NOW, delete=True).found


def test_unfinished_uploads_of_a_killed_publish(radosgw_server: RadosgwServer, open_on: OpenOn, tmp_path: Path) -> None:
    source = big(tmp_path / "m.bin", 100 * MIB)
    url = f"s3://{BUCKET}/{tmp_path.name}"
    storage = open_on(radosgw_server, url=url)
    other = open_on(radosgw_server, url=f"{url}-other")
    beside = uploads(other).begin("m/one/v1/m.bin")
    # Of other content: what the storage holds already would be copied there in one piece.
    publish(big(tmp_path / "kept.bin", 17 * MIB, 1), storage, "kept:v1")
    killed_publish(radosgw_server, source, url, tmp_path / "journals", 32 * MIB)
    assert not collect_storage(storage, delete=True).found
    found = collect_storage(storage, grace_seconds=NOW).found
    (left,) = [item for item in found if item.kind == "upload"]
    assert left.name == "m/one/v1/m.bin"
    collect_storage(storage, grace_seconds=NOW, delete=True)
    clean(storage)
    assert list(storage.versions()) == [ver("kept:v1")]
    # Another prefix is another storage.
    assert [each.upload for each in uploads(other).open_uploads()] == [beside]
    # The journal that speaks of it does no harm.
    done = publish(source, storage, uploads=tmp_path / "journals")
    assert done.sent_bytes + done.copied_bytes == done.size


@pytest.mark.parametrize("s3_server", ["radosgw", "moto", "rclone"], indirect=True)
def test_collect_on_each_server(s3_server: S3Server, open_on: OpenOn, tmp_path: Path) -> None:
    storage: Any = open_on(s3_server)
    publish_content(storage, "kept:v1", TWO, tmp_path)
    put(storage.begin(ver("a:v1"), ONE.digest), ONE, tmp_path, ["config.json"])
    storage.objects.put(f"{layout.TMP}probe-1", b"1")
    done = collect_storage(storage, grace_seconds=NOW, delete=True)
    assert sorted(item.kind for item in done.deleted) == ["publish", "upload"]
    clean(storage)
    assert_holds(storage, "kept:v1", TWO)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("24h", 86400), ("7d", 604800), ("1.5h", 5400), ("9", 9)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1h", "1w", "1h30m", "nan"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="24h"):
        parse_duration(text)
