"""Every method of the registry's client, against the real docker-registry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer

import pytest
from registry_fixtures import BIG, OpenRegistry, chunks_of, digest_of, ignore, image, put, read, stream

from conftest import require
from hoist.errors import Damaged, FileNotFound, HoistError, LocalError, StorageUnsupported
from hoist.storage.oci.manifests import INDEX, MANIFEST, descriptors_of
from hoist.storage.oci.registry import Registry
from hoist.storage.oci.repositories import MAX_MANIFEST_BYTES, Repositories
from hoist.testing.servers import DockerRegistry, FaultServer, FolderOrigin

pytest_plugins = ["registry_fixtures"]
ABSENT = digest_of(b"absent")


@pytest.fixture
def registry(docker_registry: DockerRegistry, open_registry_at: OpenRegistry) -> Registry:
    return open_registry_at(docker_registry.endpoint)


def test_is_a_place_of_oci_content(registry: Registry) -> None:
    place: Repositories = registry
    assert place.address == registry.address


@pytest.mark.parametrize("size", [0, 1, 4 << 20, (4 << 20) + 1, 20 << 20])
@pytest.mark.parametrize("known", [True, False])
def test_blobs_come_back(registry: Registry, repository: str, size: int, known: bool) -> None:
    data = BIG[:size]
    told: list[int] = []
    digest = registry.put_blob(repository, digest_of(data) if known else None, size, chunks_of(data), told.append)
    assert digest == digest_of(data)
    assert sum(told) == size
    assert registry.blob_size(repository, digest) == size
    assert registry.read_blob(repository, digest, max(1, size)) == data
    assert stream(registry, repository, digest, size) == data
    assert read(registry, repository, digest, size // 3, size // 3 * 2) == data[size // 3 : size // 3 * 2]
    assert registry.known_holders(digest)[0] == repository
    assert (registry.first_byte_seconds() is None) == (size == 0)


def test_a_blob_that_is_there_is_not_sent(registry: Registry, repository: str) -> None:
    digest = put(registry, repository, BIG[:1000])

    def never(begin: int) -> Iterator[memoryview]:
        raise AssertionError("asked for bytes")

    assert registry.put_blob(repository, digest, 1000, never, ignore) == digest


def test_other_bytes_than_promised_are_refused(registry: Registry, repository: str) -> None:
    for data in (BIG[:1000], BIG[: 9 << 20]):
        with pytest.raises(Damaged, match="what is to be sent has another digest, sha256:"):
            registry.put_blob(repository, ABSENT, len(data), chunks_of(data), ignore)
        with pytest.raises(Damaged, match=f"ends at byte {len(data)} of {len(data) + 1}"):
            registry.put_blob(repository, None, len(data) + 1, chunks_of(data), ignore)
    assert registry.blob_size(repository, ABSENT) is None


def test_a_source_that_cannot_be_read_is_no_fault_of_the_registry(registry: Registry, repository: str) -> None:
    def broken(begin: int) -> Iterator[memoryview]:
        yield memoryview(BIG)[begin : begin + 100]
        raise OSError(5, "Input/output error")

    with pytest.raises(LocalError, match="its source cannot be read: Input/output error"):
        registry.put_blob(repository, None, 8 << 20, broken, ignore)


def test_absent_and_wrong_blobs(registry: Registry, repository: str) -> None:
    digest = put(registry, repository, b"12345")
    assert registry.blob_size(repository, ABSENT) is None
    actions: list[Callable[[], object]] = [
        lambda: registry.read_blob(repository, ABSENT, 10),
        lambda: read(registry, repository, ABSENT, 0, 10),
        lambda: stream(registry, repository, ABSENT, 10),
    ]
    for action in actions:
        with pytest.raises(FileNotFound, match=f"blob {ABSENT} of {repository} is not there"):
            action()
    with pytest.raises(Damaged, match="more than 4 bytes"):
        registry.read_blob(repository, digest, 4)
    with pytest.raises(Damaged):
        read(registry, repository, digest, 0, 6)
    with pytest.raises(Damaged):
        stream(registry, repository, digest, 6)
    with pytest.raises(Damaged, match="its digest is another"):
        stream(registry, repository, digest, 4)
    for wrong in ("sha256:zz", "md5:" + 32 * "0", "../../x"):
        with pytest.raises(Damaged, match="is no digest"):
            registry.put_blob(repository, wrong, 1, chunks_of(b"x"), ignore)


def test_a_reader_may_stop_early(registry: Registry, repository: str) -> None:
    digest = put(registry, repository, BIG)
    with registry.stream_blob(repository, digest, len(BIG)) as slices:
        assert bytes(next(slices)) == BIG[: 1 << 20]


def test_bytes_changed_in_the_store_are_noticed(
    docker_registry: DockerRegistry, registry: Registry, repository: str
) -> None:
    data = BIG[: 3 << 20] + repository.encode()
    digest = put(registry, repository, data)
    hexa = digest.partition(":")[2]
    file = docker_registry.data_folder / "docker/registry/v2/blobs/sha256" / hexa[:2] / hexa / "data"
    file.write_bytes(b"x" + data[1:])
    with pytest.raises(Damaged):
        registry.read_blob(repository, digest, len(data))
    with pytest.raises(Damaged):
        stream(registry, repository, digest, len(data))


def test_mounts_move_no_bytes(registry: Registry, repository: str) -> None:
    digest = put(registry, repository, BIG[:5000])
    other = f"{repository}/other"
    assert registry.mount_blob(other, digest, 5000, repository)
    assert registry.read_blob(other, digest, 5000) == BIG[:5000]
    assert list(registry.known_holders(digest)) == [other, repository]
    assert not registry.mount_blob(other, ABSENT, 5, repository)
    assert not registry.mount_blob(other, digest_of(b"x"), 5, "models/nobody")


def test_manifests_under_tags_and_digests(registry: Registry, repository: str) -> None:
    assert registry.tags(repository) == []
    data, digest = image(registry, repository, "v1")
    other, _ = image(registry, repository, "latest")
    for reference, expected in (("v1", data), (digest, data), ("latest", other)):
        found = registry.manifest(repository, reference)
        assert (found.data, found.digest, found.media_type) == (expected, digest_of(expected), MANIFEST)
    registry.put_manifest(repository, "latest", data, MANIFEST)
    assert registry.manifest(repository, "latest").digest == digest
    assert registry.tags(repository) == ["latest", "v1"]
    for reference in ("v2", ABSENT):
        with pytest.raises(FileNotFound, match=f"{repository}[:@]{reference} is not there"):
            registry.manifest(repository, reference)


def test_a_manifest_without_its_blobs_is_refused(registry: Registry, repository: str) -> None:
    with pytest.raises(Damaged, match=f"does not have: {ABSENT}"):
        image(registry, repository, "v1", layers=[{"mediaType": "a/b", "digest": ABSENT, "size": 6}])
    assert registry.tags(repository) == []
    with pytest.raises(StorageUnsupported, match="more than registries take"):
        registry.put_manifest(repository, "v1", b" " * (MAX_MANIFEST_BYTES + 1), MANIFEST)


def test_a_blob_whose_link_is_just_written_anew_by_somebody_else_is_not_missing(
    docker_registry: DockerRegistry, registry: Registry, repository: str
) -> None:
    """As docker-registry does when two publishers end an upload of the same blob: for a moment it lacks it."""
    data, _ = image(registry, repository, "v1")
    hexa = digest_of(b"{}").removeprefix("sha256:")
    link = docker_registry.data_folder / f"docker/registry/v2/repositories/{repository}/_layers/sha256/{hexa}/link"
    content = link.read_bytes()
    link.write_bytes(b"")
    mended = Timer(0.3, link.write_bytes, [content])
    mended.start()
    registry.put_manifest(repository, "v2", data, MANIFEST)
    mended.join()
    assert registry.manifest(repository, "v2").data == data


def test_deletion_takes_all_tags_and_untagging_one(registry: Registry, repository: str) -> None:
    data, digest = image(registry, repository, "v1")
    for tag in ("stable", "latest"):
        registry.put_manifest(repository, tag, data, MANIFEST)
    image(registry, repository, "v2")
    registry.untag(repository, "stable")
    assert registry.tags(repository) == ["latest", "v1", "v2"]
    assert registry.manifest(repository, "latest").digest == digest
    with pytest.raises(FileNotFound):
        registry.untag(repository, "stable")
    with pytest.raises(FileNotFound):
        registry.delete_manifest(repository, ABSENT)
    registry.delete_manifest(repository, digest)
    assert registry.tags(repository) == ["v2"]


def test_a_registry_that_deletes_nothing_says_how_it_would(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str
) -> None:
    with DockerRegistry(deletes=False) as server:
        registry = open_registry_at(server.endpoint)
        _, digest = image(registry, repository, "v1")
        with pytest.raises(StorageUnsupported, match="REGISTRY_STORAGE_DELETE_ENABLED=true"):
            registry.delete_manifest(repository, digest)
        with pytest.raises(StorageUnsupported, match="REGISTRY_STORAGE_DELETE_ENABLED=true"):
            registry.untag(repository, "v1")
        assert registry.manifest(repository, "v1").digest == digest


def test_repositories_and_tags_over_many_pages(
    open_registry_at: OpenRegistry, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(DockerRegistry)
    monkeypatch.setattr("hoist.storage.oci.registry._PAGE", 2)
    with DockerRegistry() as server:
        registry = open_registry_at(server.endpoint)
        assert list(registry.repositories("")) == []
        names = [f"models/a{number}" for number in range(5)]
        for name in [*names, "models", "modelsx/y", "models-x"]:
            image(registry, name, "v1")
        assert list(registry.repositories("models")) == ["models", *names]
        assert list(registry.repositories("")) == sorted([*names, "models", "models-x", "modelsx/y"])
        for number in range(4):
            image(registry, "models", f"t{number}")
        assert registry.tags("models") == ["t0", "t1", "t2", "t3", "v1"]


def test_referrers_by_the_fallback_tag(registry: Registry, repository: str) -> None:
    _, digest = image(registry, repository, "v1")
    assert list(registry.referrers(repository, digest)) == []
    signature, signed = image(registry, repository, "s1", subject={"digest": digest})
    item = {
        "mediaType": MANIFEST,
        "digest": signed,
        "size": len(signature),
        "artifactType": "application/x-signature",
        "annotations": {"b": "2", "a": "1"},
        "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
    }
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [item]}
    registry.put_manifest(repository, digest.replace(":", "-"), json.dumps(index).encode(), INDEX)
    (found,) = registry.referrers(repository, digest)
    assert (found.digest, found.size, found.media_type) == (signed, len(signature), MANIFEST)
    assert found.annotations == (("a", "1"), ("b", "2"))
    assert (found.artifact_type, found.platform) == ("application/x-signature", "linux/arm64/v8")

    strange = [5, {"digest": "x"}, {"digest": signed, "size": -1}, {"digest": signed, "size": True}, item | {"size": 5}]
    assert [found.size for found in descriptors_of({"manifests": strange})] == [5]
    assert descriptors_of({"manifests": "none"}) == []


def test_referrers_by_the_api(registry: Registry, repository: str, tmp_path: Path) -> None:
    _, digest = image(registry, repository, "v1")
    file = tmp_path / "v2" / repository / "referrers" / digest
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"manifests": [{"digest": ABSENT, "size": 7, "mediaType": MANIFEST}]}))
    with FaultServer(FolderOrigin(tmp_path)) as server:
        other = Registry(server.endpoint, "host", "oci://host", retry_seconds=1)
        assert [found.digest for found in other.referrers(repository, digest)] == [ABSENT]
        file.write_text("[]")
        with pytest.raises(HoistError, match="no JSON object"):
            other.referrers(repository, digest)
        other.close()


def test_notes_of_holders_outlive_the_process(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str
) -> None:
    digest = put(open_registry_at(docker_registry.endpoint), repository, repository.encode())
    again = open_registry_at(docker_registry.endpoint)
    assert list(again.known_holders(digest)) == [repository]
    assert list(open_registry_at("http://127.0.0.1:9").known_holders(digest)) == []
    assert list(open_registry_at(docker_registry.endpoint, uploads=None).known_holders(digest)) == []
    # One that is stale costs a request, and goes.
    assert again.blob_size(f"{repository}/x", digest) is None
    for number in range(20):
        assert again.mount_blob(f"{repository}/{number}", digest, 44, repository)
    assert len(again.known_holders(digest)) == 8
