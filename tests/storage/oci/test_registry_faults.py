"""A registry that is sick, far away, or forgetful: the right bytes come and go, or an error says why not."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from registry_fixtures import BIG, OpenRegistry, chunks_of, digest_of, ignore, image, put, read, stream

from hoist.errors import Damaged, FileNotFound, HoistError, PermissionDenied, StorageUnavailable
from hoist.storage.oci.manifests import MANIFEST
from hoist.storage.oci.registry import Registry
from hoist.testing.servers import Answer, DockerRegistry, FaultServer, FolderOrigin, Rule, ServerOrigin
from hoist.testing.servers.fault_kinds import (
    CutSent,
    Fault,
    Flip,
    FlipSent,
    Garbage,
    OtherRange,
    Redirect,
    Refusal,
    Reset,
    Short,
    WrongContentRange,
    WrongLength,
)
from hoist.testing.servers.registry_origins import SteadyUploads

pytest_plugins = ["registry_fixtures"]


class Noting:
    """An origin that remembers the headers of what was asked."""

    def __init__(self, origin: FolderOrigin) -> None:
        self._origin = origin
        self.headers: list[Mapping[str, str]] = []

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.headers.append(headers)
        return self._origin.answer(method, target, headers, body)

    def close(self) -> None:
        self._origin.close()


@pytest.fixture
def steady(docker_registry: DockerRegistry) -> SteadyUploads:
    return SteadyUploads(ServerOrigin(docker_registry.endpoint))


def place_of(digest: str) -> str:
    hexa = digest.partition(":")[2]
    return f"docker/registry/v2/blobs/sha256/{hexa[:2]}/{hexa}/data"


# --- uploads


@pytest.mark.parametrize(("seed", "known"), [(0, True), (1, False), (2, False)])
def test_uploads_go_on_after_cuts_at_random_points(
    steady: SteadyUploads, open_registry_at: OpenRegistry, repository: str, seed: int, known: bool
) -> None:
    data = BIG[: (13 << 20) + 77]
    rules = [
        Rule(CutSent(), method="PATCH", count=3, chance=0.7),
        Rule(Reset("before"), method="PATCH", count=2, chance=0.5),
        Rule(Reset("after"), method="PATCH", count=1, chance=0.5),
        Rule(Refusal(503), method="PATCH", count=1),
        Rule(Reset("before"), method="GET", count=1),
        Rule(Reset("after"), method="PUT", count=1),
        Rule(Reset("after"), method="POST", count=1),
    ]
    with FaultServer(steady, rules, seed=seed) as sick:
        registry = open_registry_at(sick.endpoint)
        told: list[int] = []
        found = registry.put_blob(
            repository, digest_of(data) if known else None, len(data), chunks_of(data), told.append
        )
        assert found == digest_of(data)
        assert sum(told) == len(data)
        assert sick.struck() >= 4
        # The one whose answer was cut, and that which was used to the end.
        assert steady.begun == 2
        assert stream(registry, repository, found, len(data)) == data


@pytest.mark.parametrize(
    "fault", [CutSent(), Refusal(404, code="BLOB_UPLOAD_UNKNOWN"), Refusal(500, done=True), Reset("after")]
)
def test_an_upload_that_the_registry_forgets_begins_anew(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str, fault: CutSent | Refusal
) -> None:
    data = BIG[: 13 << 20]
    with FaultServer(ServerOrigin(docker_registry.endpoint), [Rule(fault, method="PATCH", first=1, count=1)]) as sick:
        registry = open_registry_at(sick.endpoint)
        told: list[int] = []
        assert registry.put_blob(repository, None, len(data), chunks_of(data), told.append) == digest_of(data)
        assert sum(told) == len(data)
        assert sum(seen.method == "POST" for seen in sick.seen) == 2
        assert stream(registry, repository, digest_of(data), len(data)) == data


def test_a_registry_that_forgets_every_upload_is_given_up(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str
) -> None:
    rules = [Rule(Refusal(404, code="BLOB_UPLOAD_UNKNOWN"), method="PATCH", first=1)]
    with FaultServer(ServerOrigin(docker_registry.endpoint), rules) as sick:
        registry = open_registry_at(sick.endpoint)
        with pytest.raises(StorageUnavailable, match="loses its uploads again and again"):
            put(registry, repository, BIG[: 9 << 20])


def test_a_registry_that_takes_no_chunks_gets_the_blob_in_one(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str
) -> None:
    for status in (416, 405):
        rules = [Rule(Refusal(status), method="PATCH")]
        with FaultServer(ServerOrigin(docker_registry.endpoint), rules) as sick:
            registry = open_registry_at(sick.endpoint)
            data = BIG[status : (9 << 20) + status]
            assert registry.put_blob(repository, None, len(data), chunks_of(data), ignore) == digest_of(data)
            assert stream(registry, repository, digest_of(data), len(data)) == data


def test_bytes_damaged_on_their_way_are_sent_again(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str
) -> None:
    for method, size in (("PATCH", 9 << 20), ("PUT", 1 << 20)):
        for known in (True, False):
            rules = [Rule(FlipSent(), method=method, path="*/blobs/uploads/*", count=1)]
            with FaultServer(ServerOrigin(docker_registry.endpoint), rules) as sick:
                registry = open_registry_at(sick.endpoint)
                data = bytes([known]) + BIG[:size]
                digest = digest_of(data) if known else None
                found = registry.put_blob(repository, digest, len(data), chunks_of(data), ignore)
                assert sick.struck() == 1
                assert stream(registry, repository, found, len(data)) == data


def test_an_upload_of_an_earlier_run_goes_on(
    steady: SteadyUploads, open_registry_at: OpenRegistry, repository: str
) -> None:
    data = BIG[: 14 << 20]
    with FaultServer(steady, [Rule(Refusal(403, code="DENIED"), method="PATCH", first=2, count=1)]) as sick:
        with pytest.raises(PermissionDenied):
            put(open_registry_at(sick.endpoint), repository, data, resume="content")
        with pytest.raises(PermissionDenied):
            sick.plan(Rule(Refusal(403, code="DENIED"), method="PATCH"))
            put(open_registry_at(sick.endpoint), repository, data, resume="other content")
        sick.plan()
        told: list[int] = []
        registry = open_registry_at(sick.endpoint)
        registry.put_blob(repository, digest_of(data), len(data), chunks_of(data), told.append, "content")
        assert sum(told) == len(data) - (8 << 20)
        assert not any(seen.method == "POST" for seen in sick.seen)
        assert stream(registry, repository, digest_of(data), len(data)) == data
        # The journal went with the upload.
        sick.plan()
        put(registry, f"{repository}/x", data, resume="content")
        assert sum(seen.method == "POST" for seen in sick.seen) == 1


def test_what_an_earlier_run_has_sent_of_other_content_is_not_used(
    steady: SteadyUploads, open_registry_at: OpenRegistry, repository: str
) -> None:
    data, other = BIG[: 14 << 20], BIG[1 : (14 << 20) + 1]
    with FaultServer(steady, [Rule(Refusal(403, code="DENIED"), method="PATCH", first=1, count=1)]) as sick:
        registry = open_registry_at(sick.endpoint)
        with pytest.raises(PermissionDenied):
            registry.put_blob(repository, None, len(data), chunks_of(data), ignore, "same name")
        found = registry.put_blob(repository, None, len(other), chunks_of(other), ignore, "same name")
        assert found == digest_of(other)
        assert stream(registry, repository, found, len(other)) == other


def test_an_upload_that_nobody_will_go_on_with_is_given_up(
    steady: SteadyUploads, open_registry_at: OpenRegistry, repository: str
) -> None:
    with FaultServer(steady, [Rule(Refusal(403, code="DENIED"), method="PATCH")]) as sick:
        with pytest.raises(PermissionDenied):
            put(open_registry_at(sick.endpoint), repository, BIG[: 9 << 20])
        assert sick.seen[-1].method == "DELETE"


# --- reading


@pytest.mark.parametrize("seed", range(3))
def test_streams_go_on_after_cuts_at_random_points(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str, seed: int
) -> None:
    digest = put(open_registry_at(docker_registry.endpoint), repository, BIG)
    cut = random.Random(seed).random()
    rules = [
        Rule(Short(cut), count=2, chance=0.6),
        Rule(Reset("body"), count=2, chance=0.6),
        Rule(Refusal(500), count=1),
        Rule(Garbage(), count=1),
        Rule(Refusal(429, retry_after=0), count=1),
    ]
    with FaultServer(ServerOrigin(docker_registry.endpoint), rules, seed=seed) as sick:
        assert stream(open_registry_at(sick.endpoint), repository, digest, len(BIG)) == BIG
        assert sick.struck() >= 3


def test_wrong_bytes_and_lying_ranges_give_no_wrong_blob(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str
) -> None:
    digest = put(open_registry_at(docker_registry.endpoint), repository, BIG[: 9 << 20])
    faults: list[Fault] = [
        Flip(),
        OtherRange(said=False),
        OtherRange(),
        WrongContentRange(),
        WrongContentRange("bytes x"),
    ]
    for fault in faults:
        with FaultServer(ServerOrigin(docker_registry.endpoint), [Rule(fault, first=1)]) as sick:
            registry = open_registry_at(sick.endpoint, retry_seconds=0.3)
            with pytest.raises((Damaged, StorageUnavailable)):
                stream(registry, repository, digest, 9 << 20)


def test_small_blobs_and_manifests_that_come_damaged_are_read_again(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str
) -> None:
    whole = open_registry_at(docker_registry.endpoint)
    digest = put(whole, repository, BIG[:5000])
    data, manifest = image(whole, repository, "v1")
    for fault in (Flip(), Short(), Reset("body"), WrongLength(5), Refusal(503), Refusal(429, retry_after=0)):
        with FaultServer(ServerOrigin(docker_registry.endpoint)) as sick:
            registry = open_registry_at(sick.endpoint)
            for reference in ("v1", manifest):
                sick.plan(Rule(fault, count=1))
                assert registry.manifest(repository, reference).data == data
                assert sick.struck() == 1
            sick.plan(Rule(fault, count=1))
            assert registry.read_blob(repository, digest, 5000) == BIG[:5000]
    with FaultServer(ServerOrigin(docker_registry.endpoint), [Rule(Flip())]) as sick:
        registry = open_registry_at(sick.endpoint)
        for reference in ("v1", manifest):
            with pytest.raises(Damaged):
                registry.manifest(repository, reference)
        with pytest.raises(Damaged):
            registry.read_blob(repository, digest, 5000)


def test_a_manifest_damaged_on_its_way_is_sent_again(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str
) -> None:
    data, _ = image(open_registry_at(docker_registry.endpoint), repository, "v1")
    # A bit of the annotation's text, so that it stays JSON.
    bit = 8 * data.index(b'"v1"') + 8
    rules = [Rule(FlipSent(bit), method="PUT", count=1)]
    with FaultServer(ServerOrigin(docker_registry.endpoint), rules) as sick:
        registry = open_registry_at(sick.endpoint)
        registry.put_manifest(repository, "v2", data, MANIFEST)
        assert sick.struck() == 1
        assert registry.manifest(repository, "v2").data == data


def test_a_ranged_read_is_not_repeated_here(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str
) -> None:
    digest = put(open_registry_at(docker_registry.endpoint), repository, BIG[:5000])
    rules = [Rule(Refusal(429, retry_after=7))]
    with FaultServer(ServerOrigin(docker_registry.endpoint), rules) as sick:
        with pytest.raises(StorageUnavailable) as refused:
            read(open_registry_at(sick.endpoint), repository, digest, 0, 5000)
        assert refused.value.retry_after == 7
        assert len(sick.seen) == 1


def test_a_pause_that_the_registry_asks_for_is_kept(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str
) -> None:
    with FaultServer(ServerOrigin(docker_registry.endpoint), [Rule(Refusal(429, retry_after=1), count=1)]) as sick:
        began = time.monotonic()
        assert open_registry_at(sick.endpoint).tags(repository) == []
        assert time.monotonic() - began >= 1
        sick.plan(Rule(Refusal(429, retry_after=100)))
        with pytest.raises(StorageUnavailable, match="429"):
            open_registry_at(sick.endpoint).tags(repository)
        assert len(sick.seen) == 1


# --- elsewhere


def test_blobs_on_another_host(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str
) -> None:
    digest = put(open_registry_at(docker_registry.endpoint), repository, BIG[: 9 << 20])
    noting = Noting(FolderOrigin(docker_registry.data_folder))
    with FaultServer(noting) as other, FaultServer(ServerOrigin(docker_registry.endpoint)) as sick:
        redirect = Redirect(f"{other.endpoint}/{place_of(digest)}?X-Amz-Signature=secret")
        rule = Rule(redirect, path=f"*/blobs/{digest}")
        sick.plan(rule)
        registry = open_registry_at(sick.endpoint)
        for begin in range(0, 9 << 20, 3 << 20):
            assert read(registry, repository, digest, begin, begin + 1000) == BIG[begin : begin + 1000]
        assert len(sick.seen) == 1
        assert stream(registry, repository, digest, 9 << 20) == BIG[: 9 << 20]
        assert len(sick.seen) == 1
        # A URL that has expired: the registry gives another.
        for status in (401, 403, 404, 400):
            other.plan(Rule(Refusal(status, code="AccessDenied"), count=1))
            assert read(registry, repository, digest, 5, 500) == BIG[5:500]
        assert len(sick.seen) == 5
        other.plan(Rule(Refusal(403, code="AccessDenied")))
        with pytest.raises(PermissionDenied) as refused:
            read(registry, repository, digest, 5, 500)
        assert "secret" not in str(refused.value)
        other.plan()
        assert registry.read_blob(repository, digest, 9 << 20) == BIG[: 9 << 20]
        assert not any("authorization" in headers for headers in noting.headers)


def test_redirects_that_lead_nowhere(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str
) -> None:
    digest = put(open_registry_at(docker_registry.endpoint), repository, BIG[:5000])
    targets = ["/v2/other", f"/v2/{repository}/blobs/{digest}", "file:///etc/passwd", "http://", "http://127.0.0.1:9/x"]
    with FaultServer(ServerOrigin(docker_registry.endpoint)) as sick:
        registry: Registry = open_registry_at(sick.endpoint, retry_seconds=0.2)
        for target in targets:
            sick.plan(Rule(Redirect(target), path=f"*/blobs/{digest}"))
            with pytest.raises(HoistError):
                read(registry, repository, digest, 0, 5000)
            with pytest.raises(HoistError):
                registry.read_blob(repository, digest, 5000)
            registry._blobs._moved.clear()
        sick.plan()
        with pytest.raises(FileNotFound):
            read(registry, repository, digest_of(b"none"), 0, 5000)


def test_no_message_has_an_upload_state(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str, tmp_path: Path
) -> None:
    with FaultServer(ServerOrigin(docker_registry.endpoint), [Rule(Refusal(503), method="PATCH")]) as sick:
        with pytest.raises(StorageUnavailable) as failed:
            put(open_registry_at(sick.endpoint, retry_seconds=0.2), repository, BIG[: 9 << 20], resume="x")
        assert "_state" not in str(failed.value)
    for note in (tmp_path / "uploads").iterdir():
        assert note.stat().st_mode & 0o077 == 0


class LostSession:
    """A registry that fails at every chunk of its first upload but the first one."""

    def __init__(self, origin: ServerOrigin) -> None:
        self._origin = origin
        self._first = ""
        self.chunks = 0

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        session = target.partition("?")[0].rpartition("/")[2]
        if method == "PATCH":
            self._first = self._first or session
        if session == self._first and method in ("PATCH", "PUT"):
            self.chunks += 1
            if self.chunks > 1:
                return Answer(500, {"content-type": "application/json"}, b'{"errors":[{"code":"UNKNOWN"}]}')
        return self._origin.answer(method, target, headers, body)

    def close(self) -> None:
        self._origin.close()


def test_an_upload_that_the_registry_has_lost_is_begun_anew_by_the_next_run(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str
) -> None:
    origin = LostSession(ServerOrigin(docker_registry.endpoint))
    with FaultServer(origin) as front:
        with pytest.raises(StorageUnavailable, match="500 UNKNOWN"):
            put(open_registry_at(front.endpoint, retry_seconds=0.5), repository, BIG, resume="x")
        digest = put(open_registry_at(front.endpoint), repository, BIG, resume="x")
        assert origin.chunks > 2
        assert stream(open_registry_at(front.endpoint), repository, digest, len(BIG)) == BIG
