"""What every place of OCI content does: subclass `RepositoriesContract` with a fixture `place` that gives an empty one.

Gaps are class attributes, as in the storages' conformance suite: name them, do not skip.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from hoist.errors import Damaged, FileNotFound, HoistError, StorageUnsupported
from hoist.model.manifest import digest_of
from hoist.storage.oci.repositories import Repositories
from makers import noise

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
REPOSITORY = "models/sd15/anything"
OTHER = "models/sd15/other"


def chunks_of(
    data: bytes, step: int = 64 << 10, asked: list[int] | None = None
) -> Callable[[int], Iterator[memoryview]]:
    """The bytes as `put_blob` wants them; `asked` notes from where."""

    def chunks(offset: int) -> Iterator[memoryview]:
        if asked is not None:
            asked.append(offset)
        for at in range(offset, len(data), step):
            yield memoryview(data)[at : at + step]

    return chunks


def put(place: Repositories, data: bytes, repository: str = REPOSITORY, resume: str = "") -> tuple[str, int]:
    """Put a blob; its digest and the bytes that were sent."""
    sent: list[int] = []
    digest = place.put_blob(repository, digest_of(data), len(data), chunks_of(data), sent.append, resume)
    assert digest == digest_of(data)
    return digest, sum(sent)


def described(media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)} | more


def image_of(layers: Sequence[bytes], note: str = "", **more: Any) -> tuple[bytes, bytes]:
    """A manifest and its config."""
    history = {"rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}, "note": note}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}} | history).encode()
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described(CONFIG, config),
        "layers": [described(LAYER, layer) for layer in layers],
    }
    return json.dumps(document | more).encode(), config


def put_image(
    place: Repositories,
    reference: str | None,
    layers: Sequence[bytes],
    note: str = "",
    repository: str = REPOSITORY,
    **more: Any,
) -> bytes:
    """An image with these layers under a tag (None: by digest); its manifest."""
    manifest, config = image_of(layers, note, **more)
    for blob in (*layers, config):
        put(place, blob, repository)
    place.put_manifest(repository, reference or digest_of(manifest), manifest, MANIFEST)
    return manifest


def streamed(place: Repositories, digest: str, size: int, repository: str = REPOSITORY) -> bytes:
    with place.stream_blob(repository, digest, size) as slices:
        return b"".join(bytes(piece) for piece in slices)


class RepositoriesContract:
    """The tests."""

    shares_blobs: ClassVar[bool] = False
    """A blob of one repository is one of every other, too."""
    deletes: ClassVar[bool] = True
    has_referrers: ClassVar[bool] = True

    @pytest.fixture
    def place(self) -> Repositories:
        raise NotImplementedError

    def test_nothing_is_there_at_first(self, place: Repositories) -> None:
        assert list(place.tags(REPOSITORY)) == []
        assert place.blob_size(REPOSITORY, digest_of(b"x")) is None
        with pytest.raises(FileNotFound):
            place.manifest(REPOSITORY, "v1")
        with pytest.raises(FileNotFound):
            place.manifest(REPOSITORY, digest_of(b"x"))

    def test_a_blob_comes_back_whole_in_slices_and_by_range(self, place: Repositories) -> None:
        data = noise((3 << 20) + 17)
        digest, sent = put(place, data)
        assert sent == len(data)
        assert place.blob_size(REPOSITORY, digest) == len(data)
        assert place.read_blob(REPOSITORY, digest, len(data)) == data
        assert streamed(place, digest, len(data)) == data
        buffer = bytearray(1 << 20)
        place.read_into(REPOSITORY, digest, 1_234_567, memoryview(buffer))
        assert buffer == data[1_234_567 : 1_234_567 + (1 << 20)]
        with pytest.raises(Damaged):
            place.read_into(REPOSITORY, digest, len(data) - 5, memoryview(bytearray(6)))
        with pytest.raises(Damaged):
            place.read_blob(REPOSITORY, digest, len(data) - 1)

    def test_an_empty_blob(self, place: Repositories) -> None:
        digest, _ = put(place, b"")
        assert place.blob_size(REPOSITORY, digest) == 0
        assert place.read_blob(REPOSITORY, digest, 0) == b""
        assert streamed(place, digest, 0) == b""

    def test_slices_are_a_mebibyte_at_most(self, place: Repositories) -> None:
        data = noise(5 << 20)
        digest, _ = put(place, data)
        with place.stream_blob(REPOSITORY, digest, len(data)) as slices:
            assert max(len(piece) for piece in slices) <= 1 << 20

    def test_a_stream_may_be_left_early(self, place: Repositories) -> None:
        data = noise(3 << 20)
        digest, _ = put(place, data)
        with place.stream_blob(REPOSITORY, digest, len(data)) as slices:
            first = bytes(next(slices))
        assert data.startswith(first)
        assert streamed(place, digest, len(data)) == data

    def test_a_blob_that_is_there_is_not_sent_again(self, place: Repositories) -> None:
        data, asked = noise(1 << 20), list[int]()
        put(place, data)
        again = place.put_blob(REPOSITORY, digest_of(data), len(data), chunks_of(data, asked=asked), lambda count: None)
        assert again == digest_of(data)
        assert asked == []

    def test_a_digest_is_made_while_sending(self, place: Repositories) -> None:
        data = noise(2 << 20, 3)
        made = place.put_blob(REPOSITORY, None, len(data), chunks_of(data), lambda count: None, "content")
        assert made == digest_of(data)
        assert place.read_blob(REPOSITORY, made, len(data)) == data

    @pytest.mark.parametrize("data", [noise(1000, 1), noise(999), noise(1001)], ids=["other", "short", "long"])
    def test_other_bytes_than_promised_are_refused(self, place: Repositories, data: bytes) -> None:
        promised = digest_of(noise(1000))
        with pytest.raises(Damaged):
            place.put_blob(REPOSITORY, promised, 1000, chunks_of(data), lambda count: None)
        assert place.blob_size(REPOSITORY, promised) is None

    def test_what_the_source_raises_reaches_the_caller_and_a_second_run_succeeds(self, place: Repositories) -> None:
        data = noise(3 << 20, 4)

        def broken(offset: int) -> Iterator[memoryview]:
            yield memoryview(data)[offset : offset + (1 << 20)]
            raise HoistError("the source is gone")

        with pytest.raises(HoistError, match="the source is gone"):
            place.put_blob(REPOSITORY, digest_of(data), len(data), broken, lambda count: None, "w")
        assert place.blob_size(REPOSITORY, digest_of(data)) is None
        put(place, data, resume="w")
        assert place.read_blob(REPOSITORY, digest_of(data), len(data)) == data

    def test_a_manifest_under_tags_and_its_digest(self, place: Repositories) -> None:
        manifest = put_image(place, "v1", [noise(1000)])
        place.put_manifest(REPOSITORY, "stable", manifest, MANIFEST)
        assert list(place.tags(REPOSITORY)) == ["stable", "v1"]
        assert list(place.tags(OTHER)) == []
        for reference in ("v1", "stable", digest_of(manifest)):
            found = place.manifest(REPOSITORY, reference)
            assert (found.data, found.digest, found.media_type) == (manifest, digest_of(manifest), MANIFEST)
        with pytest.raises(FileNotFound):
            place.manifest(OTHER, "v1")

    def test_a_tag_moves_and_the_old_manifest_stays(self, place: Repositories) -> None:
        old = put_image(place, "latest", [noise(1000)])
        new = put_image(place, "latest", [noise(1000), noise(500)])
        assert place.manifest(REPOSITORY, "latest").data == new
        assert place.manifest(REPOSITORY, digest_of(old)).data == old
        assert list(place.tags(REPOSITORY)) == ["latest"]

    def test_a_manifest_names_only_what_is_there(self, place: Repositories) -> None:
        manifest, config = image_of([noise(1000)])
        put(place, config)
        with pytest.raises(Damaged):
            place.put_manifest(REPOSITORY, "v1", manifest, MANIFEST)
        with pytest.raises(FileNotFound):
            place.manifest(REPOSITORY, "v1")

    def test_a_manifest_under_another_digest_is_refused(self, place: Repositories) -> None:
        manifest = put_image(place, "v1", [noise(1000)])
        with pytest.raises(HoistError):
            place.put_manifest(REPOSITORY, digest_of(b"another"), manifest, MANIFEST)

    def test_an_index_and_its_images(self, place: Repositories) -> None:
        images = [put_image(place, None, [noise(1000), noise(n)]) for n in (1, 2)]
        listed = [described(MANIFEST, image, platform={"os": "linux", "architecture": "amd64"}) for image in images]
        document = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).encode()
        place.put_manifest(REPOSITORY, "multi", document, INDEX)
        assert place.manifest(REPOSITORY, "multi").media_type == INDEX
        for image in images:
            assert place.manifest(REPOSITORY, digest_of(image)).data == image
        assert list(place.tags(REPOSITORY)) == ["multi"]

    def test_repositories_in_order_and_below_a_prefix(self, place: Repositories) -> None:
        for name in ("b/two", "a/one", "b", "bb"):
            put_image(place, "v1", [noise(100)], repository=name)
        assert [name for name in place.repositories("") if name in ("a/one", "b", "b/two", "bb")] == [
            "a/one", "b", "b/two", "bb",
        ]  # fmt: skip
        assert list(place.repositories("b")) == ["b", "b/two"]

    def test_a_blob_is_mounted_into_another_repository(self, place: Repositories) -> None:
        data = noise(1 << 20, 5)
        digest, _ = put(place, data)
        assert place.mount_blob(OTHER, digest, len(data), REPOSITORY)
        assert place.read_blob(OTHER, digest, len(data)) == data
        assert not place.mount_blob(OTHER, digest_of(b"nowhere"), 7, REPOSITORY)
        if not self.shares_blobs:
            assert place.blob_size("models/a/third", digest) is None

    def test_untag_leaves_the_manifest_and_its_other_tags(self, place: Repositories) -> None:
        manifest = put_image(place, "v1", [noise(1000)])
        place.put_manifest(REPOSITORY, "stable", manifest, MANIFEST)
        place.untag(REPOSITORY, "stable")
        assert list(place.tags(REPOSITORY)) == ["v1"]
        assert place.manifest(REPOSITORY, "v1").data == manifest
        place.untag(REPOSITORY, "v1")
        assert list(place.tags(REPOSITORY)) == []
        assert place.manifest(REPOSITORY, digest_of(manifest)).data == manifest
        with pytest.raises(FileNotFound):
            place.untag(REPOSITORY, "v1")

    def test_delete_removes_the_manifest_and_its_tags_alone(self, place: Repositories) -> None:
        gone = put_image(place, "v1", [noise(1000)], "one")
        if not self.deletes:
            with pytest.raises(StorageUnsupported):
                place.delete_manifest(REPOSITORY, digest_of(gone))
            assert place.manifest(REPOSITORY, "v1").data == gone
            return
        stays = put_image(place, "v2", [noise(1000)], "two")
        place.put_manifest(REPOSITORY, "stable", gone, MANIFEST)
        place.delete_manifest(REPOSITORY, digest_of(gone))
        assert list(place.tags(REPOSITORY)) == ["v2"]
        assert place.manifest(REPOSITORY, "v2").data == stays
        assert place.read_blob(REPOSITORY, digest_of(noise(1000)), 1000) == noise(1000)
        for reference in ("v1", digest_of(gone)):
            with pytest.raises(FileNotFound):
                place.manifest(REPOSITORY, reference)
        with pytest.raises(FileNotFound):
            place.delete_manifest(REPOSITORY, digest_of(gone))

    def test_referrers(self, place: Repositories) -> None:
        image = put_image(place, "v1", [noise(1000)])
        signature = put_image(
            place, None, [b"signed"], subject=described(MANIFEST, image), artifactType="application/x-signature"
        )
        found = list(place.referrers(REPOSITORY, digest_of(image)))
        if not self.has_referrers:
            assert found == []
            return
        assert [(one.digest, one.size, one.media_type, one.artifact_type) for one in found] == [
            (digest_of(signature), len(signature), MANIFEST, "application/x-signature")
        ]
        assert list(place.referrers(REPOSITORY, digest_of(signature))) == []

    def test_many_put_at_once(self, place: Repositories) -> None:
        shared = noise(1 << 20, 9)
        failed: list[BaseException] = []

        def work(number: int) -> None:
            try:
                put_image(place, f"v{number}", [shared, noise(1000 + number)])
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert list(place.tags(REPOSITORY)) == [f"v{number}" for number in range(8)]
        for number in range(8):
            document: Mapping[str, Any] = json.loads(place.manifest(REPOSITORY, f"v{number}").data)
            for layer in document["layers"]:
                data = place.read_blob(REPOSITORY, layer["digest"], layer["size"])
                assert "sha256:" + hashlib.sha256(data).hexdigest() == layer["digest"]
