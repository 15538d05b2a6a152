"""A signature in a registry or layout is an artifact as others make them, and leaves those of others alone."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest
from oci_schemas import need_schemas

import hoist
from hoist.config import Config, StorageConfig
from hoist.errors import Unsigned
from hoist.image.verbs import build, copy
from hoist.model.image.documents import MANIFEST_TYPE
from hoist.model.reference import parse_reference
from hoist.signing.bundle import MEDIA_TYPE
from hoist.storage import open_storage
from hoist.storage.base import Version
from hoist.storage.image.storage import ImageStorage
from hoist.testing.servers import DockerRegistry
from makers import directory_storage, publish, write_files
from signing_making import make_pair

ONE = Version("m/one", "v1")


@pytest.mark.parametrize("kind", ["registry", "layout"])
def test_a_signature_is_an_artifact(kind: str, docker_registry: DockerRegistry, tmp_path: Path) -> None:
    url = f"oci://{docker_registry.host}/{uuid4().hex}" if kind == "registry" else f"oci-layout://{tmp_path}/layout"
    source = write_files(tmp_path / "source", {"config.json": b"{}", "weights.bin": b"w" * 1000})
    with open_storage(StorageConfig(url, url), {"HOME": str(tmp_path)}) as storage:
        assert isinstance(storage, ImageStorage)
        publish(source, storage, signer=make_pair(tmp_path, "key").signer())
        repository, place = storage.repository_of("m/one"), storage.repositories
        image = place.manifest(repository, "v1")
        (artifact,) = place.referrers(repository, image.digest)
        assert artifact.artifact_type == MEDIA_TYPE
        data = place.manifest(repository, artifact.digest).data
        document = json.loads(data)
        need_schemas().check_manifest(document)
        assert document["subject"] == {"mediaType": MANIFEST_TYPE, "digest": image.digest, "size": len(image.data)}
        (layer,) = document["layers"]
        assert place.read_blob(repository, layer["digest"], 1 << 20) == storage.signatures(ONE)[0]
        # What refers to the image too, as a signature by cosign, is neither taken for one nor touched.
        place.put_manifest(repository, "beside", data.replace(b"dev.hoist.", b"dev.other."), MANIFEST_TYPE)
        assert len(storage.signatures(ONE)) == 1
        assert storage.labels("m/one") == ["beside", "v1"]
        storage.remove(ONE)
        assert place.tags(repository) == ["beside"]


def test_a_signature_goes_along_with_a_copied_image(docker_registry: DockerRegistry, tmp_path: Path) -> None:
    places = [f"{docker_registry.host}/{uuid4().hex}" for _ in range(2)]
    source = write_files(tmp_path / "source", {"config.json": b"{}"})
    environ = {"HOME": str(tmp_path)}
    with open_storage(StorageConfig("a", f"oci://{places[0]}"), environ) as storage:
        publish(source, storage, signer=make_pair(tmp_path, "key").signer())
        made = storage.signatures(ONE)
    copied = copy(f"{places[0]}/m/one:v1", f"{places[1]}/m/one:v1", config=Config(environ=environ))
    assert len(copied.referring) == len(made) == 1
    with open_storage(StorageConfig("b", f"oci://{places[1]}"), environ) as storage:
        assert storage.signatures(ONE) == made


def test_a_version_inside_a_built_image(docker_registry: DockerRegistry, tmp_path: Path) -> None:
    config = Config(environ={"HOME": str(tmp_path)})
    two = Version("m/two", "v7")
    storage = directory_storage(tmp_path / "models")
    for number, version in enumerate((ONE, two)):
        source = write_files(tmp_path / f"source-{number}", {"w.bin": bytes([number])})
        publish(source, storage, parse_reference(str(version)))
    image = f"oci://{docker_registry.host}/{uuid4().hex}:app"
    build([f"{tmp_path}/models//{each}" for each in (ONE, two)], image.removeprefix("oci://"), config=config)
    pair = make_pair(tmp_path, "key")
    hoist.sign(f"{image}//{ONE}", pair.private, config=config)
    strict = Config(environ={**config.environ, "HOIST_REQUIRE_SIGNATURE": str(pair.public)})
    with hoist.open(f"{image}//{ONE}", config=strict) as opened:
        assert opened.read("w.bin") == b"\0"
    # The image is the same: what is said of one version in it is not said of the other.
    with pytest.raises(Unsigned):
        hoist.open(f"{image}//{two}", config=strict)
